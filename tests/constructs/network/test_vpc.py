from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from constructs_lib.network.vpc import Network
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, settings, stack, template


def build(**network: Any) -> Synthesized:
    one = stack()
    Network(one, "Network", settings=settings(network=network).network)
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


def test_subnets_are_in_the_settings_zones_without_overlap(built: Synthesized) -> None:
    subnets = [resource["Properties"] for resource in built.resources("AWS::EC2::Subnet").values()]
    assert sorted({subnet["AvailabilityZoneId"] for subnet in subnets}) == ["use1-az1", "use1-az2", "use1-az4"]
    assert not any("AvailabilityZone" in subnet for subnet in subnets)
    assert not any(subnet.get("MapPublicIpOnLaunch") for subnet in subnets)
    ranges = [ipaddress.IPv4Network(subnet["CidrBlock"]) for subnet in subnets]
    assert len(ranges) == 9
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_zone_added_later_keeps_the_other_ranges(built: Synthesized) -> None:
    def ranges(template: Synthesized) -> dict[tuple[str, str], str]:
        found = template.resources("AWS::EC2::Subnet")
        return {(name.split("Subnet")[0], r["Properties"]["AvailabilityZoneId"]): r["Properties"]["CidrBlock"] for name, r in found.items()}

    two = ranges(build(zones=["use1-az1", "use1-az2"]))
    assert len(two) == 6
    assert two.items() <= ranges(built).items()


def test_isolated_subnets_have_no_routes(built: Synthesized) -> None:
    routes = built.resources("AWS::EC2::Route")
    assert routes
    assert not [name for name in routes if "Isolated" in name]


def test_nat_gateways_are_as_many_as_in_the_settings(built: Synthesized) -> None:
    assert len(built.resources("AWS::EC2::NatGateway")) == 2


def test_interface_endpoints_replace_nat_gateways() -> None:
    mirror = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror:1"
    images = dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image", "python_image"), mirror)
    one = stack()
    Network(one, "Network", settings=settings(network={"nat_gateways": 0, "interface_endpoints": True}, service=images).network)
    without = template(one)
    assert not without.resources("AWS::EC2::NatGateway")
    services = {
        str(r["Properties"]["ServiceName"]).split(".")[-1].rstrip("]}'\"") for r in without.resources("AWS::EC2::VPCEndpoint").values()
    }
    assert services == {"s3", "api", "dkr", "ecs", "elasticache", "kms", "logs", "secretsmanager", "ssmmessages"}
    assert not [name for name in without.resources("AWS::EC2::Route") if "Private" in name]
    group = by_id(without.resources("AWS::EC2::SecurityGroup"), "Endpoint")["Properties"]
    assert [rule["ToPort"] for rule in group["SecurityGroupIngress"]] == [443]


def test_default_security_group_loses_its_rules(built: Synthesized) -> None:
    calls = [json.dumps(r["Properties"]["Create"]) for r in built.resources("Custom::AWS").values()]
    assert [sum(f"RevokeSecurityGroup{direction}" in call for call in calls) for direction in ("Ingress", "Egress")] == [1, 1]
    assert all("InvalidPermission.NotFound" in call for call in calls)


def test_flow_logs_record_all_traffic(built: Synthesized) -> None:
    assert only(built.resources("AWS::EC2::FlowLog"))["TrafficType"] == "ALL"
    assert by_id(built.resources("AWS::Logs::LogGroup"), "FlowLogGroup")["Properties"]["RetentionInDays"] == 90
    assert "iam:PassRole" not in json.dumps(built.resources("AWS::IAM::Policy"))
