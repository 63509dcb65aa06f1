"""Opt-outs of cheaper environments, and the protection that remains (ADR 0017)."""

from __future__ import annotations

import json

import pytest

from constructs_lib.edge.waf import WebFirewall
from constructs_lib.network.vpc import Network
from tests.conftest import Built, Variant, only
from tests.constructs.conftest import Synthesized, settings, stack, template

REASON = "This environment does not need it."
WITHOUT_PROXY = {"database": {"proxy": False, "proxy_opt_out_reason": REASON}}
UNWATCHED = {"alarms": {"watched": False, "watched_opt_out_reason": REASON}}
FEWER_RULES = {"edge": {"all_firewall_rules": False, "all_firewall_rules_opt_out_reason": REASON}}


# NAT instances


@pytest.fixture(scope="module")
def network() -> Synthesized:
    scope = stack()
    Network(scope, "Network", settings=settings(network={"nat_gateways": 2, "nat_instances": True}).network)
    return template(scope)


def test_nat_instances_replace_gateways(network: Synthesized) -> None:
    assert network.resources("AWS::EC2::NatGateway") == network.resources("AWS::EC2::EIP") == {}
    instances = network.resources("AWS::EC2::Instance")
    assert len(instances) == 2
    private = [r["Properties"] for r in network.resources("AWS::EC2::Route").values() if "InstanceId" in r["Properties"]]
    assert [one["DestinationCidrBlock"] for one in private] == ["0.0.0.0/0"] * 3  # of three zones
    assert {one["InstanceId"]["Ref"] for one in private} == {name.split("/")[1] for name in instances}


def test_nat_instance_has_no_role_and_accepts_only_the_vpc(network: Synthesized) -> None:
    for instance in network.resources("AWS::EC2::Instance").values():
        properties = instance["Properties"]
        assert "IamInstanceProfile" not in properties
        assert "KeyName" not in properties
        assert properties["MetadataOptions"]["HttpTokens"] == "required"
        assert properties["SourceDestCheck"] is False
        assert properties["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        assert "AvailabilityZone" not in properties  # settings have zone ids, which an instance does not accept
    (group,) = [r["Properties"] for name, r in network.resources("AWS::EC2::SecurityGroup").items() if "/NetworkNatSecurityGroup" in name]
    assert {rule["CidrIp"] for rule in group["SecurityGroupIngress"]} == {"10.20.0.0/16"}
    ports = {rule["FromPort"] for rule in group["SecurityGroupIngress"]}
    assert ports == {443, 25, 465, 587, 2465, 2587}
    assert {rule["FromPort"] for rule in group["SecurityGroupEgress"] if rule["CidrIp"] == "0.0.0.0/0"} == ports


def test_nat_image_is_amazons_newest_at_each_deployment(network: Synthesized) -> None:
    image = network.body["Parameters"]["NatImage"]
    assert image["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert "al2023" in image["Default"]
    assert "arm64" in image["Default"]


# No proxy


@pytest.fixture(scope="module")
def direct(variant: Variant) -> Built:
    return variant(**WITHOUT_PROXY)


def test_without_a_proxy_clients_connect_to_the_instance(direct: Built) -> None:
    assert direct.resources("AWS::RDS::DBProxy") == direct.resources("AWS::RDS::DBProxyTargetGroup") == {}
    assert "DatabaseProxyEndpoint" not in direct.templates["CarmenProd"]["Outputs"]
    hosts = {
        name.split("/")[1]: variables["PROXY_HOST"]
        for name, function in direct.resources("AWS::Lambda::Function").items()
        if "PROXY_HOST" in (variables := function["Properties"].get("Environment", {}).get("Variables", {}))
    }
    assert len(hosts) == 3  # roles, rotation, probe
    assert set(hosts.values()) == {""}
    assert only(direct.resources("Custom::DatabaseRoles"))["PROXY_HOST"] == ""


def test_without_a_proxy_nothing_monitors_it(direct: Built) -> None:
    text = json.dumps(direct.templates)
    assert "ProxyUp" not in text
    assert "ClientConnections" not in text
    assert "Proxy answers" not in text
    (instance,) = direct.resources("AWS::RDS::DBInstance").values()
    assert instance["Metadata"]["ProxyOptOut"] == REASON
    (down,) = [r for name, r in direct.resources("AWS::CloudWatch::CompositeAlarm").items() if "/DatabaseAlarmsDown" in name]
    assert json.dumps(down["Properties"]["AlarmRule"]).count("ALARM(") == 1


# No alerts


@pytest.fixture(scope="module")
def unwatched(variant: Variant) -> Built:
    """All opt-outs of this module at once."""
    return variant(network={"nat_gateways": 1, "nat_instances": True}, **WITHOUT_PROXY, **UNWATCHED, **FEWER_RULES)


def test_without_alerts_only_rollbacks_and_notifier_have_alarms(unwatched: Built) -> None:
    assert sorted(name.split("/")[1][:-8] for name in unwatched.resources("AWS::CloudWatch::Alarm")) == [
        "NotifierFunctionFailing", "NotifierUndelivered", "WebServerErrors", "WebUnhealthyTasks", "WebUnreachableTasks",
    ]  # fmt: skip
    assert unwatched.resources("AWS::CloudWatch::CompositeAlarm") == unwatched.resources("AWS::CloudWatch::Dashboard") == {}
    service = only(unwatched.resources("AWS::ECS::Service"))
    assert len(service["DeploymentConfiguration"]["Alarms"]["AlarmNames"]) == 3


def test_without_alerts_nothing_is_measured(unwatched: Built) -> None:
    names = [name.split("/")[1] for name in unwatched.resources("AWS::Scheduler::Schedule")]
    assert sorted(name.rstrip("0123456789ABCDEF") for name in names) == [
        "BackupNightly", "DatabaseRolesDaily", "DrillMonthly", "MaintenanceMonthly", "MaintenanceWeekly", "RotationDaily",
    ]  # fmt: skip
    assert not [name for name in unwatched.templates if "EdgeAlarms" in name]


def test_without_alerts_backups_drills_and_rotation_continue(unwatched: Built) -> None:
    functions = " ".join(unwatched.resources("AWS::Lambda::Function"))
    for part in ("BackupFunction", "DrillFunction", "MaintenanceFunction", "RotationFunction", "DatabaseRolesFunction", "NotifierFunction"):
        assert part in functions, part


# Fewer firewall rules


def test_fewer_rules_still_block_attacks_and_limit_requests(built: Built) -> None:
    scope = stack()
    WebFirewall(scope, "WebFirewall", settings=settings(**FEWER_RULES).edge, prefix="CarmenProd")
    fewer = template(scope)
    (acl,) = fewer.resources("AWS::WAFv2::WebACL").values()
    rules = {rule["Name"]: rule for rule in acl["Properties"]["Rules"]}
    assert list(rules) == ["RateSite", "AmazonIpReputation", "KnownBadInputs", "Common", "SqlInjection", "BodyAttacks"]
    assert acl["Metadata"]["AllFirewallRulesOptOut"] == REASON
    assert fewer.resources("AWS::WAFv2::IPSet") == {}
    whole = {rule["Name"]: rule for rule in only(built.resources("AWS::WAFv2::WebACL", "CarmenProdEdgeGlobal"))["Rules"]}
    for name, rule in rules.items():
        assert {**rule, "Priority": 0} == {**whole[name], "Priority": 0}, name


def test_all_opt_outs_work_together(unwatched: Built) -> None:
    assert unwatched.templates["CarmenProd"]["Outputs"]["Url"]
