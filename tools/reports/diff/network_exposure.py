"""Security groups that are opened, from where to which port; subnets that get a way out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.reports.assembly import Assembly, Resource
from tools.reports.diff.collect import Comparison
from tools.reports.diff.findings import Finding

GROUP = "AWS::EC2::SecurityGroup"
INGRESS, EGRESS = "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"
EVERYWHERE = ("0.0.0.0/0", "::/0")
ALL = "-1"
# Under which names resources list the groups that they are in.
MEMBERS = ("SecurityGroupIds", "SecurityGroups", "VPCSecurityGroups", "VpcSecurityGroupIds")
# What AWS gives a group that says nothing of what may leave (AWS::EC2::SecurityGroup, SecurityGroupEgress).
LEAVES_FOR_ANYWHERE = {"CidrIp": "0.0.0.0/0", "IpProtocol": ALL}
PEERS = ("CidrIp", "CidrIpv6", "SourceSecurityGroupId", "DestinationSecurityGroupId", "SourcePrefixListId", "DestinationPrefixListId")

TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "EgressOnlyInternetGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "InstanceId",
    "NetworkInterfaceId",
)


@dataclass(frozen=True)
class SecurityGroupRule:
    """A rule of a security group."""

    environment: str
    group: str
    inwards: bool
    peer: str
    protocol: str
    ports: tuple[Any, Any]

    def covers(self, other: SecurityGroupRule) -> bool:
        """Whether this lets through all that `other` does."""
        same = (self.environment, self.group, self.inwards) == (other.environment, other.group, other.inwards)
        return same and _holds(self.peer, other.peer) and (self.protocol == ALL or (self.protocol == other.protocol and self._ports(other)))

    def _ports(self, other: SecurityGroupRule) -> bool:
        if self.ports == other.ports:
            return True
        try:
            (low, high), (lower, higher) = ([int(port) for port in one] for one in (self.ports, other.ports))
        except (TypeError, ValueError):
            return False
        return low <= lower and higher <= high

    @property
    def to_anybody(self) -> bool:
        return self.peer in EVERYWHERE

    @property
    def by_address(self) -> bool:
        return _network(self.peer) is not None

    @property
    def words(self) -> str:
        """From where to which port."""
        peer = f"anybody ({self.peer})" if self.to_anybody else self.peer if self.by_address else f"`{self.peer}`"
        low, high = self.ports
        ports = "all ports" if self.protocol == ALL else f"{self.protocol} {low}" if low == high else f"{self.protocol} {low}–{high}"
        return f"`{self.group}` is opened to {peer} on {ports}." if self.inwards else f"`{self.group}` may now reach {peer} on {ports}."


def find(comparison: Comparison) -> Iterator[Finding]:
    """Doors that no rule of the base opened. What is new by itself may talk to what is new; but to addresses, nothing opens unseen."""
    known = list(rules(comparison.base))
    there = {(one.environment, comparison.moves.get((one.environment, one.path), one.path)) for one in comparison.base.of_kind(GROUP)}
    for rule in rules(comparison.head):
        # What leaves for a group of ours is told where it enters.
        matters = rule.by_address and not _nowhere(rule.peer) if not rule.inwards else True
        new = (rule.environment, rule.group) not in there
        if matters and not (new and (not rule.inwards or not rule.by_address)) and not any(one.covers(rule) for one in known):
            yield Finding(rule.environment, "Network", rule.words)
    yield from _joins(comparison)
    yield from _routes(comparison)


def _joins(comparison: Comparison) -> Iterator[Finding]:
    """What was there and is put into another group opens by that group's doors, new or old."""
    for change in comparison.changes:
        if change.both:
            old, new = change.both
            before = {
                comparison.moves.get((change.environment, one), one)
                for one in _groups(comparison.base.with_paths(old.stack, old.properties))
            }
            for group in sorted(_groups(comparison.head.with_paths(new.stack, new.properties)) - before):
                words = f"`{new.path}` joins the security group `{group}`: whom that lets in reaches it, and it reaches what that may."
                yield Finding(change.environment, "Network", words)


def _groups(told: Any) -> set[str]:
    """The security groups in told properties, at any depth."""
    if isinstance(told, list):
        return {group for one in told for group in _groups(one)}
    if not isinstance(told, dict):
        return set()
    here = {_group(one) for key in MEMBERS for one in told.get(key, []) if isinstance(told.get(key), list)}
    return here | {group for one in told.values() for group in _groups(one)}


def _routes(comparison: Comparison) -> Iterator[Finding]:
    """Ways to everywhere from subnets that had none."""
    before, after = (dict(_ways(assembly)) for assembly in (comparison.base, comparison.head))
    tables = {(one.environment, one.path) for one in comparison.base.of_kind("AWS::EC2::RouteTable")}
    for (environment, table), way in after.items():
        if (environment, table) in tables and before.get((environment, table)) != way:
            yield Finding(environment, "Network", f"`{table}` now leads to everywhere, by `{way}`.")


def _ways(assembly: Assembly) -> Iterator[tuple[tuple[str, str], str]]:
    for route in assembly.of_kind("AWS::EC2::Route"):
        told = assembly.with_paths(route.stack, route.properties)
        if {told.get("DestinationCidrBlock"), told.get("DestinationIpv6CidrBlock")} & set(EVERYWHERE):
            target = next((str(told[key]) for key in TARGETS if key in told), "?")
            yield (route.environment, str(told.get("RouteTableId"))), target.partition(".")[0]


def rules(assembly: Assembly) -> Iterator[SecurityGroupRule]:
    """All rules of all groups, those within a group and those beside it."""
    for group in assembly.of_kind(GROUP):
        for rule in group.at("SecurityGroupIngress", []):
            yield _rule(assembly, group, rule, group.path, inwards=True)
        for rule in group.at("SecurityGroupEgress", [LEAVES_FOR_ANYWHERE]):
            yield _rule(assembly, group, rule, group.path, inwards=False)
    for rule in assembly.of_kind(INGRESS, EGRESS):
        group_path = _group(assembly.with_paths(rule.stack, rule.properties.get("GroupId", "?")))
        yield _rule(assembly, rule, rule.properties, group_path, inwards=rule.kind == INGRESS)


def _rule(assembly: Assembly, resource: Resource, rule: dict[str, Any], group: str, *, inwards: bool) -> SecurityGroupRule:
    told = assembly.with_paths(resource.stack, rule)
    peer = next((_group(told[key]) for key in PEERS if key in told), "?")
    ports = (told.get("FromPort"), told.get("ToPort", told.get("FromPort")))
    return SecurityGroupRule(resource.environment, group, inwards, peer, str(told.get("IpProtocol", ALL)), ports)


def _group(told: Any) -> str:
    return str(told).removesuffix(".GroupId")


def _network(peer: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(peer, strict=False)
    except ValueError:
        return None


def _nowhere(peer: str) -> bool:
    network = _network(peer)
    return network is not None and network.is_loopback


def _holds(wide: str, narrow: str) -> bool:
    one, other = _network(wide), _network(narrow)
    if one is None or other is None or one.version != other.version:
        return wide == narrow
    return one.supernet_of(other)  # type: ignore[arg-type]  # of the same version
