"""What an environment may go without to cost less, and what still holds then (ADR 0017)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings.model import Settings
from tests.conftest import Built, Variant, build, only

REASON = "Nobody would miss it in this environment."
WITHOUT_PROXY = {"database": {"proxy": False, "proxy_opt_out_reason": REASON}}
UNWATCHED = {"alarms": {"watched": False, "watched_opt_out_reason": REASON}}
FEWER_RULES = {"edge": {"all_firewall_rules": False, "all_firewall_rules_opt_out_reason": REASON}}


# NAT by machines


@pytest.fixture(scope="module")
def network(variant: Variant) -> Built:
    return variant(network={"nat_gateways": 2, "nat_instances": True})


def test_machines_take_the_gateways_place(network: Built) -> None:
    assert network.resources("AWS::EC2::NatGateway") == network.resources("AWS::EC2::EIP") == {}
    machines = network.resources("AWS::EC2::Instance")
    assert len(machines) == 2
    private = [r["Properties"] for r in network.resources("AWS::EC2::Route").values() if "InstanceId" in r["Properties"]]
    assert [one["DestinationCidrBlock"] for one in private] == ["0.0.0.0/0"] * 3  # of three zones
    assert {one["InstanceId"]["Ref"] for one in private} == {name.split("/")[1] for name in machines}


def test_a_machine_may_nothing_and_is_entered_from_the_vpc_alone(network: Built) -> None:
    for machine in network.resources("AWS::EC2::Instance").values():
        properties = machine["Properties"]
        assert "IamInstanceProfile" not in properties
        assert "KeyName" not in properties
        assert properties["MetadataOptions"]["HttpTokens"] == "required"
        assert properties["SourceDestCheck"] is False
        assert properties["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        assert "AvailabilityZone" not in properties  # zones are told by id, which an instance does not take
    (group,) = [r["Properties"] for name, r in network.resources("AWS::EC2::SecurityGroup").items() if "/NetworkNatSecurityGroup" in name]
    assert {rule["CidrIp"] for rule in group["SecurityGroupIngress"]} == {"10.20.0.0/16"}
    ports = {rule["FromPort"] for rule in group["SecurityGroupIngress"]}
    assert ports == {443, 25, 465, 587, 2465, 2587}
    assert {rule["FromPort"] for rule in group["SecurityGroupEgress"] if rule["CidrIp"] == "0.0.0.0/0"} == ports


def test_its_image_is_amazons_newest_at_each_deployment(network: Built) -> None:
    image = network.templates["CarmenProdNetwork"]["Parameters"]["NatImage"]
    assert image["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert "al2023" in image["Default"]
    assert "arm64" in image["Default"]


# No proxy


@pytest.fixture(scope="module")
def direct(variant: Variant) -> Built:
    return variant(**WITHOUT_PROXY)


def test_without_a_proxy_everybody_goes_to_the_instance(direct: Built) -> None:
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


def test_nobody_watches_a_proxy_that_is_not_there(direct: Built) -> None:
    text = json.dumps(direct.templates)
    assert "ProxyUp" not in text
    assert "ClientConnections" not in text
    assert "Proxy answers" not in text
    (instance,) = direct.resources("AWS::RDS::DBInstance").values()
    assert instance["Metadata"]["ProxyOptOut"] == REASON
    (down,) = [r for name, r in direct.resources("AWS::CloudWatch::CompositeAlarm").items() if "/DatabaseAlarmsDown" in name]
    assert json.dumps(down["Properties"]["AlarmRule"]).count("ALARM(") == 1


# Nobody told


@pytest.fixture(scope="module")
def unwatched(variant: Variant) -> Built:
    return variant(**UNWATCHED)


def test_unwatched_there_are_alarms_for_roll_backs_and_the_notifier_alone(unwatched: Built) -> None:
    assert sorted(name.split("/")[1][:-8] for name in unwatched.resources("AWS::CloudWatch::Alarm")) == [
        "NotifierFunctionFailing", "NotifierUndelivered", "WebServerErrors", "WebUnhealthyTasks", "WebUnreachableTasks",
    ]  # fmt: skip
    assert unwatched.resources("AWS::CloudWatch::CompositeAlarm") == unwatched.resources("AWS::CloudWatch::Dashboard") == {}
    service = only(unwatched.resources("AWS::ECS::Service"))
    assert len(service["DeploymentConfiguration"]["Alarms"]["AlarmNames"]) == 3


def test_unwatched_nothing_is_measured_for_nobody(unwatched: Built) -> None:
    names = [name.split("/")[1] for name in unwatched.resources("AWS::Scheduler::Schedule")]
    assert sorted(name.rstrip("0123456789ABCDEF") for name in names) == [
        "BackupNightly", "DatabaseRolesDaily", "DrillMonthly", "MaintenanceMonthly", "MaintenanceWeekly", "RotationDaily",
    ]  # fmt: skip
    assert not [name for name in unwatched.templates if "EdgeAlarms" in name]


def test_backups_drills_and_rotation_go_on(unwatched: Built) -> None:
    functions = " ".join(unwatched.resources("AWS::Lambda::Function"))
    for part in ("BackupFunction", "DrillFunction", "MaintenanceFunction", "RotationFunction", "DatabaseRolesFunction", "NotifierFunction"):
        assert part in functions, part


# Fewer rules of the firewall


def test_with_fewer_rules_attacks_are_refused_and_every_address_is_limited(built: Built, variant: Variant) -> None:
    fewer = variant(**FEWER_RULES)
    (acl,) = fewer.resources("AWS::WAFv2::WebACL").values()
    rules = {rule["Name"]: rule for rule in acl["Properties"]["Rules"]}
    assert list(rules) == ["RateSite", "AmazonIpReputation", "KnownBadInputs", "Common", "SqlInjection", "BodyAttacks"]
    assert acl["Metadata"]["AllFirewallRulesOptOut"] == REASON
    assert fewer.resources("AWS::WAFv2::IPSet") == {}
    whole = {rule["Name"]: rule for rule in only(built.resources("AWS::WAFv2::WebACL", "CarmenProdEdgeGlobal"))["Rules"]}
    for name, rule in rules.items():
        assert {**rule, "Priority": 0} == {**whole[name], "Priority": 0}, name


def test_all_of_it_at_once_builds(tmp_path: Path) -> None:
    settings = {"name": "prod", "network": {"nat_gateways": 1, "nat_instances": True}, **WITHOUT_PROXY, **UNWATCHED, **FEWER_RULES}
    assert build([Settings.model_validate(settings)], tmp_path).templates["CarmenProd"]["Outputs"]["Url"]
