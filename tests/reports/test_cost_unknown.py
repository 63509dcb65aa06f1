"""Unknown is never zero: a class, type or region without a price makes totals incomplete and a difference unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.small_assembly import resource, small_assembly
from tools.reports.assembly import Assembly
from tools.reports.cost.bill import bill
from tools.reports.cost.page import total_line
from tools.reports.diff.costs import Costs


def database(instance_class: str, **more: Any) -> dict[str, Any]:
    storage = {"StorageType": "gp3", "AllocatedStorage": "20"}
    return resource("RDS::DBInstance", DBInstanceClass=instance_class, MultiAZ=True, **storage, **more)


@pytest.fixture
def medium(tmp_path: Path) -> Assembly:
    return small_assembly(tmp_path / "medium", {"Instance": database("db.t4g.medium")})


def test_class_without_a_price_is_no_saving(medium: Assembly, tmp_path: Path) -> None:
    costs = Costs.of(medium, small_assembly(tmp_path / "larger", {"Instance": database("db.r7g.large")}))
    assert costs.summary("prod") == "; cost unknown: no price for AWS::RDS::DBInstance db.r7g.large"
    assert costs.rows() == [
        "| Data | unknown | `Data/Instance` db.t4g.medium in two zones → db.r7g.large in two zones (no price) |",
        "| **Total** | 99.50 → **incomplete, at least 4.60** | |",
    ]
    assert costs.unknown == ["AWS::RDS::DBInstance db.r7g.large"]
    assert "removed" not in str(costs.rows())
    assert "Total incomplete, at least 4.60 USD per month" in total_line(costs.head, "prod")


def test_removed_class_without_a_price_is_no_known_saving(medium: Assembly, tmp_path: Path) -> None:
    costs = Costs.of(small_assembly(tmp_path / "larger", {"Instance": database("db.r7g.large")}), medium)
    assert costs.summary("prod") == "; cost unknown: no price for AWS::RDS::DBInstance db.r7g.large"
    assert costs.rows()[-1] == "| **Total** | incomplete, at least 4.60 → **99.50** | |"


def test_region_without_prices_is_not_priced_as_another(medium: Assembly, tmp_path: Path) -> None:
    frankfurt = small_assembly(tmp_path / "frankfurt", {"Instance": database("db.t4g.medium")}, region="eu-central-1")
    costs = Costs.of(medium, frankfurt)
    assert costs.summary("prod") == "; cost unknown: no prices for eu-central-1"
    assert costs.rows()[-1] == "| **Total** | 99.50 → **incomplete, at least 0.00** | |"
    assert bill(frankfurt).unknown == ("prices for eu-central-1",)


def test_known_change_beside_an_unknown_price_is_incomplete(tmp_path: Path) -> None:
    """The class without a price is the same in base and head."""
    base = {"Instance": database("db.r7g.large")}
    costs = Costs.of(
        small_assembly(tmp_path / "base", base),
        small_assembly(tmp_path / "head", {**base, "Secret": resource("SecretsManager::Secret")}),
    )
    assert costs.summary("prod") == "; +0.40 USD per month, incomplete"
    assert costs.rows()[-1] == "| **Total** | incomplete, at least 4.60 → **incomplete, at least 5.00** | |"


def test_second_database_does_not_charge_the_proxy_again(tmp_path: Path) -> None:
    """RDS Proxy is billed by the vCPUs of the instances behind it, which its target group names."""
    group = resource("RDS::DBProxyTargetGroup", DBProxyName={"Ref": "Proxy"}, DBInstanceIdentifiers=[{"Ref": "Instance"}])
    one = {"Instance": database("db.t4g.medium"), "Proxy": resource("RDS::DBProxy"), "Targets": group}
    second = database("db.t4g.micro")
    costs = Costs.of(small_assembly(tmp_path / "one", one), small_assembly(tmp_path / "two", {**one, "Second": second}))
    assert costs.difference("prod") == pytest.approx(2 * 730 * 0.016 + 2 * 20 * 0.115)
    proxies = [item for item in costs.head.items if item.kind == "AWS::RDS::DBProxy"]
    assert [item.what for item in proxies] == ["2 vCPUs"]
