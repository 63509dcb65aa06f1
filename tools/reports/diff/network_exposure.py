"""Security groups that accept or open more connections; subnets that get a default route."""

from __future__ import annotations

import ipaddress
import itertools
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
# Properties in which resources list their security groups.
MEMBERS = ("SecurityGroupIds", "SecurityGroups", "VPCSecurityGroups", "VpcSecurityGroupIds")
# The default of a group without egress rules (AWS::EC2::SecurityGroup, SecurityGroupEgress).
DEFAULT_EGRESS = {"CidrIp": "0.0.0.0/0", "IpProtocol": ALL}
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
        """Whether this rule allows everything that `other` allows."""
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
    def to_any_address(self) -> bool:
        return self.peer in EVERYWHERE

    @property
    def by_address(self) -> bool:
        return _network(self.peer) is not None

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        peer = f"any address ({self.peer})" if self.to_any_address else self.peer if self.by_address else f"`{self.peer}`"
        low, high = self.ports
        ports = "all ports" if self.protocol == ALL else f"{self.protocol} {low}" if low == high else f"{self.protocol} {low}–{high}"
        return (
            f"`{self.group}` now accepts connections from {peer} on {ports}."
            if self.inwards
            else f"`{self.group}` may now connect to {peer} on {ports}."
        )


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield rules that no rule of the base covers. New groups may connect to each other; a rule for an address is always reported."""
    known = list(rules(comparison.base))
    there = {(one.environment, comparison.moves.get((one.environment, one.path), one.path)) for one in comparison.base.of_kind(GROUP)}
    for rule in rules(comparison.head):
        # Egress to our own groups is reported by their ingress rules.
        matters = rule.by_address and not _is_loopback(rule.peer) if not rule.inwards else True
        new = (rule.environment, rule.group) not in there
        if matters and not (new and (not rule.inwards or not rule.by_address)) and not any(one.covers(rule) for one in known):
            yield Finding(rule.environment, "Network", rule.words)
    yield from _joins(comparison)
    yield from _routes(comparison)
    yield from _overlaps(comparison)


def _joins(comparison: Comparison) -> Iterator[Finding]:
    """Existing resources that join another security group."""
    for change in comparison.changes:
        if change.both:
            old, new = change.both
            before = {
                comparison.moves.get((change.environment, one), one)
                for one in _groups(comparison.base.with_paths(old.stack, old.properties))
            }
            for group in sorted(_groups(comparison.head.with_paths(new.stack, new.properties)) - before):
                words = f"`{new.path}` joins the security group `{group}`: the rules of that group now also apply to it."
                yield Finding(change.environment, "Network", words)


def _groups(value: Any) -> set[str]:
    """The security groups in resolved properties, at any depth."""
    if isinstance(value, list):
        return {group for one in value for group in _groups(one)}
    if not isinstance(value, dict):
        return set()
    here = {_group(one) for key in MEMBERS for one in value.get(key, []) if isinstance(value.get(key), list)}
    return here | {group for one in value.values() for group in _groups(one)}


def _routes(comparison: Comparison) -> Iterator[Finding]:
    """New or changed default routes of existing route tables."""
    before, after = (dict(_default_routes(assembly)) for assembly in (comparison.base, comparison.head))
    tables = {(one.environment, one.path) for one in comparison.base.of_kind("AWS::EC2::RouteTable")}
    for (environment, table), target in after.items():
        if (environment, table) in tables and before.get((environment, table)) != target:
            yield Finding(environment, "Network", f"`{table}` now has a default route, through `{target}`.")


def _overlaps(comparison: Comparison) -> Iterator[Finding]:
    """Networks of two environments that newly share addresses: no peering and no VPN can reach both."""
    known = set(_overlapping(comparison.base))
    for environment, other, words in sorted(set(_overlapping(comparison.head)) - known):
        yield Finding(environment, "Network", f"the network {words} overlaps {other}’s: no peering, VPN or transit gateway reaches both.")


def _overlapping(assembly: Assembly) -> Iterator[tuple[str, str, str]]:
    networks = [(one.environment, _network(str(one.at("CidrBlock")))) for one in assembly.of_kind("AWS::EC2::VPC")]
    for (environment, one), (other, another) in itertools.permutations(networks, 2):
        if one and another and one.version == another.version and one.overlaps(another) and environment != other:
            yield environment, other, str(one)


def _default_routes(assembly: Assembly) -> Iterator[tuple[tuple[str, str], str]]:
    for route in assembly.of_kind("AWS::EC2::Route"):
        properties = assembly.with_paths(route.stack, route.properties)
        if {properties.get("DestinationCidrBlock"), properties.get("DestinationIpv6CidrBlock")} & set(EVERYWHERE):
            target = next((str(properties[key]) for key in TARGETS if key in properties), "?")
            yield (route.environment, str(properties.get("RouteTableId"))), target.partition(".")[0]


def rules(assembly: Assembly) -> Iterator[SecurityGroupRule]:
    """All rules of all groups: inline ones and separate resources."""
    for group in assembly.of_kind(GROUP):
        for rule in group.at("SecurityGroupIngress", []):
            yield _rule(assembly, group, rule, group.path, inwards=True)
        for rule in group.at("SecurityGroupEgress", [DEFAULT_EGRESS]):
            yield _rule(assembly, group, rule, group.path, inwards=False)
    for rule in assembly.of_kind(INGRESS, EGRESS):
        group_path = _group(assembly.with_paths(rule.stack, rule.properties.get("GroupId", "?")))
        yield _rule(assembly, rule, rule.properties, group_path, inwards=rule.kind == INGRESS)


def _rule(assembly: Assembly, resource: Resource, rule: dict[str, Any], group: str, *, inwards: bool) -> SecurityGroupRule:
    properties = assembly.with_paths(resource.stack, rule)
    peer = next((_group(properties[key]) for key in PEERS if key in properties), "?")
    ports = (properties.get("FromPort"), properties.get("ToPort", properties.get("FromPort")))
    return SecurityGroupRule(resource.environment, group, inwards, peer, str(properties.get("IpProtocol", ALL)), ports)


def _group(reference: Any) -> str:
    return str(reference).removesuffix(".GroupId")


def _network(peer: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(peer, strict=False)
    except ValueError:
        return None


def _is_loopback(peer: str) -> bool:
    network = _network(peer)
    return network is not None and network.is_loopback


def _holds(wide: str, narrow: str) -> bool:
    one, other = _network(wide), _network(narrow)
    if one is None or other is None or one.version != other.version:
        return wide == narrow
    return one.supernet_of(other)  # type: ignore[arg-type]  # of the same version
