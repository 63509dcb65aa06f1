"""SLO alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.monitoring.slo import WINDOW_DAYS, Slo
from tests.constructs.conftest import Synthesized, alerting, balancer, settings, stack, template
from tests.constructs.monitoring.alarms import described, listed
from tests.constructs.monitoring.conftest import alarm
from tests.constructs.neighbours import ExistingNetwork


def _built(**changes: Any) -> tuple[Slo, Synthesized]:
    small = stack()
    slo = Slo(
        small,
        "Slo",
        alerting=alerting(),
        settings=settings(slo=changes).slo,
        balancer=balancer(small, ExistingNetwork(small)),
        origin_down=alarm(small, "ServiceAlarms", "OriginDown"),
    )
    return slo, template(small)


def test_alarms_are_those_listed() -> None:
    slo, built = _built()
    assert {name: line for name, line in described(built).items() if name.startswith("Slo")} == listed("Slo")
    assert len(slo.notifying) == 4


def test_objectives_are_settings() -> None:
    slo, built = _built(availability_percent=99.5, latency_seconds=0.5)
    lines = described(built)
    assert ">= 7.2 |" in lines["SloAvailabilityFastBurnLongWindow"]
    assert "PR(:0.5)" in lines["SloLatencySlowBurnShortWindow"]
    assert slo.objective("Availability") == 99.5


def test_budget_left_covers_the_whole_window() -> None:
    slo, _ = _built(availability_percent=99.5)
    left = slo.budget_left("Availability")
    assert left.text.startswith("100 - 100 * (IF(requests >= 1, 100 * (FILL(failed, 0) + FILL(refused, 0)) / requests, 0)) / 0.5")
    assert left.period_seconds == WINDOW_DAYS * 86_400 == 28 * 86_400
