"""The swap to a restored instance, with a fake RDS that renames and refuses like AWS: complete, resumed at any step, or refused before changes."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from settings.loader import load
from tools.cli.commands.database import swap
from tools.environment import Deployed, FailedError, RefusedError

OURS = {
    "Engine": "postgres",
    "EngineVersion": "17.6",
    "StorageEncrypted": True,
    "KmsKeyId": "key",
    "DBName": "carmen",
    "MasterUsername": "carmen_admin",
    "DBSubnetGroup": {"DBSubnetGroupName": "isolated"},
    "DBInstanceStatus": "available",
    "DeletionProtection": True,
    "MultiAZ": True,
    "PubliclyAccessible": False,
    "BackupRetentionPeriod": 30,
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-ours"}],
    "IAMDatabaseAuthenticationEnabled": True,
    "EnabledCloudwatchLogsExports": ["postgresql", "upgrade"],
    "DBParameterGroups": [{"DBParameterGroupName": "ours", "ParameterApplyStatus": "in-sync"}],
}
# Result of a restore to a point in time without options.
BARE = {
    "DeletionProtection": False,
    "MultiAZ": False,
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-default"}],
    "IAMDatabaseAuthenticationEnabled": False,
    "EnabledCloudwatchLogsExports": [],
    "DBParameterGroups": [{"DBParameterGroupName": "default.postgres17", "ParameterApplyStatus": "in-sync"}],
}
RESOURCES = {
    "CarmenProdData": [
        ("AWS::RDS::DBInstance", "DatabaseInstance", "prod-db"),
        ("AWS::RDS::DBProxy", "Proxy", "prod-proxy"),
        ("AWS::Lambda::Function", "DatabaseRolesFunction", "roles"),
        ("AWS::IAM::Role", "DatabaseRolesFunctionRole", "roles-role"),
    ],
    "CarmenProdOperations": [("AWS::IAM::Role", "BackupRole", "backup-role"), ("AWS::IAM::Role", "OtherRole", "other-role")],
}
CHANGES = 13  # of a complete swap


def _login(resource_id: str, user: str = "carmen_backup") -> dict[str, Any]:
    arn = f"arn:aws:rds-db:us-east-1:000000000000:dbuser:{resource_id}/{user}"
    return {"Statement": [{"Effect": "Allow", "Action": "rds-db:connect", "Resource": arn}]}


class Interrupted(Exception):
    """Stands for Ctrl-C."""


class Aws:
    """One account. Changes are counted; number `ends_at` is made but its answer never arrives."""

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {
            "prod-db": {**copy.deepcopy(OURS), "DbiResourceId": "db-OLD"},
            "restored": {**copy.deepcopy(OURS), **copy.deepcopy(BARE), "DbiResourceId": "db-NEW"},
            "another": {**copy.deepcopy(OURS), "DbiResourceId": "db-ANOTHER"},
        }
        self.proxied = {"db-OLD"}
        self.policies: dict[str, dict[str, Any]] = {
            "backup-role": {"Default": _login("db-OLD")},
            "other-role": {"Default": {"Statement": []}},
            "roles-role": {"Default": _login("db-OLD", "carmen_admin")},
        }
        self.tasks, self.suspended = 2, False
        self.changes: list[str] = []
        self.ends_at = 0
        self.roles_fail = False
        self.written_to: set[str] = set()

    def client(self, service: str, **_: Any) -> Aws:
        return self

    def get_paginator(self, method: str) -> Aws:
        paginated = copy.copy(self)
        paginated.paginate = lambda **given: [getattr(self, method)(**given)]  # type: ignore[attr-defined]
        return paginated

    def get_waiter(self, name: str) -> Aws:
        assert name == "services_stable"
        waiting = copy.copy(self)
        waiting.wait = lambda **_: None  # type: ignore[attr-defined]
        return waiting

    def changed(self, what: str) -> None:
        self.changes.append(what)
        if len(self.changes) == self.ends_at:
            raise Interrupted

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        outputs = {"Cluster": "c", "Service": "s"}
        return {"Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]}]}

    def list_stack_resources(self, StackName: str) -> dict[str, Any]:
        fields = ("ResourceType", "LogicalResourceId", "PhysicalResourceId")
        return {"StackResourceSummaries": [dict(zip(fields, one, strict=True)) for one in RESOURCES[StackName]]}

    def describe_db_instances(self, DBInstanceIdentifier: str | None = None) -> dict[str, Any]:
        if DBInstanceIdentifier and DBInstanceIdentifier not in self.instances:
            raise ClientError({"Error": {"Code": "DBInstanceNotFound"}}, "DescribeDBInstances")
        names = [DBInstanceIdentifier] if DBInstanceIdentifier else list(self.instances)
        return {"DBInstances": [{"DBInstanceIdentifier": name, **copy.deepcopy(self.instances[name])} for name in names]}

    def modify_db_instance(self, DBInstanceIdentifier: str, ApplyImmediately: bool, **given: Any) -> None:
        assert ApplyImmediately
        instance = self.instances[DBInstanceIdentifier]
        if name := given.pop("NewDBInstanceIdentifier", None):
            assert name not in self.instances
            assert self.tasks == 0, "renamed while Carmen writes"
            self.instances[name] = self.instances.pop(DBInstanceIdentifier)
        if groups := given.pop("VpcSecurityGroupIds", None):
            instance["VpcSecurityGroups"] = [{"VpcSecurityGroupId": group} for group in groups]
        if group := given.pop("DBParameterGroupName", None):
            instance["DBParameterGroups"] = [{"DBParameterGroupName": group, "ParameterApplyStatus": "pending-reboot"}]
        if exports := given.pop("CloudwatchLogsExportConfiguration", None):
            instance["EnabledCloudwatchLogsExports"] = sorted({*instance["EnabledCloudwatchLogsExports"], *exports["EnableLogTypes"]})
        if "EnableIAMDatabaseAuthentication" in given:
            instance["IAMDatabaseAuthenticationEnabled"] = given.pop("EnableIAMDatabaseAuthentication")
        instance.update(given)
        self.changed("modify_db_instance")

    def reboot_db_instance(self, DBInstanceIdentifier: str) -> None:
        self.instances[DBInstanceIdentifier]["DBParameterGroups"][0]["ParameterApplyStatus"] = "in-sync"
        self.changed("reboot_db_instance")

    def describe_db_proxy_targets(self, **_: Any) -> dict[str, Any]:
        names = [name for name, instance in self.instances.items() if instance["DbiResourceId"] in self.proxied]
        return {"Targets": [{"RdsResourceId": name, "TargetHealth": {"State": "AVAILABLE"}} for name in names]}

    def deregister_db_proxy_targets(self, DBProxyName: str, DBInstanceIdentifiers: list[str]) -> None:
        (name,) = DBInstanceIdentifiers
        if self.instances[name]["DbiResourceId"] not in self.proxied:
            raise ClientError({"Error": {"Code": "DBProxyTargetNotFoundFault"}}, "DeregisterDBProxyTargets")
        self.proxied.remove(self.instances[name]["DbiResourceId"])
        self.changed("deregister_db_proxy_targets")

    def register_db_proxy_targets(self, DBProxyName: str, DBInstanceIdentifiers: list[str]) -> None:
        (name,) = DBInstanceIdentifiers
        if self.instances[name]["DbiResourceId"] in self.proxied:
            raise ClientError({"Error": {"Code": "DBProxyTargetAlreadyRegisteredFault"}}, "RegisterDBProxyTargets")
        assert not self.proxied, "a proxy has one target"
        self.proxied.add(self.instances[name]["DbiResourceId"])
        self.changed("register_db_proxy_targets")

    def list_role_policies(self, RoleName: str) -> dict[str, Any]:
        return {"PolicyNames": sorted(self.policies[RoleName])}

    def get_role_policy(self, RoleName: str, PolicyName: str) -> dict[str, Any]:
        return {"PolicyDocument": self.policies[RoleName][PolicyName]}

    def put_role_policy(self, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:
        self.policies[RoleName][PolicyName] = json.loads(PolicyDocument)
        self.changed("put_role_policy")

    def register_scalable_target(self, SuspendedState: dict[str, bool], **_: Any) -> None:
        self.suspended = all(SuspendedState.values())
        self.changed("register_scalable_target")

    def update_service(self, desiredCount: int, **_: Any) -> None:
        assert desiredCount or self.suspended, "scaling would start tasks again"
        self.tasks = desiredCount
        self.changed("update_service")

    def describe_services(self, **_: Any) -> dict[str, Any]:
        return {"services": [{"desiredCount": self.tasks}]}

    def invoke(self, **_: Any) -> dict[str, Any]:
        self.changed("invoke")
        return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "no such role"}')} if self.roles_fail else {}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setattr(swap, "POLL_SECONDS", 0)
    return Aws()


def _swap(aws: Aws, restored: str = "restored") -> None:
    swap.swap_instance(Deployed(load("prod"), aws), restored)


def _is_done(aws: Aws) -> None:
    assert set(aws.instances) == {"prod-db", "prod-db-before", "another"}
    now, kept = aws.instances["prod-db"], aws.instances["prod-db-before"]
    assert now == {**OURS, "DbiResourceId": "db-NEW"}, "made like the old one"
    assert kept == {**OURS, "DbiResourceId": "db-OLD"}, "kept as it was"
    assert aws.proxied == {"db-NEW"}
    for role, user in (("backup-role", "carmen_backup"), ("roles-role", "carmen_admin")):
        (statement,) = aws.policies[role]["RestoredInstance"]["Statement"]
        assert statement["Resource"] == [f"arn:aws:rds-db:us-east-1:000000000000:dbuser:db-NEW/{user}"]
    assert set(aws.policies["other-role"]) == {"Default"}
    assert (aws.tasks, aws.suspended) == (load("prod").service.min_tasks, False)


def test_swap_is_complete_and_a_second_one_changes_nothing(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    _swap(aws)
    _is_done(aws)
    assert aws.changes.index("reboot_db_instance") < aws.changes.index("update_service"), "made ready while the old one serves"
    assert "the old one is kept as prod-db-before" in capsys.readouterr().out
    changes = len(aws.changes)
    _swap(aws)
    assert len(aws.changes) == changes
    assert "Nothing is left to do" in capsys.readouterr().out


@pytest.mark.parametrize("number", range(1, CHANGES + 1))
def test_swap_interrupted_after_any_change_continues(aws: Aws, number: int) -> None:
    aws.ends_at = number
    with pytest.raises(Interrupted):
        _swap(aws)
    _swap(aws)
    _is_done(aws)


def test_swap_makes_the_number_of_changes_interrupted_above(aws: Aws) -> None:
    _swap(aws)
    assert len(aws.changes) == CHANGES, aws.changes


def test_failure_to_correct_roles_leaves_carmen_stopped(aws: Aws) -> None:
    aws.roles_fail = True
    with pytest.raises(FailedError, match="Carmen is still stopped: no such role"):
        _swap(aws)
    assert aws.tasks == 0
    aws.roles_fail = False
    _swap(aws)
    _is_done(aws)


@pytest.mark.parametrize(
    ("restored", "prepare", "refusal"),
    [
        ("restord", lambda aws: None, r"does not exist in .*Instances: another, prod-db, restored"),
        ("prod-db", lambda aws: None, "is the environment's own instance"),
        ("restored", lambda aws: aws.instances["restored"].update(EngineVersion="16.9"), "EngineVersion is 16.9, not 17.x"),
        ("restored", lambda aws: aws.instances["restored"].update(KmsKeyId="default"), "KmsKeyId is default, not key"),
        (
            "restored",
            lambda aws: aws.instances["restored"].update(DBSubnetGroup={"DBSubnetGroupName": "default"}),
            "its subnet group is default",
        ),
        ("restored", lambda aws: aws.instances.update({"prod-db-before": dict(OURS)}), "exists from an earlier swap"),
    ],
)
def test_unfit_instance_is_refused_before_any_change(aws: Aws, restored: str, prepare: Callable[[Aws], None], refusal: str) -> None:
    prepare(aws)
    with pytest.raises(RefusedError, match=refusal):
        _swap(aws, restored)
    assert not aws.changes
