"""What a deployment restarts, rolls or interrupts, by AWS's own words on each property.

Sources: RDS User Guide, "Settings for DB instances" (downtime of each) and "Modifying"; ElastiCache User Guide, "Online
resizing", "Upgrading engine versions", "Modifying in-transit encryption"; ECS Developer Guide, "Rolling update"; CloudFront
Developer Guide, "Update a distribution"; CloudFormation's resource schemas for what is replaced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tools.diff_report.collect import Change, Comparison, Impact
from tools.diff_report.sides import Resource, importance

RESTART = "the database restarts{failover}"
RDS = {
    "DBInstanceClass": RESTART,
    "EngineVersion": "the database is down while its engine is upgraded, minutes even with Multi-AZ",
    "StorageType": "the database may restart{failover}, and is slow while its storage is converted",
    "DBParameterGroupName": "the database restarts at its next reboot only; until then the new parameters do not count",
    "MultiAZ": "no interruption; the database is slower while the standby is made or dropped",
    "AllocatedStorage": "no interruption; the storage cannot be changed again for six hours",
    "CACertificateIdentifier": "clients that do not trust the new certificate authority can no longer connect",
    "MasterUserPassword": "no interruption; whoever holds the old master password is locked out",
}
REDIS = {
    "CacheNodeType": "nodes are replaced one by one; Redis answers again after a failover of seconds",
    "EngineVersion": "nodes are upgraded one by one; Redis answers again after a failover of seconds",
    "CacheParameterGroupName": "parameters that are not dynamic count after a restart of the nodes",
    "NumCacheClusters": "no interruption; replicas come or go",
    "AuthToken": "clients with the old password are refused after the next rotation",
    "TransitEncryptionEnabled": "clients must speak the other protocol at once",
}
# What people notice when it is made anew or moved, beside what holds state.
REPLACED = {
    "AWS::CloudFront::Distribution": "the site gets another CloudFront name; whoever used the old one finds nothing",
    "AWS::EC2::EIP": "outgoing connections come from another address: allow-lists of others must know it",
    "AWS::EC2::NatGateway": "outgoing connections of its zone break",
    "AWS::EC2::Subnet": "everything in it must be made anew elsewhere first; the deployment fails while it is in use",
    "AWS::EC2::VPC": "everything in it must be made anew; the deployment fails while it is in use",
    "AWS::ECS::Cluster": "its services are made anew",
    "AWS::ECS::Service": "the service is made anew: new tasks start beside the old, which then stop",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "the origin has another name; requests fail until CloudFront knows it",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "tasks register anew; requests fail until they are healthy",
    "AWS::RDS::DBProxy": "connections through the proxy break, and its endpoint has another name",
    "AWS::CloudFront::VpcOrigin": "CloudFront reaches the load balancer by another way; requests may fail for minutes",
}
FUNCTION = "AWS::Lambda::Function"


@dataclass(frozen=True)
class Interruption:
    """One sentence for all environments in which it is so."""

    words: str
    environments: tuple[str, ...]


def interruptions(comparison: Comparison) -> list[Interruption]:
    """What stops or starts anew, the worst first."""
    found: dict[tuple[int, str], set[str]] = defaultdict(set)
    code: dict[str, list[str]] = defaultdict(list)
    for change in comparison.changes:
        if change.kind == FUNCTION and change.both:
            code[change.environment].append(change.path)
        for weight, words in _of(change, comparison):
            found[weight, words].add(change.environment)
    for environment, functions in code.items():
        found[4, _functions(functions)].add(environment)
    return [
        Interruption(words, tuple(sorted(environments, key=importance)))
        for (_, words), environments in sorted(
            found.items(), key=lambda one: (one[0][0], importance(min(one[1], key=importance)), one[0][1])
        )
    ]


def _functions(paths: list[str]) -> str:
    told = ", ".join(f"`{path.removesuffix('/Function')}`" for path in sorted(paths)[:6])
    return f"{told}{f' and {len(paths) - 6} more' if len(paths) > 6 else ''}: the next call runs the new version."


def _of(change: Change, comparison: Comparison) -> Iterator[tuple[int, str]]:
    changed = {leaf.path.split(".")[0].split("[")[0] for leaf in change.telling}
    if change.impact in (Impact.REPLACED, Impact.MAY_BE_REPLACED, Impact.MOVED) and change.kind in REPLACED:
        yield (
            0,
            f"`{change.path}` {change.impact.value if change.impact is not Impact.REPLACED else 'is replaced'}: {REPLACED[change.kind]}.",
        )
    if not change.both:
        return
    old, new = change.both
    match change.kind:
        case "AWS::RDS::DBInstance":
            with_standby = bool(old.at("MultiAZ", False))
            failover = " by a failover to its standby, a minute or two" if with_standby else ", some minutes: it has no standby"
            for name in sorted(changed & RDS.keys()):
                yield 1 if "no interruption" not in RDS[name] else 3, f"`{new.path}` ({name}): {RDS[name].format(failover=failover)}."
        case "AWS::RDS::DBParameterGroup":
            names = sorted({*old.at("Parameters", {}), *new.at("Parameters", {})})
            differing = [name for name in names if old.at("Parameters", {}).get(name) != new.at("Parameters", {}).get(name)]
            if differing:
                yield (
                    2,
                    f"`{new.path}` ({', '.join(differing)}): static parameters count after the database's next reboot, the others at once.",
                )
        case "AWS::ElastiCache::ReplicationGroup":
            for name in sorted(changed & REDIS.keys()):
                yield 1 if "no interruption" not in REDIS[name] else 3, f"`{new.path}` ({name}): {REDIS[name]}."
        case "AWS::ECS::Service" if change.impact is Impact.CHANGED:
            yield from _rolls(old, new, comparison)
        case "AWS::CloudFront::Distribution" if change.telling:
            yield 3, f"`{new.path}`: reaches all of CloudFront's locations within minutes; until then both versions answer."
        case "Custom::DatabaseRoles":
            yield 3, f"`{new.path}`: the database roles are put right again, under a lock; connections stay."


def _rolls(old: Resource, new: Resource, comparison: Comparison) -> Iterator[tuple[int, str]]:
    same = (old.at("TaskDefinition"), new.at("TaskDefinition"))
    task = str(comparison.head.told(new.stack, same[1]))
    replaced = [one for one in comparison.changes if one.path == task and one.environment == new.environment and not one.noise]
    reasons = ("TaskDefinition", "NetworkConfiguration", "LoadBalancers", "CapacityProviderStrategy", "PlatformVersion")
    if not replaced and all(old.at(name) == new.at(name) for name in reasons):
        return
    healthy = new.at("DeploymentConfiguration.MinimumHealthyPercent", 100)
    how = "new tasks first, then the old ones go" if healthy >= 100 else f"down to {healthy} % of its tasks meanwhile"
    yield 2, f"`{new.path}`: all tasks are replaced, {how}."
