"""Budget and anomaly detection: stacks of their own, whose failure cannot roll back the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

import settings.loader
from settings.loader import SettingsError, load, refuse_two_monitors
from settings.types import REGIONS
from tests.conftest import Built, Variant
from tools.reports.assembly import Assembly

REASON = "The finance team watches the costs."
BILLING = ("AWS::Budgets::", "AWS::CE::")


@pytest.fixture(scope="module")
def in_another_region(variant: Variant) -> Built:
    zones = ["euc1-az1", "euc1-az2"]
    return variant(region="eu-central-1", network={"zones": zones}, anomaly_detection={})


def test_billing_is_only_in_later_stacks(built: Built, preview: Built, in_another_region: Built) -> None:
    for one in (built, preview, in_another_region):
        for top in one.tops.values():
            earlier = [stack.stack_name for stack in (*top.dependencies, top)]
            kinds = {resource["Type"] for name in earlier for resource in one.templates[name]["Resources"].values()}
            assert not [kind for kind in kinds if kind.startswith(BILLING)]
            assert [stack.stack_name for stack in top.later][:1] == [f"{top.stack_name}Budget"]
            assert all(top in stack.dependencies for stack in top.later)
    assert not built.resources("AWS::CE::AnomalyMonitor")  # an opt-in


def test_targets_are_the_top_stack_and_later_ones(built: Built, in_another_region: Built) -> None:
    """`./carmen deploy` gives them to the CDK without synthesizing first."""
    for name, top in built.tops.items():
        assert load(name).targets == [top.stack_name, *(stack.stack_name for stack in top.later)]
    assert [stack.stack_name for stack in in_another_region.tops["prod"].later] == ["CarmenProdBudget", "CarmenAccount"]


@pytest.mark.parametrize("stack", ["CarmenProdBudget", "CarmenAccount"])
def test_alert_topic_is_read_without_an_export(in_another_region: Built, stack: str) -> None:
    """An import would block a change of the topic."""
    text = json.dumps(in_another_region.templates[stack])
    assert "Fn::ImportValue" not in text
    read = {"StackName": "CarmenProdAlerts", "Region": "eu-central-1", "OutputName": "TopicArn"}
    assert json.dumps({"Fn::GetStackOutput": read}) in text
    assert "Topic" in json.dumps(in_another_region.templates["CarmenProdAlerts"]["Outputs"]["TopicArn"]["Value"])


def test_reports_know_whose_the_later_stacks_are(built: Built, in_another_region: Built) -> None:
    for one, account in ((built, set()), (in_another_region, {"CarmenAccount"})):
        stacks = Assembly(one.assembly).stacks
        assert account <= stacks.keys()
        assert {stack.environment for stack in stacks.values()} == set(one.tops)
        assert {stack.part for stack in stacks.values() if stack.name.endswith(("Budget", "Account"))} == {"Budget"} | (
            {"Account"} if account else set()
        )


def test_billing_types_exist_in_the_region_of_their_stacks(in_another_region: Built) -> None:
    """CloudFormation's schemas by region: eu-north-1, where Carmen may run, has no AWS::Budgets::Budget."""
    assert "eu-north-1" in REGIONS
    assert "AWS::Budgets::Budget" not in PROVIDER_SCHEMA_MANAGER.get_resource_types("eu-north-1")
    for stack in in_another_region.tops["prod"].later:
        kinds = {resource["Type"] for resource in in_another_region.templates[stack.stack_name]["Resources"].values()}
        assert kinds <= set(PROVIDER_SCHEMA_MANAGER.get_resource_types(stack.region)), stack.stack_name


def test_without_a_budget_the_reason_is_in_the_template(variant: Variant) -> None:
    without = variant(budget={"monthly_usd": 0, "monthly_usd_opt_out_reason": REASON})
    assert "CarmenProdBudget" not in without.templates
    assert without.templates["CarmenProd"]["Metadata"]["MonthlyUsdOptOut"] == REASON


# One monitor in an account


def _environments(folder: Path, prod: str, staging: str, tables: tuple[str, str] = ("[anomaly_detection]",) * 2) -> None:
    for name, account, table in (("prod", prod, tables[0]), ("staging", staging, tables[1])):
        (folder / f"{name}.toml").write_text(f"{account}\n{table}\n", encoding="utf-8")


@pytest.mark.parametrize(("prod", "staging"), [("", ""), ('account = "111111111111"', ""), ('account = "111111111111"',) * 2])
def test_second_monitor_of_an_account_is_refused(tmp_path: Path, prod: str, staging: str) -> None:
    """Also when only one environment is synthesized, as by `./carmen deploy`."""
    _environments(tmp_path, prod, staging)
    for name, other in (("prod", "staging"), ("staging", "prod")):
        with pytest.raises(SettingsError) as caught:
            refuse_two_monitors([load(name, tmp_path)], tmp_path)
        assert f"{name}.toml, " in str(caught.value)
        assert f"{other}.toml: [anomaly_detection] is in both" in str(caught.value)


def test_each_account_may_have_a_monitor(tmp_path: Path) -> None:
    _environments(tmp_path, 'account = "111111111111"', 'account = "222222222222"')
    refuse_two_monitors([load("prod", tmp_path), load("staging", tmp_path)], tmp_path)
    _environments(tmp_path, "", "", ("[anomaly_detection]", ""))
    refuse_two_monitors([load("prod", tmp_path), load("staging", tmp_path)], tmp_path)


def test_previews_do_not_inherit_the_monitor() -> None:
    assert "anomaly_detection" in settings.loader.NOT_INHERITED
    assert load("preview-pr-123").anomaly_detection is None
