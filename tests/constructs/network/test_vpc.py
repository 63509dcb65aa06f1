from __future__ import annotations

import ipaddress
import json

from tests.conftest import Built, Variant, by_id, only

STACK = "CarmenProdNetwork"


def test_subnets_lie_in_the_zones_of_the_settings_and_do_not_overlap(built: Built) -> None:
    subnets = [resource["Properties"] for resource in built.resources("AWS::EC2::Subnet", STACK).values()]
    assert sorted({subnet["AvailabilityZoneId"] for subnet in subnets}) == ["use1-az1", "use1-az2", "use1-az4"]
    assert not any("AvailabilityZone" in subnet for subnet in subnets)
    assert not any(subnet.get("MapPublicIpOnLaunch") for subnet in subnets)
    ranges = [ipaddress.IPv4Network(subnet["CidrBlock"]) for subnet in subnets]
    assert len(ranges) == 9
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_a_zone_added_later_moves_no_range(variant: Variant) -> None:
    def ranges(*zones: str) -> dict[tuple[str, str], str]:
        found = variant(network={"zones": zones}).resources("AWS::EC2::Subnet", STACK)
        return {(name.split("Subnet")[0], r["Properties"]["AvailabilityZoneId"]): r["Properties"]["CidrBlock"] for name, r in found.items()}

    two, three = ranges("use1-az1", "use1-az2"), ranges("use1-az1", "use1-az2", "use1-az4")
    assert two.items() <= three.items()


def test_isolated_subnets_have_no_way_out(built: Built) -> None:
    routes = built.resources("AWS::EC2::Route", STACK)
    assert routes
    assert not [name for name in routes if "Isolated" in name]


def test_ways_out_are_nat_or_endpoints(variant: Variant, built: Built) -> None:
    assert len(built.resources("AWS::EC2::NatGateway", STACK)) == 2
    mirror = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror:1"
    images = dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image", "python_image"), mirror)
    without = variant(network={"nat_gateways": 0, "interface_endpoints": True}, service=images)
    assert not without.resources("AWS::EC2::NatGateway")
    services = {str(r["Properties"]["ServiceName"]).split(".")[-1] for r in without.resources("AWS::EC2::VPCEndpoint").values()}
    assert len(services) == 9
    assert not [name for name in without.resources("AWS::EC2::Route") if "Private" in name]


def test_the_default_security_group_is_closed_and_flows_are_logged(built: Built) -> None:
    calls = [json.dumps(r["Properties"]["Create"]) for r in built.resources("Custom::AWS", STACK).values()]
    assert [sum(f"RevokeSecurityGroup{direction}" in call for call in calls) for direction in ("Ingress", "Egress")] == [1, 1]
    assert only(built.resources("AWS::EC2::FlowLog", STACK))["TrafficType"] == "ALL"
    assert by_id(built.resources("AWS::Logs::LogGroup", STACK), "FlowLogGroup")["Properties"]["RetentionInDays"] == 90
