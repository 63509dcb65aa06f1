"""The cost model: nothing is priced in silence, and the sums are those of a calculation by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Built
from tests.unit.changed_templates import Edit, Edits, setting
from tests.unit.conftest import Variant
from tools.cost import BY_USE, FREE, PRICED, PRICES, bill
from tools.diff_report.costs import Costs
from tools.diff_report.sides import Side

# (what, how many, USD, hours a month or 1): counted in the templates by hand, with the unit prices of tools/prices.toml.
BY_HAND: dict[str, list[tuple[str, float, float, int]]] = {
    "prod": [
        ("db.t4g.medium, two zones", 2, 0.065, 730),
        ("20 GiB gp3, two zones", 40, 0.115, 1),
        ("RDS Proxy, two vCPUs", 2, 0.015, 730),
        ("cache.t4g.micro", 2, 0.016, 730),
        ("Fargate vCPUs", 2, 0.03238, 730),
        ("Fargate GiB", 4, 0.00356, 730),
        ("NAT gateways", 2, 0.045, 730),
        ("public addresses", 2, 0.005, 730),
        ("load balancer", 1, 0.0225, 730),
        ("keys", 2, 1.00, 1),
        ("secrets", 13, 0.40, 1),
        ("web ACL", 1, 5.00, 1),
        ("its rules", 12, 1.00, 1),
    ],
    "dev": [
        ("db.t4g.micro", 1, 0.016, 730),
        ("20 GiB gp3", 20, 0.115, 1),
        ("RDS Proxy, two vCPUs", 2, 0.015, 730),
        ("cache.t4g.micro", 1, 0.016, 730),
        ("Fargate vCPUs, on Spot", 0.25 * 0.3, 0.03238, 730),
        ("Fargate GiB, on Spot", 0.5 * 0.3, 0.00356, 730),
        ("NAT gateway", 1, 0.045, 730),
        ("public address", 1, 0.005, 730),
        ("load balancer", 1, 0.0225, 730),
        ("keys", 2, 1.00, 1),
        ("secrets", 13, 0.40, 1),
        ("web ACL", 1, 5.00, 1),
        ("its rules", 12, 1.00, 1),
    ],
}


@pytest.fixture(scope="module")
def everywhere(built: Built) -> Side:
    return Side(built.assembly)


@pytest.fixture(scope="module")
def production(variant: Variant) -> Side:
    return Side(variant().assembly)


def _edited(side: Side, folder: Path, edit: Edit) -> Side:
    edits = Edits(side)
    edit(edits)
    return Side(edits.write(folder))


@pytest.mark.parametrize("environment", BY_HAND)
def test_the_total_is_that_of_a_calculation_by_hand(environment: str, everywhere: Side) -> None:
    """Alarms and dashboards apart: they come and go."""
    total = sum(count * usd * hours for _, count, usd, hours in BY_HAND[environment])
    items = [one for one in bill(everywhere).items if one.environment == environment and not one.kind.startswith("AWS::CloudWatch::")]
    assert sum(one.usd for one in items) == pytest.approx(total, abs=0.01)


def test_alarms_pay_for_their_metrics_and_dashboards_for_themselves(production: Side, tmp_path: Path) -> None:
    metrics = [{"Id": "e", "Expression": "a/b"}, *({"Id": name, "MetricStat": {}} for name in "ab")]

    def edit(edits: Edits) -> None:
        edits.add("Service", "One", {"Type": "AWS::CloudWatch::Alarm", "Properties": {"MetricName": "x"}})
        edits.add("Service", "Two", {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": metrics}})
        edits.add("Service", "Three", {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {}})
        edits.add("Service", "Four", {"Type": "AWS::CloudWatch::Dashboard", "Properties": {}})

    costs = Costs.of(production, _edited(production, tmp_path, edit))
    assert costs.difference("prod", "Service") == pytest.approx(0.1 + 0.2 + 0.5 + 3)
    assert costs.rows()[0] == "| Service | +3.80 | new: `Service/Four`; new: `Service/Three`; new: `Service/Two`; new: `Service/One` |"


def test_what_is_new_is_counted_by_construct(production: Side, tmp_path: Path) -> None:
    def edit(edits: Edits) -> None:
        for number in range(3):
            edits.add("Service", f"Alarm{number}", {"Type": "AWS::CloudWatch::Alarm", "Properties": {}}, f"Watch/{number}/Resource")

    assert Costs.of(production, _edited(production, tmp_path, edit)).rows()[0] == "| Service | +0.30 | new: `Service/Watch` (3) |"


def test_every_type_is_priced_by_use_or_free(everywhere: Side) -> None:
    """A new type that costs something cannot be forgotten: sort it into one of `tools/cost.py`'s tables."""
    assert bill(everywhere).unknown == ()
    assert not PRICED.keys() & BY_USE
    assert not (PRICED.keys() | BY_USE) & FREE


def test_what_has_no_price_is_told(production: Side, tmp_path: Path) -> None:
    head = _edited(production, tmp_path, lambda edits: edits.add("Data", "Files", {"Type": "AWS::EFS::FileSystem"}))
    assert bill(head).unknown == ("AWS::EFS::FileSystem",)
    head = _edited(production, tmp_path, setting("Data/Database/Instance", "DBInstanceClass", "db.x9g.large"))
    assert bill(head).unknown == ("AWS::RDS::DBInstance db.x9g.large", "AWS::RDS::DBProxy db.x9g.large")
    assert Costs.of(production, head).unknown == ["AWS::RDS::DBInstance db.x9g.large", "AWS::RDS::DBProxy db.x9g.large"]


def test_an_interface_endpoint_is_paid_in_each_zone(production: Side, tmp_path: Path) -> None:
    endpoint = {"Type": "AWS::EC2::VPCEndpoint", "Properties": {"VpcEndpointType": "Interface", "SubnetIds": ["a", "b", "c"]}}
    costs = Costs.of(production, _edited(production, tmp_path, lambda edits: edits.add("Network", "Endpoint", endpoint)))
    assert costs.difference("prod") == pytest.approx(3 * 730 * 0.01)
    assert costs.rows()[0] == "| Network | +21.90 | new: `Network/Endpoint` |"


@pytest.mark.parametrize(
    ("edit", "row"),
    [
        (
            setting("Data/Database/Instance", "AllocatedStorage", "100"),
            "| Data | +18.40 | `Data/Database/Instance` 20 GiB gp3 in two zones → 100 GiB gp3 in two zones |",
        ),
        (setting("Data/Cache/Redis", "NumCacheClusters", 1), "| Data | −11.68 | `Data/Cache/Redis` 2 × cache.t4g.micro → 1 × cache.t4g.micro |"),
        (
            setting("Service/Web/Service/TaskCount/Target", "MinCapacity", 3),
            "| Service | +28.83 | `Service/Web/Service/Service` 2 × 1 vCPU, 2 GiB → 3 × 1 vCPU, 2 GiB |",
        ),
        (
            lambda edits: edits.remove("Network/Network/Vpc/PublicSubnet2/NATGateway"),
            "| Network | −32.85 | gone: `Network/Network/Vpc/PublicSubnet2/NATGateway` |",
        ),
    ],
    ids=["storage", "nodes", "tasks", "gateway"],
)  # fmt: skip
def test_what_a_difference_comes_from(edit: Edit, row: str, production: Side, tmp_path: Path) -> None:
    assert Costs.of(production, _edited(production, tmp_path, edit)).rows()[0] == row


def test_no_difference_is_no_row(production: Side) -> None:
    assert Costs.of(production, production).rows() == []


def test_every_price_has_a_source() -> None:
    tables = [one for value in PRICES.values() if isinstance(value, dict) for one in (value.values() if "source" not in value else [value])]
    assert len(tables) == 20
    assert all(one["source"].startswith("https://") for one in tables)
