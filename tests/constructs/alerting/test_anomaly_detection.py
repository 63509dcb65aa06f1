"""Cost anomaly detection in a small stack: its monitor, threshold and subscriber."""

from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.alerting.anomaly_detection import AnomalyDetection
from tests.conftest import only
from tests.constructs.conftest import TOPIC, Synthesized, settings, stack, template

EXISTING = "arn:aws:ce::123456789012:anomalymonitor/01234567-89ab-cdef-0123-456789abcdef"


def _built(**detection: Any) -> Synthesized:
    small = stack()
    table = settings(anomaly_detection=detection).anomaly_detection
    assert table
    AnomalyDetection(small, "AnomalyDetection", settings=table, topic_arn=TOPIC)
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built(minimum_usd=75)


def test_monitor_may_exist_in_a_member_account(built: Synthesized) -> None:
    """Monitors of tags "can only be created in the management account" (Cost Management User Guide, "Getting started with …")."""
    monitor = only(built.resources("AWS::CE::AnomalyMonitor"))
    assert (monitor["MonitorType"], monitor["MonitorDimension"]) == ("DIMENSIONAL", "SERVICE")
    assert "MonitorSpecification" not in monitor


def test_anomalies_above_the_limit_are_sent_at_once(built: Synthesized) -> None:
    anomalies = only(built.resources("AWS::CE::AnomalySubscription"))
    assert json.loads(anomalies["ThresholdExpression"])["Dimensions"] == {
        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
        "Values": ["75"],
    }
    assert (anomalies["Frequency"], anomalies["Subscribers"]) == ("IMMEDIATE", [{"Address": TOPIC, "Type": "SNS"}])
    (monitor,) = built.resources("AWS::CE::AnomalyMonitor")
    assert anomalies["MonitorArnList"] == [{"Ref": monitor.removeprefix("/")}]


def test_existing_monitor_is_used() -> None:
    """A second one is refused (coverage-roadmap#2515), and AWS creates the first with Cost Explorer."""
    other = _built(monitor_arn=EXISTING)
    assert other.resources("AWS::CE::AnomalyMonitor") == {}
    assert only(other.resources("AWS::CE::AnomalySubscription"))["MonitorArnList"] == [EXISTING]
