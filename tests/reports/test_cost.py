"""The cost model: every type is listed, old prices cause a warning, and totals match a manual calculation."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest

from settings.loader import SettingsError, environment_names, load
from settings.model import Settings
from tests.conftest import ROOT, Built
from tests.reports.changed_templates import Edit, Edits, setting
from tools.reports import docs
from tools.reports.assembly import Assembly
from tools.reports.cost import pricing, savings
from tools.reports.cost.bill import Bill, bill
from tools.reports.cost.page import page, total_line
from tools.reports.cost.prices import ASSUMPTIONS, PRICES, UnknownPriceError, assumed, price, stale, tables, warning
from tools.reports.diff.costs import Costs

MANUAL = Path(__file__).parent / "manual_calculation.csv"
PRODUCTION_AT_MOST, DEVELOPMENT_AT_MOST = 330, 60  # USD per month before traffic


def _edited(assembly: Assembly, folder: Path, edit: Edit) -> Assembly:
    edits = Edits(assembly)
    edit(edits)
    return Assembly(edits.write(folder))


# Compared with a manual calculation


def _manual_totals() -> dict[str, float]:
    """Environment → USD per month, from the manually maintained CSV."""
    totals: dict[str, float] = defaultdict(float)
    with MANUAL.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["source"].startswith("https://aws.amazon.com/"), row
            totals[row["environment"]] += float(row["count"]) * float(row["hours or months or units"]) * float(row["unit price USD"])
    return totals


def test_totals_match_the_manual_calculation(made: Bill) -> None:
    manual = _manual_totals()
    assert manual.keys() == set(environment_names())
    for environment, usd in manual.items():
        assert made.total(environment) == pytest.approx(usd, rel=0.03), environment


def test_totals_are_below_their_limits(made: Bill) -> None:
    assert made.total("prod") <= PRODUCTION_AT_MOST
    assert made.total("dev") <= DEVELOPMENT_AT_MOST
    assert made.total("dev") < made.total("staging") < made.total("prod")


# Counted resources


def test_every_type_is_priced_listed_or_free(made: Bill) -> None:
    """A new type that costs something cannot be forgotten: sort it into one of `tools/reports/cost/pricing.py`'s tables."""
    assert made.unknown == ()
    assert not pricing.PRICED.keys() & pricing.NOT_COUNTED
    assert not (pricing.PRICED.keys() | pricing.NOT_COUNTED) & pricing.FREE


def test_types_without_a_price_are_named(production: Assembly, tmp_path: Path) -> None:
    head = _edited(production, tmp_path, lambda edits: edits.add("Data", "Files", {"Type": "AWS::EFS::FileSystem"}))
    assert bill(head).unknown == ("AWS::EFS::FileSystem",)
    assert "No price known, not counted: AWS::EFS::FileSystem." in page(bill(head), "prod", [])
    head = _edited(production, tmp_path, setting("Data/Database/Instance", "DBInstanceClass", "db.x9g.large"))
    assert bill(head).unknown == ("AWS::RDS::DBInstance db.x9g.large", "AWS::RDS::DBProxy db.x9g.large")
    assert Costs.of(production, head).unknown == ["AWS::RDS::DBInstance db.x9g.large", "AWS::RDS::DBProxy db.x9g.large"]
    head = _edited(production, tmp_path, setting("Data/Cache/Redis", "Engine", "keydb"))
    assert bill(head).unknown == ("AWS::ElastiCache::ReplicationGroup keydb",)


def test_alarms_are_priced_by_metric(production: Assembly, tmp_path: Path) -> None:
    metrics = [{"Id": "e", "Expression": "a/b"}, *({"Id": name, "MetricStat": {}} for name in "ab")]

    def edit(edits: Edits) -> None:
        edits.add("Service", "One", {"Type": "AWS::CloudWatch::Alarm", "Properties": {"MetricName": "x"}})
        edits.add("Service", "Two", {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": metrics}})
        edits.add("Service", "Three", {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {}})
        edits.add("Service", "Four", {"Type": "AWS::CloudWatch::Dashboard", "Properties": {}})

    costs = Costs.of(production, _edited(production, tmp_path, edit))
    assert costs.difference("prod", "Service") == pytest.approx(0.1 + 0.2 + 0.5 + 3)
    assert costs.rows()[0] == "| Service | +3.80 | new: `Service/Four`; new: `Service/Three`; new: `Service/Two`; new: `Service/One` |"


@pytest.mark.parametrize(
    ("insights", "usd"), [("enhanced", (17 + 25 + 20 + 2 * 33) * 0.07), ("enabled", (17 + 25 + 20) * 0.3), ("disabled", 0)]
)
def test_container_insights_is_priced_by_metric(insights: str, usd: float, production: Assembly, tmp_path: Path) -> None:
    change = setting("Service/Cluster", "ClusterSettings", [{"Name": "containerInsights", "Value": insights}])
    items = bill(_edited(production, tmp_path, change)).items
    assert sum(one.usd for one in items if one.kind == "AWS::ECS::Cluster") == pytest.approx(usd)


def test_interface_endpoint_is_priced_by_zone(production: Assembly, tmp_path: Path) -> None:
    endpoint = {"Type": "AWS::EC2::VPCEndpoint", "Properties": {"VpcEndpointType": "Interface", "SubnetIds": ["a", "b", "c"]}}
    costs = Costs.of(production, _edited(production, tmp_path, lambda edits: edits.add("Network", "Endpoint", endpoint)))
    assert costs.difference("prod") == pytest.approx(3 * 730 * 0.01)
    assert costs.rows()[0] == "| Network | +21.90 | new: `Network/Endpoint` |"


def test_costs_by_use_are_separate_from_the_total(made: Bill) -> None:
    use = [one for one in made.items if one.environment == "prod" and one.by_use]
    assert {one.kind.removeprefix("AWS::") for one in use} == {
        "CloudFront::Distribution", "EC2::NatGateway", "ECR::Repository", "ElasticLoadBalancingV2::LoadBalancer", "Logs::LogGroup",
        "S3::Bucket", "WAFv2::WebACL",
    }  # fmt: skip
    assert made.total("prod", by_use=True) == pytest.approx(sum(one.usd for one in use))
    assert made.total("prod") == pytest.approx(sum(one.usd for one in made.items if one.environment == "prod" and not one.by_use))


def test_working_hours_reduce_only_what_they_stop(everywhere: Assembly, tmp_path: Path) -> None:
    """Twelve hours on working days are 260.7 of a month's 730."""
    asleep = bill(everywhere)

    def awake(edits: Edits) -> None:
        for logical_id, resource in edits.templates["CarmenDevData"]["Resources"].items():
            if logical_id.startswith("WorkingHoursSt") and resource["Type"] == "AWS::Scheduler::Schedule":
                resource["Properties"]["ScheduleExpression"] = "rate(1 day)"

    by_night = bill(_edited(everywhere, tmp_path, awake))
    stopped = [
        one for one in by_night.items if one.environment == "dev" and (one.kind == "AWS::ECS::Service" or "db.t4g.micro" in one.what)
    ]
    assert {one.kind for one in stopped} == {"AWS::ECS::Service", "AWS::RDS::DBInstance"}
    assert by_night.total("dev") - asleep.total("dev") == pytest.approx(sum(one.usd for one in stopped) * (1 - 260.714 / 730), rel=1e-4)
    assert by_night.total("prod") == asleep.total("prod")


def test_assumptions_of_an_environment_replace_defaults() -> None:
    assert assumed("dev")["requests_million"] < assumed("prod")["requests_million"]
    assert assumed("dev")["functions"].keys() == assumed("prod")["functions"].keys()
    assert assumed("preview") == ASSUMPTIONS["default"]


def test_every_assumed_function_and_log_exists(made: Bill) -> None:
    paths = {one.path for one in made.items}
    assert [path for path in assumed("prod")["functions"] if path not in paths] == []
    assert [start for start in assumed("prod")["log_gib"] if not any(path.startswith(start) for path in paths)] == []


# Prices


def test_every_price_has_a_source_and_a_date() -> None:
    assert len(list(tables())) == 24
    for name, table in tables():
        assert re.match(r"https://(docs\.)?aws\.amazon\.com/", table["source"]), name
        assert isinstance(table["date"], date), name
        assert table["seen"] in ("aws", "quoted", "unseen"), name
    assert PRICES["region"] == "us-east-1"


def test_old_prices_cause_a_warning() -> None:
    newest = max(table["date"] for _, table in tables())
    oldest = min(table["date"] for _, table in tables())
    days = timedelta(days=PRICES["stale_after_days"])
    assert (stale(oldest + days), warning(oldest + days)) == ([], None)
    message = warning(oldest + days + timedelta(days=1))
    assert message is not None
    assert "rds_proxy_vcpu_hour" in message
    assert len(stale(newest + days + timedelta(days=1))) == len(list(tables()))


@pytest.mark.parametrize("name", ["source", "date", "seen", "gold", None])
def test_unlisted_price_is_an_error(name: str | None) -> None:
    with pytest.raises(UnknownPriceError, match=str(name)):
        price("rds_instance_hour", name)


# Output


def test_last_line_is_the_sum_of_the_stacks(made: Bill) -> None:
    for environment in environment_names():
        text = page(made, environment, [])
        last = text.splitlines()[-1]
        assert last == total_line(made, environment)
        match = re.match(r"Total ([0-9.,]+) USD per month before traffic, ([0-9.,]+) with ", last)
        assert match
        stacks = [float(row[1]) for row in re.finditer(r"^[A-Z]\w+ +([0-9.]+)(?: +[0-9.]+)?$", text.split("\nAll ")[0], re.MULTILINE)]
        assert len(stacks) >= 8
        assert sum(stacks) == pytest.approx(float(match[1]), abs=0.06)


def test_page_shows_resources_and_assumptions(made: Bill) -> None:
    text = page(made, "prod", [])
    for shown in (
        "Data/Database/Instance: db.t4g.medium in two zones; 20 GiB gp3 in two zones", "× SecretsManager::Secret", "Free: ",
        "requests_million 1", "Operations/Probe/Function runs 46720", "staging", "dev", "checked on",
    ):  # fmt: skip
        assert shown in text, shown


def test_cost_page_is_current(built: Built) -> None:
    """`make docs` writes it."""
    assert docs.current(docs.COST, docs.cost_document(built))
    assert (ROOT / "docs" / "decisions" / "0017-cost.md").is_file()


# Savings


@pytest.mark.slow
def test_savings_equal_the_prices_of_removed_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("database.multi_az", "network.nat_gateways", "database.proxy")
    monkeypatch.setattr(savings, "OPTIONS", tuple(one for one in savings.OPTIONS if one.key in keys))
    saved = {one.option.key: one.usd for one in savings.savings(load("prod"))}
    assert saved["database.multi_az"] == pytest.approx(730 * 0.065 + 20 * 0.115)
    assert saved["network.nat_gateways"] == pytest.approx(730 * 0.05)
    assert saved["database.proxy"] > 730 * 2 * 0.015  # and its alarms
    assert list(saved.values()) == sorted(saved.values(), reverse=True)


def test_every_saving_is_an_allowed_value() -> None:
    """Except a smaller instance: 300 connections do not fit into it."""
    allowed = [option.key for option, _ in savings._alternatives(load("prod"))]
    assert set(allowed) == {one.key for one in savings.OPTIONS} - {"database.instance_class"}
    assert len(allowed) == len(savings.OPTIONS) - 2


@pytest.mark.long
def test_every_option_saves_something() -> None:
    """A synthesis for each of them."""
    settings = load("prod")
    assert {one.option.key for one in savings.savings(settings)} == {option.key for option, _ in savings._alternatives(settings)}


def test_savings_in_use_are_omitted() -> None:
    keys = {option.key for option, _ in savings._alternatives(load("dev"))}
    assert not keys & {"database.proxy", "alarms.watched", "network.nat_instances", "database.multi_az"}


def test_saving_sets_an_opt_out_reason_if_needed() -> None:
    other = savings.with_setting(load("prod"), "database.multi_az", False)
    assert other.database.opt_outs("multi_az") == {"multi_az": savings.REASON}
    assert savings.with_setting(load("dev"), "database.multi_az", True).database.opt_outs("multi_az") == {}
    with pytest.raises(SettingsError, match="nat_gateways"):
        savings.with_setting(Settings(name="prod"), "network.nat_gateways", 9)


# The pull-request report


def test_new_resources_are_counted_by_construct(production: Assembly, tmp_path: Path) -> None:
    def edit(edits: Edits) -> None:
        for number in range(3):
            edits.add("Service", f"Alarm{number}", {"Type": "AWS::CloudWatch::Alarm", "Properties": {}}, f"Watch/{number}/Resource")

    assert Costs.of(production, _edited(production, tmp_path, edit)).rows()[0] == "| Service | +0.30 | new: `Service/Watch` (3) |"


@pytest.mark.parametrize(
    ("edit", "row"),
    [
        (
            setting("Data/Database/Instance", "AllocatedStorage", "100"),
            "| Data | +18.40 | `Data/Database/Instance` 20 GiB gp3 in two zones → 100 GiB gp3 in two zones |",
        ),
        (setting("Data/Cache/Redis", "NumCacheClusters", 1), "| Data | −9.34 | `Data/Cache/Redis` 2 × cache.t4g.micro → 1 × cache.t4g.micro |"),
        (
            setting("Service/Web/Service/TaskCount/Target", "MinCapacity", 3),
            "| Service | +16.73 | `Service/Web/Service/Service` 2 × 0.5 vCPU, 1 GiB → 3 × 0.5 vCPU, 1 GiB; "
            "`Service/Cluster` Container Insights, 128 metrics → Container Insights, 161 metrics |",
        ),
        (
            lambda edits: edits.remove("Network/Network/Vpc/PublicSubnet2/NATGateway"),
            "| Network | −32.85 | removed: `Network/Network/Vpc/PublicSubnet2/NATGateway` |",
        ),
    ],
    ids=["storage", "nodes", "tasks", "gateway"],
)  # fmt: skip
def test_cost_difference_shows_its_reason(edit: Edit, row: str, production: Assembly, tmp_path: Path) -> None:
    assert Costs.of(production, _edited(production, tmp_path, edit)).rows()[0] == row


def test_equal_costs_have_no_row(production: Assembly) -> None:
    assert Costs.of(production, production).rows() == []
