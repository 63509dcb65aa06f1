"""What a deployment restarts, rolls or interrupts, by AWS's own words on each property.

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

RESTART = "the database restarts{failover}"
RDS = {
    "DBInstanceClass": RESTART,
    "EngineVersion": "the database is down while its engine is upgraded, minutes even with Multi-AZ",
    "StorageType": "the database may restart{failover}, and is slow while its storage is converted",
    "DBParameterGroupName": "the database restarts at its next reboot only; until then the new parameters do not count",
    "MultiAZ": "no interruption; the database is slower while the standby is made or dropped",
    "AllocatedStorage": "no interruption; the storage cannot be changed again for six hours",
    "CACertificateIdentifier": "clients that do not trust the new certificate authority can no longer connect",
}
REDIS = {
    "CacheNodeType": "nodes are replaced one by one; Redis answers again after a failover of seconds",
    "EngineVersion": "nodes are upgraded one by one; Redis answers again after a failover of seconds",
    "CacheParameterGroupName": "parameters that are not dynamic count after a restart of the nodes",
    "NumCacheClusters": "no interruption; replicas come or go",
    "AuthToken": "clients with the old password are refused after the next rotation",
    "TransitEncryptionEnabled": "clients must speak the other protocol at once",
}
# What people notice when it is made anew, moved or gone, beside what holds state.
MISSED = {
    "AWS::CloudFront::Distribution": "the site gets another CloudFront name; whoever used the old one finds nothing",
    "AWS::EC2::EIP": "outgoing connections come from another address: allow-lists of others must know it",
    "AWS::EC2::NatGateway": "outgoing connections of its zone break",
    "AWS::EC2::Subnet": "everything in it must be made anew elsewhere",
    "AWS::EC2::VPC": "everything in it must be made anew",
    "AWS::ECS::Cluster": "its services go with it",
    "AWS::ECS::Service": "its tasks stop when the new service runs, or with it",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "the origin has another name; requests fail until CloudFront knows it",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "requests fail until the tasks are healthy in another",
    "AWS::RDS::DBProxy": "connections through the proxy break, and its endpoint has another name",
    "AWS::CloudFront::VpcOrigin": "CloudFront needs another way to the load balancer; requests may fail for minutes",
}
TASK = "AWS::ECS::TaskDefinition"
ANEW = (Impact.REVISED, Impact.MOVED)
# What of a service starts new tasks (ECS Developer Guide, "Updating an Amazon ECS service").
ROLLS = ("TaskDefinition", "NetworkConfiguration", "LoadBalancers", "CapacityProviderStrategy", "PlatformVersion", "EnableExecuteCommand")
PATHS_SHOWN = 5


@dataclass(frozen=True)
class Interruption:
    """One sentence for all environments in which it is so."""

    words: str
    environments: tuple[str, ...]


@dataclass(frozen=True)
class _Told:
    weight: int  # 0 is what hurts most
    words: str


def interruptions(comparison: Comparison) -> list[Interruption]:
    """What stops or starts anew, the worst first; the same of several resources is told once."""
    where: dict[tuple[_Told, str], set[str]] = defaultdict(set)
    for change in comparison.changes:
        for told in (_Told(*one) for one in _of(change, comparison)):
            where[told, change.path].add(change.environment)
    for service, words in _rolling(comparison):
        where[_Told(2, words), service.path].add(service.environment)
    together: dict[tuple[_Told, tuple[str, ...]], list[str]] = defaultdict(list)
    for (told, path), environments in where.items():
        together[told, tuple(sorted(environments, key=importance))].append(path)
    found = sorted(together.items(), key=lambda one: (one[0][0].weight, importance(one[0][1][0]), one[0][0].words))
    return [Interruption(f"{_listed(sorted(paths))}: {told.words}.", environments) for (told, environments), paths in found]


def _listed(paths: list[str]) -> str:
    shown = ", ".join(f"`{path}`" for path in paths[:PATHS_SHOWN])
    return f"{shown} and {len(paths) - PATHS_SHOWN} more" if len(paths) > PATHS_SHOWN else shown


def _of(change: Change, comparison: Comparison) -> Iterator[tuple[int, str]]:
    changed = {leaf.path.split(".")[0].split("[")[0] for leaf in change.telling}
    if change.kind in MISSED and change.impact not in (Impact.ADDED, Impact.CHANGED):
        yield 0, f"{change.impact.value}; {MISSED[change.kind]}"
    if not change.both:
        return
    old, new = change.both
    match change.kind:
        case "AWS::RDS::DBInstance":
            failover = " by a failover to its standby, a minute or two" if old.at("MultiAZ", False) else ", some minutes: it has no standby"
            for name in sorted(changed & RDS.keys()):
                yield _weight(RDS[name]), f"{RDS[name].format(failover=failover)} (`{name}`)"
        case "AWS::RDS::DBParameterGroup":
            before, after = (one.at("Parameters", {}) for one in (old, new))
            if names := [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]:
                yield 2, f"static parameters count after the database's next reboot, the others at once ({', '.join(names)})"
        case "AWS::ElastiCache::ReplicationGroup":
            for name in sorted(changed & REDIS.keys()):
                yield _weight(REDIS[name]), f"{REDIS[name]} (`{name}`)"
        case "AWS::CloudFront::Distribution" if change.telling:
            yield 3, "reaches all of CloudFront's locations within minutes; until then both versions answer"
        case "AWS::Lambda::Function" if change.impact is Impact.CHANGED:
            yield 4, "the next call runs the new version"
        case "Custom::DatabaseRoles":
            yield 3, "the database roles are put right again, under a lock; connections stay"


def _weight(words: str) -> int:
    return 3 if words.startswith("no interruption") else 1


def _rolling(comparison: Comparison) -> Iterator[tuple[Resource, str]]:
    """Services that start new tasks: theirs changed, or the task definition is another, which no template of the service tells."""
    replaced = {(one.environment, one.path) for one in comparison.changes if one.kind == TASK and one.impact in ANEW}
    for new in comparison.head.of_kind("AWS::ECS::Service"):
        old = comparison.base.by_path.get((new.environment, new.path))
        task = str(comparison.head.with_paths(new.stack, new.at("TaskDefinition")))
        if old and ((new.environment, task) in replaced or any(old.at(name) != new.at(name) for name in ROLLS)):
            least = new.at("DeploymentConfiguration.MinimumHealthyPercent", 100)
            how = "new tasks first, then the old ones go" if least >= 100 else f"down to {least} % of them meanwhile"
            yield new, f"all tasks are replaced, {how}"
