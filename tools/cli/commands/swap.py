"""`make swap-database RESTORED=…`: has the application use a restored instance (docs/runbooks/swap-to-a-restored-instance.md).

What is to be done is read from AWS, not remembered: a run that failed or was ended goes on when it is started again. The stack
knows its instance by its identifier, so the restored one takes it and the old one is kept beside it, protected as it was.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from tools.cli.commands.wake import set_scaling
from tools.environment import Deployed, RefusedError, run

AVAILABLE_SECONDS, LOOK_SECONDS = 60 * 60, 10
STOPPED = {"DynamicScalingInSuspended": True, "DynamicScalingOutSuspended": True, "ScheduledScalingSuspended": True}
# What the restored instance must have been restored with: nothing changes it afterwards (RDS User Guide, "Settings for DB instances").
FIXED = ("Engine", "StorageEncrypted", "KmsKeyId", "DBName", "MasterUsername")
# What a restore does not take over, or may have been given otherwise.
ALIKE = (
    "DeletionProtection", "MultiAZ", "PubliclyAccessible", "BackupRetentionPeriod", "PreferredBackupWindow", "PreferredMaintenanceWindow",
    "CACertificateIdentifier", "CopyTagsToSnapshot", "AutoMinorVersionUpgrade", "DBInstanceClass", "MaxAllocatedStorage",
)  # fmt: skip
GRANT = "RestoredInstance"
PROXY = "AWS::RDS::DBProxy"

Instance = dict[str, Any]


@dataclass(frozen=True)
class Swap:
    """Which instances it is about: identifiers, and what RDS says of those there are."""

    instance: str
    restored: str
    found: dict[str, Instance]

    @property
    def kept(self) -> str:
        """What the old instance is called afterwards."""
        return f"{self.instance}-before"

    @property
    def old(self) -> Instance:
        return self.found[self.kept if self.kept in self.found else self.instance]

    @property
    def new(self) -> Instance:
        return self.found[self.restored if self.restored in self.found else self.instance]


def swap(deployed: Deployed, restored: str) -> None:
    """Every step that is still to be done. RefusedError, before anything is touched, for an instance that cannot take the place."""
    asked = _read(deployed, restored)
    _must_fit(asked)
    if asked.restored not in asked.found and _all_serves(deployed, asked):
        print(f"{asked.instance} is the restored instance, and serves. Nothing is left to be done.")
        return
    for step in STEPS:
        print(f"{(step.__doc__ or '').splitlines()[0]} …", flush=True)
        asked = replace(asked, found=_instances(deployed))
        step(deployed, asked)
    print(
        f"{asked.instance} is the restored instance now; the old one is kept as {asked.kept}. "
        "Look at /api/health and the newest records, then: make backup-now"
    )


def _read(deployed: Deployed, restored: str) -> Swap:
    found = _instances(deployed)
    asked = Swap(deployed.resource("Data", "AWS::RDS::DBInstance"), restored, found)
    there = {name for name in (asked.instance, asked.kept, restored) if name in found}
    if restored in (asked.instance, asked.kept):
        raise RefusedError(f"RESTORED={restored} is one of the environment's own names: give the identifier that the restore made.")
    if there == {asked.instance, asked.kept, restored}:
        raise RefusedError(
            f"{asked.kept} is there from an earlier swap: give it another name, or delete it with a final snapshot, before the next one."
        )
    if restored not in there and there != {asked.instance, asked.kept}:
        raise RefusedError(
            f"RESTORED={restored or '…'} is no instance in {deployed.settings.region}. There are: {', '.join(sorted(found))}."
        )
    return asked


def _must_fit(asked: Swap) -> None:
    old, new = asked.old, asked.new
    wrong = [f"{name} is {new.get(name)}, not {old.get(name)}" for name in FIXED if new.get(name) != old.get(name)]
    if _major(new) != _major(old):
        wrong.append(f"EngineVersion is {new['EngineVersion']}, not {_major(old)}.x")
    if (group := new["DBSubnetGroup"]["DBSubnetGroupName"]) != (own := old["DBSubnetGroup"]["DBSubnetGroupName"]):
        wrong.append(f"its subnet group is {group}, not {own}")
    if wrong:
        raise RefusedError(f"{asked.restored} cannot take the place of {asked.instance}: {'; '.join(wrong)}. Restore it again, with these.")


def _all_serves(deployed: Deployed, asked: Swap) -> bool:
    cluster, name = deployed.output("Cluster"), deployed.output("Service")
    (service,) = deployed.session.client("ecs").describe_services(cluster=cluster, services=[name])["services"]
    let_in = dict(_logins(deployed, asked.new)).keys() >= dict(_logins(deployed, asked.old)).keys()
    return service["desiredCount"] > 0 and let_in and asked.instance in _proxied(deployed)


# The steps. Each finds out whether it was done.


def make_alike(deployed: Deployed, asked: Swap) -> None:
    """The restored instance gets the old one's settings, while the old one serves"""
    rds, old, new = deployed.session.client("rds"), asked.old, asked.new
    name = str(new["DBInstanceIdentifier"])
    changes = {key: old[key] for key in ALIKE if key in old and old[key] != new.get(key)}
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
    """Carmen is stopped, so that nothing is written any more"""
    _scale(deployed, STOPPED, 0)


def rename(deployed: Deployed, asked: Swap) -> None:
    """The old instance makes room for the restored one"""
    rds = deployed.session.client("rds")
    for there, name in ((asked.instance, asked.kept), (asked.restored, asked.instance)):
        if name not in _instances(deployed):
            rds.modify_db_instance(DBInstanceIdentifier=there, NewDBInstanceIdentifier=name, ApplyImmediately=True)
        _available(rds, name)


def lead_proxy(deployed: Deployed, asked: Swap) -> None:
    """The proxy, which follows an instance and not its name, is given the restored one"""
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
    _until(lambda: asked.instance in _proxied(deployed), f"{proxy} does not reach {asked.instance}: describe-db-proxy-targets says why")


def let_in(deployed: Deployed, asked: Swap) -> None:
    """Functions that log in by IAM may do so at the restored instance: such permissions name an instance by its resource id"""
    iam, new = deployed.session.client("iam"), asked.new["DbiResourceId"]
    for role, arns in _logins(deployed, asked.old):
        resources = sorted(arn.replace(asked.old["DbiResourceId"], new) for arn in arns)
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "rds-db:connect", "Resource": resources}]}
        iam.put_role_policy(RoleName=role, PolicyName=GRANT, PolicyDocument=json.dumps(document))


def correct_roles(deployed: Deployed, asked: Swap) -> None:
    """Roles and passwords, which are those of the restored moment, are put right"""
    function = deployed.resource("Data", "AWS::Lambda::Function", "DatabaseRolesFunction")
    answer = deployed.session.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    if answer.get("FunctionError"):
        said = json.loads(answer["Payload"].read())
        raise RefusedError(f"The database's roles could not be put right, and Carmen is stopped still: {said.get('errorMessage')}")


def start(deployed: Deployed, asked: Swap) -> None:
    """Carmen is started"""
    _scale(deployed, dict.fromkeys(STOPPED, False), deployed.settings.service.min_tasks)


STEPS: tuple[Callable[[Deployed, Swap], None], ...] = (make_alike, stop, rename, lead_proxy, let_in, correct_roles, start)


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
    """What RDS says of the instance once it is ready under that name, which it is not for a while after a change."""
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

    time.sleep(LOOK_SECONDS)  # a change shows after a moment
    _until(ready, f"{name} did not become available within the hour: look at its events")
    return seen


def _until(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + AVAILABLE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise RefusedError(f"{otherwise}. Started again, this goes on from here.")
        time.sleep(LOOK_SECONDS)


def _scale(deployed: Deployed, suspended: dict[str, bool], tasks: int) -> None:
    """So many tasks, and waits for them; automatic scaling would start some of its own."""
    set_scaling(deployed, SuspendedState=suspended)
    ecs, cluster, service = deployed.session.client("ecs"), deployed.output("Cluster"), deployed.output("Service")
    ecs.update_service(cluster=cluster, service=service, desiredCount=tasks)
    ecs.get_waiter("services_stable").wait(cluster=cluster, services=[service])


def _proxied(deployed: Deployed) -> set[str]:
    """The instances that the proxy reaches; without a proxy, all."""
    if not deployed.settings.database.proxy:
        return set(_instances(deployed))
    targets = deployed.session.client("rds").describe_db_proxy_targets(DBProxyName=deployed.resource("Data", PROXY))["Targets"]
    return {target["RdsResourceId"] for target in targets if target.get("TargetHealth", {}).get("State") == "AVAILABLE"}


def _logins(deployed: Deployed, instance: Instance) -> list[tuple[str, list[str]]]:
    """Role → as what it may log in to this instance, by IAM."""
    iam, found = deployed.session.client("iam"), []
    for role in deployed.resources("Operations", "AWS::IAM::Role"):
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


def main() -> int:
    """For ENV, with RESTORED."""
    return run(os.environ.get("ENV", "prod"), lambda deployed: swap(deployed, os.environ.get("RESTORED", "")))


if __name__ == "__main__":
    sys.exit(main())
