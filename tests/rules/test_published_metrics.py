"""The table of metrics: it refuses wrong uses, has no row without a use, and names our functions' own intervals."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import Built
from tests.rules import alarm_rules
from tests.rules.published_metrics import AGES, FIVE_MINUTES, PROBE, PUBLISHED, UPTIME
from tests.rules.rules import RULES, Templates

assert alarm_rules  # importing it adds its rules

CRON_SECONDS = {"cron(* * * * ? *)": 60, "cron(5/15 * * * ? *)": 900}
PROXY, BALANCER = {"ProxyName"}, {"LoadBalancer", "TargetGroup"}


@pytest.mark.parametrize(
    ("metric", "statistic", "period", "dimensions", "part"),
    [
        ("AWS/RDS ClientConnections", "Sum", 300, PROXY, "counts 5 times"),
        ("AWS/RDS ClientConnections", "Average", 60, PROXY, "is a gauge, whose Average"),  # of one of several hosts
        ("AWS/RDS CPUCreditBalance", "Minimum", 60, {"DBInstanceIdentifier"}, "is read every 60 s and published every 300 s"),
        ("AWS/RDS FreeStorageSpace", "Sum", 60, {"DBInstanceIdentifier"}, "is a gauge"),
        ("AWS/ApplicationELB HTTPCode_Target_5XX_Count", "Average", 60, BALANCER, "is a counter"),
        ("AWS/ApplicationELB TargetResponseTime", "p99", 300, {"LoadBalancer"}, "is published by LoadBalancer TargetGroup"),
        ("AWS/ECS CPUUtilization", "SampleCount", 300, {"ClusterName", "ServiceName"}, "counts 5 times"),
        ("AWS/CloudFront OriginLatency", "Average", 300, {"DistributionId", "Region"}, "is a latency"),
        ("Carmen DrillAgeDays", "Minimum", 60, {"Environment", "service"}, "published every 900 s"),
    ],
)
def test_wrong_use_of_a_metric_is_refused(metric: str, statistic: str, period: int, dimensions: set[str], part: str) -> None:
    namespace, name = metric.split()
    (misuse,) = PUBLISHED[namespace][name].misuse(statistic, period, dimensions)
    assert part in misuse


def _change(built: Built, stack: str, alarm: str, **properties: object) -> Templates:
    templates = json.loads(json.dumps(built.templates))
    (found,) = [one for name, one in templates[stack]["Resources"].items() if re.fullmatch(f"{alarm}[0-9A-F]{{8}}", name)]
    found["Properties"] |= properties
    return dict(templates)


def test_unknown_metric_wrong_unit_and_wrong_missing_data_are_found(built: Built) -> None:
    rule = RULES["alarms_use_metrics_as_published"]
    (unknown,) = rule(_change(built, "CarmenProdData", "DatabaseAlarmsCpu", MetricName="CpuUtilization"))
    assert "AWS/RDS CpuUtilization has no row in tests/rules/published_metrics.py" in unknown
    (milliseconds,) = rule(_change(built, "CarmenProdData", "DatabaseAlarmsBorrowLatency", Threshold=100))
    assert "published in Microseconds; the threshold 100 means another unit" in milliseconds
    (idle,) = rule(_change(built, "CarmenProdService", "WebServerErrors", TreatMissingData="breaching"))
    assert "is missing while there is nothing to report" in idle


def test_filled_metric_in_periods_of_its_interval_is_found(built: Built) -> None:
    resources = built.templates["CarmenProdOperations"]["Resources"]
    (alarm,) = [one["Properties"] for name, one in resources.items() if name.startswith("ProbeFunctionFailing")]
    metrics = json.loads(json.dumps(alarm["Metrics"]).replace(f'"Period": {FIVE_MINUTES}', '"Period": 60'))
    changed = _change(built, "CarmenProdOperations", "ProbeFunctionFailing", Metrics=metrics)
    assert len(list(RULES["filled_metrics_may_be_late"](changed))) == 4


def test_wrong_unit_in_a_graph_is_found(built: Built) -> None:
    templates = json.loads(json.dumps(built.templates).replace("Disk latency (s)", "Disk latency (ms)").replace("memory (%)", "memory (s)"))
    found = list(RULES["graphs_use_metrics_as_published"](templates))
    assert [one.split(": ", 1)[1] for one in found if "CarmenProd/" in one] == [
        "Memory of tasks (%): AWS/ECS MemoryUtilization is in Percent, not s"
    ]


def test_every_row_is_used(built: Built) -> None:
    templates = json.dumps(built.templates)
    assert [name for rows in PUBLISHED.values() for name in rows if name not in templates] == []


def test_our_own_metrics_have_the_interval_of_their_schedule(built: Built) -> None:
    schedules = {
        name.split("/")[1]: CRON_SECONDS[one["Properties"]["ScheduleExpression"]]
        for name, one in built.resources("AWS::Scheduler::Schedule").items()
        if name.startswith("CarmenProd") and ("Minutely" in name or "MeasureAges" in name)
    }
    assert len(schedules) == 4
    found = {name.partition("M")[0]: seconds for name, seconds in schedules.items() if "Minutely" in name}
    ages = {seconds for name, seconds in schedules.items() if "MeasureAges" in name}
    for row in PUBLISHED["Carmen"].values():
        wanted = {PROBE: {found["Probe"]}, UPTIME: {found["Uptime"]}, AGES: ages}[row.source]
        assert {row.seconds} == wanted
