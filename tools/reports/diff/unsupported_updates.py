"""Updates that are refused although CloudFormation's resource schemas allow them, and deletions that a protection prevents.

The schemas say what replaces a resource. They do not say what CloudFormation, or the service behind it, refuses to change at all, in
this state, or at once: each rule here names its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tools.reports.assembly import Body, Resource
from tools.reports.diff.collect import Change, Comparison, Impact
from tools.reports.diff.findings import Finding
from tools.reports.diff.state import RETAINED

IN_PLACE = (Impact.CHANGED, Impact.MAY_BE_REPLACED)
DELETED = {Impact.REPLACED: "UpdateReplacePolicy", Impact.MOVED: "DeletionPolicy", Impact.REMOVED: "DeletionPolicy"}


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield a finding for each update that is refused, and for each protected resource that is not deleted."""
    for change in comparison.changes:
        if change.both and (reason := _refusal(change, *change.both)):
            yield Finding(change.environment, "Deployment", f"The deployment of `{change.part}` fails at `{change.path}`: {reason}")
        if change.old and _stays(change, change.old):
            words = (
                f"`{change.old.path}` stays in the account, and no stack manages it: its deletion protection refuses the deletion. "
                "Switch the protection off and deploy first."
            )
            yield Finding(change.environment, "State", words)


def _refusal(change: Change, old: Resource, new: Resource) -> str | None:
    if old.logical_id == new.logical_id and old.kind != new.kind:
        # aws/aws-sam-cli#6786
        return f"CloudFormation answers “Update of resource type is not permitted” ({old.kind} → {new.kind}). Give it another logical id."
    if change.impact not in IN_PLACE:
        return None
    properties = old.properties, new.properties
    return refusal(old.kind, *properties) or (UNLESS_BY_API[old.kind](*properties) if old.kind in UNLESS_BY_API else None)


def refusal(kind: str, old: Body, new: Body) -> str | None:
    """Why a resource of this type cannot be updated in place from these properties to those; None if it can."""
    if kind.startswith("Custom::") or kind == "AWS::CloudFormation::CustomResource":
        return _service_token(old, new)
    return RULES[kind](old, new) if kind in RULES else None


def _service_token(old: Body, new: Body) -> str | None:
    """CloudFormation Template Reference, AWS::CloudFormation::CustomResource: "Updates aren't supported"."""
    if old.get("ServiceToken") == new.get("ServiceToken"):
        return None
    # cloudcomponents/cdk-constructs#197, aws-cloudformation/cloudformation-coverage-roadmap#802
    return "CloudFormation answers “Modifying service token is not allowed”. Keep the function, or give this resource another logical id."


def _vpc_origin(old: Body, new: Body) -> str | None:
    """aws/aws-cdk#34629 and #35765, hashicorp/terraform-provider-aws#40905: not even tags."""
    if old == new:
        return None
    return (
        "CloudFront answers “The specified VPC origin is currently associated with one or more distributions”. Give the changed one "
        "another logical id: the distribution then uses it before the old one is deleted."
    )


def _failover(old: Body, new: Body) -> str | None:
    """Adding: aws-cloudformation/cloudformation-coverage-roadmap#383. Removing: crossplane-contrib/provider-aws#1594."""
    nodes = [int(one.get("NumCacheClusters", 1)) for one in (old, new)]
    switched = _is_on(old.get("AutomaticFailoverEnabled")) != _is_on(new.get("AutomaticFailoverEnabled"))
    if not switched or nodes[0] == nodes[1] or min(nodes) > 1:
        return None
    return (
        "ElastiCache answers “Replication group must have at least one read replica to enable autofailover”. Change the replicas and the "
        "failover in two deployments: failover only while there is a replica."
    )


def _snapshots(old: Body, new: Body) -> str | None:
    """aws/aws-cdk#6256, aws-controllers-k8s/community#1846, hashicorp/terraform#10581."""
    before, after = (_number(one.get("SnapshotRetentionLimit", 0)) for one in (old, new))
    if before != 0 or not after or "SnapshottingClusterId" in new:
        return None
    return "ElastiCache answers “Must specify both SnapshotRetentionLimit and SnapshottingClusterId to turn on snapshots”."


def _database(old: Body, new: Body) -> str | None:
    """RDS User Guide, "Working with storage for Amazon RDS DB instances"; versions: ADR 0023."""
    versions = [_version(one.get("EngineVersion")) for one in (old, new)]
    if versions[0][:1] == versions[1][:1] and len(versions[1]) > 1 and versions[1] < versions[0]:
        return f"RDS does not downgrade an engine ({old['EngineVersion']} → {new['EngineVersion']})."
    before, after = (_number(one.get("AllocatedStorage")) for one in (old, new))
    if before is None or after is None or after == before:
        return None
    if after < before:
        return f"RDS cannot reduce the storage of an instance ({before:g} → {after:g} GiB)."
    return f"RDS adds at least a tenth to the storage of an instance ({before:g} → {after:g} GiB)." if after < before * 1.1 else None


RULES: dict[str, Callable[[Body, Body], str | None]] = {
    "AWS::CloudFront::VpcOrigin": _vpc_origin,
    "AWS::ElastiCache::ReplicationGroup": _failover,
    "AWS::RDS::DBInstance": _database,
}
# Refused unless a call of the service's API came first, which two templates do not show; the embedded AWS does not ask for it.
UNLESS_BY_API = {"AWS::ElastiCache::ReplicationGroup": _snapshots}


def _stays(change: Change, old: Resource) -> bool:
    policy = DELETED.get(change.impact)
    body = change.new.body if change.new and change.impact is Impact.REPLACED else old.body
    return policy is not None and body.get(policy) not in RETAINED and _is_protected(old)


def _is_protected(resource: Resource) -> bool:
    """By deletion protection: of RDS, of DynamoDB (DeletionProtectionEnabled), of load balancers (an attribute)."""
    attributes = {one["Key"]: one["Value"] for one in resource.at("LoadBalancerAttributes", [])}
    flags = (resource.at("DeletionProtection"), resource.at("DeletionProtectionEnabled"), attributes.get("deletion_protection.enabled"))
    return any(_is_on(one) for one in flags)


def _is_on(value: Any) -> bool:
    return str(value).lower() == "true"


def _version(value: Any) -> list[int]:
    """`17.11` as numbers; a major version alone names no minor one."""
    return [int(part) for part in str(value).split(".") if part.isdigit()]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):  # a reference: its value is unknown here
        return None
