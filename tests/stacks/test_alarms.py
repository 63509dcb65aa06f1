"""Production's alarms, and those of an environment outside us-east-1."""

from __future__ import annotations

import json

import pytest

from tests.conftest import DOMAIN, Built, Variant, only
from tests.constructs.monitoring.alarms import ALARM, COMPOSITE, LISTED, describe

OTHER_REGION = {"region": "eu-central-1", "network": {"zones": ["euc1-az1", "euc1-az2"]}, "domain": DOMAIN}


def test_production_has_the_listed_alarms(built: Built) -> None:
    """alarms.txt is edited manually when an alarm changes, so that a person reads each line."""
    found = {
        name.removeprefix("CarmenProd").removeprefix("/"): resource
        for name, resource in (built.resources(ALARM) | built.resources(COMPOSITE)).items()
        if name.startswith("CarmenProd")
    }
    lines = [f"{name[: name.rfind('/') + 1]}{describe(name.rpartition('/')[2], resource)}" for name, resource in found.items()]
    assert sorted(lines) == sorted(LISTED)


@pytest.fixture(scope="module")
def other_region(variant: Variant) -> Built:
    return variant(**OTHER_REGION)


def test_edge_alarms_outside_us_east_1_are_forwarded(other_region: Built) -> None:
    edge = other_region.templates["CarmenProdEdgeAlarms"]
    assert "Fn::GetStackOutput" in json.dumps(edge["Resources"])  # the distribution's id, by a weak reference
    for alarm in (
        other_region.resources(ALARM, "CarmenProdEdgeAlarms") | other_region.resources(COMPOSITE, "CarmenProdEdgeAlarms")
    ).values():
        assert not {"AlarmActions", "OKActions", "ActionsSuppressor"} & alarm["Properties"].keys()
    rule = only(other_region.resources("AWS::Events::Rule", "CarmenProdEdgeAlarms"))
    assert len(rule["EventPattern"]["resources"]) == 2
    assert "events:eu-central-1:" in json.dumps(rule["Targets"])


def test_forwarded_alarms_reach_the_notifier(other_region: Built) -> None:
    rules = {name: one for name, one in other_region.resources("AWS::Events::Rule", "CarmenProd").items() if "/AlarmReceiver" in name}
    receiver = only(rules)
    assert "CarmenProdAlerts" in json.dumps(receiver["Targets"][0]["Arn"])
    assert "alarm:CarmenProdEdgeAlarms-" in json.dumps(receiver["EventPattern"])
    assert other_region.templates["CarmenProd"]["Outputs"]["Dashboard"]
