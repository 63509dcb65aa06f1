"""Let the application use a restored instance (docs/runbooks/swap-to-a-restored-instance.md).

Each step reads from AWS what is left to do: after a failure or Ctrl-C, the same command continues. The stack knows its instance by
identifier, so the restored instance takes over the identifier, and the old one is kept under another, with its protection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from tools.cli.commands.database.working_hours import set_scaling
from tools.cli.terminal import on_ctrl_c, step
from tools.environment import Deployed, FailedError, RefusedError

AVAILABLE_SECONDS, POLL_SECONDS = 60 * 60, 10
STOPPED = {"DynamicScalingInSuspended": True, "DynamicScalingOutSuspended": True, "ScheduledScalingSuspended": True}
# Fixed at the restore: cannot be changed afterwards (RDS User Guide, "Settings for DB instances").
FIXED = ("Engine", "StorageEncrypted", "KmsKeyId", "DBName", "MasterUsername")
# Not taken over by a restore, or given another value there.
COPIED = (
    "DeletionProtection", "MultiAZ", "PubliclyAccessible", "BackupRetentionPeriod", "PreferredBackupWindow", "PreferredMaintenanceWindow",
    "CACertificateIdentifier", "CopyTagsToSnapshot", "AutoMinorVersionUpgrade", "DBInstanceClass", "MaxAllocatedStorage",
)  # fmt: skip
GRANT = "RestoredInstance"
PROXY = "AWS::RDS::DBProxy"

Instance = dict[str, Any]


@dataclass(frozen=True)
class Swap:
    """The identifiers of a swap, and the description of every existing instance."""

    instance: str
    restored: str
    found: dict[str, Instance]

    @property
    def kept(self) -> str:
        """Identifier of the old instance after the swap."""
        return f"{self.instance}-before"

    @property
    def old(self) -> Instance:
        return self.found[self.kept if self.kept in self.found else self.instance]

    @property
    def new(self) -> Instance:
        return self.found[self.restored if self.restored in self.found else self.instance]


def swap_instance(deployed: Deployed, restored: str) -> None:
    """Do every step that is left. Raises RefusedError, before any change, for an instance that does not fit."""
    asked = _read(deployed, restored)
    _require_same(asked)
    if asked.restored not in asked.found and _is_complete(deployed, asked):
        print(f"{asked.instance} is the restored instance and in use. Nothing is left to do.")
        return
    environment = deployed.settings.name
    deployed.approve(
        f"{asked.restored} becomes {asked.instance}, the old instance is kept as {asked.kept}; Carmen is stopped for minutes in between",
        f"restore {asked.kept} to a point in time and swap again (docs/runbooks/swap-to-a-restored-instance.md)",
    )
    again = f"./carmen database swap {restored} --env {environment}"
    with on_ctrl_c(f"The swap is incomplete and Carmen may be stopped: `{again}` continues it."):
        for action in STEPS:
            step((action.__doc__ or "").splitlines()[0])
            asked = replace(asked, found=_instances(deployed))
            action(deployed, asked)
    print(
        f"{asked.instance} is now the restored instance; the old one is kept as {asked.kept}. "
        f"Check /api/health and the newest records, then run `./carmen backup now --env {environment}`."
    )


def _read(deployed: Deployed, restored: str) -> Swap:
    found = _instances(deployed)
    asked = Swap(deployed.resource("Data", "AWS::RDS::DBInstance"), restored, found)
    present = {name for name in (asked.instance, asked.kept, restored) if name in found}
    if restored in (asked.instance, asked.kept):
        raise RefusedError(f"{restored} is the environment's own instance: give the identifier of the restored one.")
    if present == {asked.instance, asked.kept, restored}:
        raise RefusedError(
            f"{asked.kept} exists from an earlier swap: rename it, or delete it with a final snapshot, before the next swap."
        )
    if restored not in present and present != {asked.instance, asked.kept}:
        raise RefusedError(f"{restored} does not exist in {deployed.settings.region}. Instances: {', '.join(sorted(found))}.")
    return asked


def _require_same(asked: Swap) -> None:
    old, new = asked.old, asked.new
    wrong = [f"{name} is {new.get(name)}, not {old.get(name)}" for name in FIXED if new.get(name) != old.get(name)]
    if _major(new) != _major(old):
        wrong.append(f"EngineVersion is {new['EngineVersion']}, not {_major(old)}.x")
    if (group := new["DBSubnetGroup"]["DBSubnetGroupName"]) != (own := old["DBSubnetGroup"]["DBSubnetGroupName"]):
        wrong.append(f"its subnet group is {group}, not {own}")
    if wrong:
        raise RefusedError(f"{asked.restored} cannot replace {asked.instance}: {'; '.join(wrong)}. Restore it again with these values.")


def _is_complete(deployed: Deployed, asked: Swap) -> bool:
    cluster, name = deployed.output("Cluster"), deployed.output("Service")
    (service,) = deployed.session.client("ecs").describe_services(cluster=cluster, services=[name])["services"]
    allowed = dict(_logins(deployed, asked.new)).keys() >= dict(_logins(deployed, asked.old)).keys()
    return service["desiredCount"] > 0 and allowed and asked.instance in _proxied(deployed)


# The steps. Each checks whether it was done. The first line of its docstring is printed.


def copy_settings(deployed: Deployed, asked: Swap) -> None:
    """Copying the old instance's settings to the restored one; the old one is in use"""
    rds, old, new = deployed.session.client("rds"), asked.old, asked.new
    name = str(new["DBInstanceIdentifier"])
    changes = {key: old[key] for key in COPIED if key in old and old[key] != new.get(key)}
    for key, values in {
        "VpcSecurityGroupIds": _groups,
        "EnableIAMDatabaseAuthentication": _iam,
        "DBParameterGroupName": _parameters,
    }.items():
        if values(old) != values(new):
            changes[key] = values(old)
    if exports := sorted(set(old.get("EnabledCloudwatchLogsExports", [])) - set(new.get("EnabledCloudwatchLogsExports", []))):
        changes["CloudwatchLogsExportConfiguration"] = {"EnableLogTypes": exports}
    if changes:
        print(f"  {', '.join(sorted(changes))}")
        rds.modify_db_instance(DBInstanceIdentifier=name, ApplyImmediately=True, **changes)
    if _available(rds, name)["DBParameterGroups"][0]["ParameterApplyStatus"] == "pending-reboot":
        rds.reboot_db_instance(DBInstanceIdentifier=name)
        _available(rds, name)


def stop(deployed: Deployed, asked: Swap) -> None:
    """Stopping Carmen, so that nothing is written"""
    _scale(deployed, STOPPED, 0)


def rename(deployed: Deployed, asked: Swap) -> None:
    """Renaming the old instance, and the restored one to its identifier"""
    rds = deployed.session.client("rds")
    for present, name in ((asked.instance, asked.kept), (asked.restored, asked.instance)):
        if name not in _instances(deployed):
            rds.modify_db_instance(DBInstanceIdentifier=present, NewDBInstanceIdentifier=name, ApplyImmediately=True)
        _available(rds, name)


def retarget_proxy(deployed: Deployed, asked: Swap) -> None:
    """Registering the restored instance with the proxy, which follows the instance and not its name"""
    if not deployed.settings.database.proxy:
        return
    rds, proxy = deployed.session.client("rds"), deployed.resource("Data", PROXY)
    for change, name, already in (
        (rds.deregister_db_proxy_targets, asked.kept, "DBProxyTargetNotFoundFault"),
        (rds.register_db_proxy_targets, asked.instance, "DBProxyTargetAlreadyRegisteredFault"),
    ):
        try:
            change(DBProxyName=proxy, DBInstanceIdentifiers=[name])
        except ClientError as error:
            if error.response["Error"]["Code"] != already:
                raise
    _until(
        lambda: asked.instance in _proxied(deployed),
        f"{proxy} does not reach {asked.instance}: `aws rds describe-db-proxy-targets` shows why",
    )


def allow_logins(deployed: Deployed, asked: Swap) -> None:
    """Allowing IAM logins to the restored instance: permissions name an instance by resource id"""
    iam, new = deployed.session.client("iam"), asked.new["DbiResourceId"]
    for role, arns in _logins(deployed, asked.old):
        resources = sorted(arn.replace(asked.old["DbiResourceId"], new) for arn in arns)
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "rds-db:connect", "Resource": resources}]}
        iam.put_role_policy(RoleName=role, PolicyName=GRANT, PolicyDocument=json.dumps(document))


def correct_roles(deployed: Deployed, asked: Swap) -> None:
    """Correcting roles and passwords, which are those of the restored time"""
    function = deployed.resource("Data", "AWS::Lambda::Function", "DatabaseRolesFunction")
    answer = deployed.session.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    if answer.get("FunctionError"):
        result = json.loads(answer["Payload"].read())
        raise FailedError(f"Correcting the database's roles failed, and Carmen is still stopped: {result.get('errorMessage')}")


def start(deployed: Deployed, asked: Swap) -> None:
    """Starting Carmen"""
    _scale(deployed, dict.fromkeys(STOPPED, False), deployed.settings.service.min_tasks)


STEPS: tuple[Callable[[Deployed, Swap], None], ...] = (copy_settings, stop, rename, retarget_proxy, allow_logins, correct_roles, start)


def _major(instance: Instance) -> str:
    return str(instance["EngineVersion"]).split(".")[0]


def _groups(instance: Instance) -> list[str]:
    return sorted(group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"])


def _iam(instance: Instance) -> bool:
    return bool(instance.get("IAMDatabaseAuthenticationEnabled"))


def _parameters(instance: Instance) -> str:
    return str(instance["DBParameterGroups"][0]["DBParameterGroupName"])


def _instances(deployed: Deployed) -> dict[str, Instance]:
    pages = deployed.session.client("rds").get_paginator("describe_db_instances").paginate()
    return {str(one["DBInstanceIdentifier"]): one for page in pages for one in page["DBInstances"]}


def _available(rds: Any, name: str) -> Instance:
    """Wait until an instance of that name is available without pending changes; returns its description."""
    seen: Instance = {}

    def ready() -> bool:
        try:
            (found,) = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
                raise
            return False
        seen.update(found)
        return bool(found["DBInstanceStatus"] == "available" and not found.get("PendingModifiedValues"))

    time.sleep(POLL_SECONDS)  # RDS shows a change after a moment
    _until(ready, f"{name} did not become available within an hour: look at its events")
    return seen


def _until(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + AVAILABLE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise FailedError(f"{otherwise}. The same command continues from here.")
        time.sleep(POLL_SECONDS)


def _scale(deployed: Deployed, suspended: dict[str, bool], tasks: int) -> None:
    """Run that many tasks and wait for them; automatic scaling is suspended while it would start others."""
    set_scaling(deployed, SuspendedState=suspended)
    ecs, cluster, service = deployed.session.client("ecs"), deployed.output("Cluster"), deployed.output("Service")
    ecs.update_service(cluster=cluster, service=service, desiredCount=tasks)
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=[service])


def _proxied(deployed: Deployed) -> set[str]:
    """Instances that the proxy reaches; without a proxy, all."""
    if not deployed.settings.database.proxy:
        return set(_instances(deployed))
    targets = deployed.session.client("rds").describe_db_proxy_targets(DBProxyName=deployed.resource("Data", PROXY))["Targets"]
    return {target["RdsResourceId"] for target in targets if target.get("TargetHealth", {}).get("State") == "AVAILABLE"}


def _logins(deployed: Deployed, instance: Instance) -> list[tuple[str, list[str]]]:
    """Role and ARNs of the database users that it may log in as to this instance, by IAM."""
    iam, found = deployed.session.client("iam"), []
    for role in (role for stack in ("Operations", "Data") for role in deployed.resources(stack, "AWS::IAM::Role")):
        arns: set[str] = set()
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for statement in document["Statement"]:
                if statement["Action"] == "rds-db:connect":
                    resource = statement["Resource"]
                    arns |= {arn for arn in ([resource] if isinstance(resource, str) else resource) if instance["DbiResourceId"] in arn}
        if arns:
            found.append((role, sorted(arns)))
    return found
