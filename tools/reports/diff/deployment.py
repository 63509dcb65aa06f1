"""What a deployment restarts, replaces or interrupts, according to AWS's documentation of each property.

Sources: RDS User Guide, "Settings for DB instances" (downtime of each) and "Modifying"; ElastiCache User Guide, "Online
resizing", "Upgrading engine versions", "Modifying in-transit encryption"; ECS Developer Guide, "Rolling update"; CloudFront
Developer Guide, "Update a distribution"; CloudFormation's resource schemas for what is replaced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tools.reports.assembly import Resource, importance
from tools.reports.diff.collect import Change, Comparison, Impact

RDS = {
    "DBInstanceClass": "the database restarts{failover}",
    "EngineVersion": "the database is down during the engine upgrade, for minutes even with Multi-AZ",
    "StorageType": "the database may restart{failover}, and is slow while the storage is converted",
    "DBParameterGroupName": "the new parameters take effect at the next reboot",
    "MultiAZ": "no interruption; the database is slower while the standby is created or removed",
    "AllocatedStorage": "no interruption; the storage cannot be changed again for six hours",
    "CACertificateIdentifier": "clients that do not trust the new certificate authority can no longer connect",
}
REDIS = {
    "CacheNodeType": "nodes are replaced one by one; Redis is unavailable for seconds during the failover",
    "EngineVersion": "nodes are upgraded one by one; Redis is unavailable for seconds during the failover",
    "CacheParameterGroupName": "static parameters take effect when the nodes restart",
    "NumCacheClusters": "no interruption; replicas are added or removed",
    "AuthToken": "clients with the old password are refused after the next rotation",
    "TransitEncryptionEnabled": "clients must switch the protocol immediately",
}
# The effect when such a resource is replaced, moved or removed, besides the loss of its data.
EFFECTS = {
    "AWS::CloudFront::Distribution": "the site gets another CloudFront domain name; the old one stops working",
    "AWS::EC2::EIP": "outgoing connections come from another address: update allow-lists elsewhere",
    "AWS::EC2::NatGateway": "outgoing connections of its zone break",
    "AWS::EC2::Subnet": "its resources must be created again elsewhere",
    "AWS::EC2::VPC": "its resources must be created again",
    "AWS::ECS::Cluster": "its services are removed with it",
    "AWS::ECS::Service": "its tasks stop",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "the origin has another name; requests fail until CloudFront uses it",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "requests fail until the tasks are healthy in the new one",
    "AWS::RDS::DBProxy": "connections through the proxy break, and its endpoint gets another name",
    "AWS::CloudFront::VpcOrigin": "CloudFront needs another path to the load balancer; requests may fail for minutes",
}
TASK = "AWS::ECS::TaskDefinition"
NEW_REVISION = (Impact.REVISED, Impact.MOVED)
# Properties of a service that start new tasks (ECS Developer Guide, "Updating an Amazon ECS service").
ROLLS = ("TaskDefinition", "NetworkConfiguration", "LoadBalancers", "CapacityProviderStrategy", "PlatformVersion", "EnableExecuteCommand")
PATHS_SHOWN = 5


@dataclass(frozen=True)
class Interruption:
    """An interruption with all environments that have it."""

    words: str
    environments: tuple[str, ...]


@dataclass(frozen=True)
class _Effect:
    weight: int  # 0 is the worst
    words: str


def interruptions(comparison: Comparison) -> list[Interruption]:
    """All interruptions, the worst first; equal ones of several resources are grouped."""
    where: dict[tuple[_Effect, str], set[str]] = defaultdict(set)
    for change in comparison.changes:
        for effect in (_Effect(*one) for one in _of(change, comparison)):
            where[effect, change.path].add(change.environment)
    for service, words in _rolling(comparison):
        where[_Effect(2, words), service.path].add(service.environment)
    together: dict[tuple[_Effect, tuple[str, ...]], list[str]] = defaultdict(list)
    for (effect, path), environments in where.items():
        together[effect, tuple(sorted(environments, key=importance))].append(path)
    found = sorted(together.items(), key=lambda one: (one[0][0].weight, importance(one[0][1][0]), one[0][0].words))
    return [Interruption(f"{_listed(sorted(paths))}: {effect.words}.", environments) for (effect, environments), paths in found]


def _listed(paths: list[str]) -> str:
    shown = ", ".join(f"`{path}`" for path in paths[:PATHS_SHOWN])
    return f"{shown} and {len(paths) - PATHS_SHOWN} more" if len(paths) > PATHS_SHOWN else shown


def _of(change: Change, comparison: Comparison) -> Iterator[tuple[int, str]]:
    changed = {leaf.path.split(".")[0].split("[")[0] for leaf in change.relevant}
    if change.kind in EFFECTS and change.impact not in (Impact.ADDED, Impact.CHANGED):
        yield 0, f"{change.impact.value}; {EFFECTS[change.kind]}"
    if not change.both:
        return
    old, new = change.both
    match change.kind:
        case "AWS::RDS::DBInstance":
            failover = (
                " with a failover to the standby, 1 to 2 minutes" if old.at("MultiAZ", False) else ", several minutes: it has no standby"
            )
            for name in sorted(changed & RDS.keys()):
                yield _weight(RDS[name]), f"{RDS[name].format(failover=failover)} (`{name}`)"
        case "AWS::RDS::DBParameterGroup":
            before, after = (one.at("Parameters", {}) for one in (old, new))
            if names := [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]:
                yield 2, f"static parameters take effect at the next reboot, the others immediately ({', '.join(names)})"
        case "AWS::ElastiCache::ReplicationGroup":
            for name in sorted(changed & REDIS.keys()):
                yield _weight(REDIS[name]), f"{REDIS[name]} (`{name}`)"
        case "AWS::CloudFront::Distribution" if change.relevant:
            yield 3, "takes effect in all CloudFront locations within minutes; until then both versions are served"
        case "AWS::Lambda::Function" if change.impact is Impact.CHANGED:
            yield 4, "the next invocation runs the new version"
        case "Custom::DatabaseRoles":
            yield 3, "the database roles are applied again under a lock; connections stay open"


def _weight(words: str) -> int:
    return 3 if words.startswith("no interruption") else 1


def _rolling(comparison: Comparison) -> Iterator[tuple[Resource, str]]:
    """Services that start new tasks, because they or their task definition changed."""
    replaced = {(one.environment, one.path) for one in comparison.changes if one.kind == TASK and one.impact in NEW_REVISION}
    for new in comparison.head.of_kind("AWS::ECS::Service"):
        old = comparison.base.by_path.get((new.environment, new.path))
        task = str(comparison.head.with_paths(new.stack, new.at("TaskDefinition")))
        if old and ((new.environment, task) in replaced or any(old.at(name) != new.at(name) for name in ROLLS)):
            least = new.at("DeploymentConfiguration.MinimumHealthyPercent", 100)
            how = "new tasks start before old ones stop" if least >= 100 else f"at least {least} % of them keep running"
            yield new, f"all tasks are replaced; {how}"
