from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.network.nat_instances import PORTS
from constructs_lib.network.vpc import Network
from tests.conftest import only
from tests.constructs.conftest import Synthesized, settings, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    Network(one, "Network", settings=settings(network={"nat_instances": True, "nat_gateways": 2}).network)
    return template(one)


def test_private_subnets_route_through_the_instances(built: Synthesized) -> None:
    assert not built.resources("AWS::EC2::NatGateway")
    instances = sorted(name[1:] for name in built.resources("AWS::EC2::Instance"))
    routes = [route["Properties"] for name, route in built.resources("AWS::EC2::Route").items() if "PrivateSubnet" in name]
    assert [route["DestinationCidrBlock"] for route in routes] == ["0.0.0.0/0"] * 3
    assert [route["InstanceId"]["Ref"] for route in routes] == [instances[0], instances[1], instances[0]]
    assert all("PrivateSubnet" in route["RouteTableId"]["Ref"] for route in routes)


def test_instances_forward_packets_and_have_no_role(built: Synthesized) -> None:
    for resource in built.resources("AWS::EC2::Instance").values():
        instance = resource["Properties"]
        assert (instance["InstanceType"], instance["SourceDestCheck"]) == ("t4g.nano", False)
        assert instance["MetadataOptions"] == {"HttpPutResponseHopLimit": 1, "HttpTokens": "required"}
        assert instance["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        assert not {"IamInstanceProfile", "KeyName"} & instance.keys()


def test_security_group_accepts_the_vpc_on_the_forwarded_ports(built: Synthesized) -> None:
    group = only({name: one for name, one in built.resources("AWS::EC2::SecurityGroup").items() if name.startswith("/NetworkNat")})
    assert _rules(group["SecurityGroupIngress"]) == {(settings().network.cidr, port) for port in PORTS}
    assert _rules(group["SecurityGroupEgress"]) == {("127.0.0.1/32", None), *(("0.0.0.0/0", port) for port in PORTS)}


def test_deployment_reads_the_newest_image(built: Synthesized) -> None:
    image = built.body["Parameters"]["NatImage"]
    assert image["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert "/al2023-ami-kernel-6.1-arm64" in image["Default"]


def _rules(rules: list[dict[str, Any]]) -> set[tuple[str, int | None]]:
    assert all(rule.get("FromPort") == rule.get("ToPort") for rule in rules)
    return {(rule["CidrIp"], rule.get("ToPort")) for rule in rules}
