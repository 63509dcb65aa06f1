"""`./carmen destroy`: delete all stacks of an environment in the right order, and list what they retain.

`cdk destroy CarmenProd` deletes one stack: the others do not depend on it, it depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from tools.cli.options import reads_environment
from tools.cli.stack_removal import PARAMETER, Stack, StackRemoval
from tools.cli.terminal import approve_by_name, on_ctrl_c
from tools.environment import Deployed, FailedError, RefusedError, find_stack, unless

# Source: AWS CloudFormation User Guide, "DeletionPolicy attribute".
RETAINED = ("Retain", "RetainExceptOnCreate", "Snapshot")
INSTANCE, CACHE, BALANCER = "AWS::RDS::DBInstance", "AWS::ElastiCache::ReplicationGroup", "AWS::ElasticLoadBalancingV2::LoadBalancer"
Resource = tuple[str, str]  # type and physical id


@dataclass(frozen=True)
class Part:
    """A deployed stack. `retained` and `deleted`: its resources, by what their deletion policies say."""

    stack: Stack
    protected: bool
    retained: tuple[Resource, ...]
    deleted: tuple[Resource, ...]


def parts_of(deployed: Deployed, removal: StackRemoval) -> Iterator[Part]:
    """The environment's deployed stacks, in deployment order."""
    from tools.reports.drift import stacks_of

    for name, region in stacks_of(deployed.settings):
        client = removal.client("cloudformation", region)
        found = find_stack(client, name)
        if found is None:
            continue
        body = client.get_template(StackName=name).get("TemplateBody", {})
        if not isinstance(body, Mapping):
            raise FailedError(f"Nothing was changed: the template of {name} is not JSON, so the CDK did not deploy it. Delete it manually.")
        policies = {key: one.get("DeletionPolicy") for key, one in body.get("Resources", {}).items()}
        stack = Stack(name, region, found["CreationTime"], found["StackStatus"])
        retained, gone = list[Resource](), list[Resource]()
        for one in removal.resources(stack):
            kept = policies.get(one["LogicalResourceId"]) in RETAINED
            (retained if kept else gone).append((one["ResourceType"], one["PhysicalResourceId"]))
        yield Part(stack, found.get("EnableTerminationProtection", False), tuple(retained), tuple(gone))


def protections(parts: list[Part], removal: StackRemoval) -> Iterator[str]:
    """What would stop the deletion half-way, and the setting that changes it."""
    if protected := [part.stack.name for part in parts if part.protected]:
        yield f"termination protection of {', '.join(protected)}: set `termination_protection = false`"
    for part in parts:
        region = part.stack.region
        for kind, name in part.deleted:
            if kind == BALANCER and _balancer_is_protected(removal.client("elbv2", region), name):
                yield f"deletion protection of the load balancer {name}: set `termination_protection = false`"
        for kind, name in (*part.deleted, *part.retained):  # a retained one is in the way too, and may have to be deleted first
            if kind == INSTANCE and (found := _instance(removal.client("rds", region), name)) and found["DeletionProtection"]:
                yield f"deletion protection of the database {name}: set `deletion_protection = false` in [database]"
        for kind, name in part.retained:
            # Neither is deleted while a database or cache uses it: RDS API, DeleteDBSubnetGroup; ElastiCache API, DeleteCacheSubnetGroup.
            if kind == INSTANCE and _instance(removal.client("rds", region), name):
                yield (
                    f"the database {name} is retained and uses the network: set `keep_data = false`, which deletes its data, or keep a "
                    f"snapshot: `aws rds delete-db-instance --db-instance-identifier {name} --final-db-snapshot-identifier {name}-final`"
                )
            if kind == CACHE and _cache_exists(removal.client("elasticache", region), name):
                yield (
                    f"the cache {name} is retained and uses the network: set `keep_data = false`, or delete it: "
                    f"`aws elasticache delete-replication-group --replication-group-id {name}`"
                )


def _balancer_is_protected(elbv2: Any, arn: str) -> bool:
    attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    return {"Key": "deletion_protection.enabled", "Value": "true"} in attributes


def _instance(rds: Any, name: str) -> dict[str, Any] | None:
    found = unless("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier=name)
    return dict(found["DBInstances"][0]) if found else None


def _cache_exists(elasticache: Any, name: str) -> bool:
    return unless("ReplicationGroupNotFoundFault", elasticache.describe_replication_groups, ReplicationGroupId=name) is not None


def destroy(deployed: Deployed, removal: StackRemoval, confirmed: str | None) -> None:
    """Delete all stacks, the newest layer first. Raises RefusedError before any change, FailedError with the stack that was not deleted."""
    settings = deployed.settings
    parts = list(parts_of(deployed, removal))
    if not parts:
        removal.say(f"No stack of {settings.name} is deployed in the account of these credentials.")
        return
    if on := list(protections(parts, removal)):
        again = f"`./carmen deploy --env {settings.name}`, then `./carmen destroy --env {settings.name}`"
        raise RefusedError("\n  ".join([f"Nothing was changed. Protections of {settings.name} are on:", *on])
                           + f"\nChange the settings in environments/{settings.name}.toml; then {again}.")  # fmt: skip
    retained = [f"{kind} {name} ({part.stack.name})" for part in parts for kind, name in part.retained]
    stays = "\n  ".join([f"Retained, {len(retained)} resources; delete them manually:", *retained]) if retained else "Nothing is retained."
    click.echo(stays, err=True)
    names = ", ".join(part.stack.name for part in reversed(parts))
    approve_by_name(settings.name, confirmed, f"deleted, in this order: {names}; the rest of their data too", "not possible")
    for part in reversed(parts):
        removal.say(f"deleting {part.stack.name}")
        continues = f"The deletion of {part.stack.name} continues in AWS; `./carmen destroy --env {settings.name}` deletes the rest."
        with on_ctrl_c(continues):
            removal.delete(part.stack, {name for _, name in part.retained})
    removal.delete_parameter(PARAMETER.format(settings.name))
    removal.say(f"{settings.name} is deleted.")
    print(stays)


@click.command("destroy")
@click.option("--confirm", metavar="NAME", help="The environment's name again, instead of typing it on a terminal.")
@reads_environment
def command(deployed: Deployed, confirm: str | None) -> None:
    """Delete all stacks of an environment.

    Lists what is retained, and asks for the environment's name. Refuses while a protection is on, and names its setting. After a failure
    the same command continues. Previews: `./carmen preview remove`.

    \b
    Example:
      ./carmen destroy --env dev
    """
    if deployed.settings.preview:
        raise click.UsageError(
            f"--env {deployed.settings.name}: a preview is removed with `./carmen preview remove {deployed.settings.preview}`."
        )
    destroy(deployed, StackRemoval(deployed.session, deployed.settings.regions), confirm)
