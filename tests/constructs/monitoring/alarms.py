"""Alarms of a template, one line each, to compare with alarms.txt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.constructs.conftest import Synthesized

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
LISTED = (Path(__file__).parent / "alarms.txt").read_text(encoding="utf-8").splitlines()
OPERATORS = {"GreaterThanOrEqualToThreshold": ">=", "LessThanThreshold": "<"}
Resource = Mapping[str, Any]


def listed(part: str) -> dict[str, str]:
    """The lines of alarms.txt whose name starts with `part`, without their stack, by name."""
    return by_name([re.sub(r"^\w+/", "", line) for line in LISTED if line.startswith(part)])


def by_name(lines: list[str]) -> dict[str, str]:
    """Lines by the alarm's name."""
    return {line.split(" | ")[0]: line for line in lines}


def described(built: Synthesized) -> dict[str, str]:
    """Every alarm of a small stack, by name."""
    found = built.resources(ALARM) | built.resources(COMPOSITE)
    return by_name([describe(name.removeprefix("/"), resource) for name, resource in found.items()])


def describe(name: str, resource: Resource) -> str:
    """Name, metric and threshold or rule, periods or suppressor, treatment of missing data, severity of its notifications."""
    properties = resource["Properties"]
    severity = properties["AlarmDescription"].rpartition(" ")[2] if "AlarmActions" in properties else "no actions"
    return " | ".join([_plain({"Ref": name}), *(_composite(properties) if "AlarmRule" in properties else _metric(properties)), severity])


def dimensions(resource: Resource) -> dict[str, dict[str, Any]]:
    """The dimensions of an alarm's metrics, by metric."""
    properties = resource["Properties"]
    metrics = [one["MetricStat"]["Metric"] for one in properties.get("Metrics", []) if "MetricStat" in one] or [properties]
    return {metric["MetricName"]: {one["Name"]: one["Value"] for one in metric["Dimensions"]} for metric in metrics}


def _metric(properties: Resource) -> tuple[str, str, str]:
    periods = {one["MetricStat"]["Period"] for one in properties.get("Metrics", []) if "MetricStat" in one} or {properties["Period"]}
    watched = properties.get("MetricName", "") + " " + properties.get("Statistic", properties.get("ExtendedStatistic", ""))
    if "Metrics" in properties:
        watched = next(one["Expression"] for one in properties["Metrics"] if "Expression" in one)
        parts = [one for one in properties["Metrics"] if "MetricStat" in one]
        for one in parts:
            stat = one["MetricStat"]
            watched = re.sub(rf"\b{one['Id']}\b", f"{stat['Metric']['MetricName']}.{stat['Stat']}", watched)
    most, of = properties.get("DatapointsToAlarm", properties["EvaluationPeriods"]), properties["EvaluationPeriods"]
    over = f"{most} of {of} × {'/'.join(map(str, periods))} s"
    return f"{watched} {OPERATORS[properties['ComparisonOperator']]} {properties['Threshold']:g}", over, properties["TreatMissingData"]


def _composite(properties: Resource) -> tuple[str, str]:
    parts = properties["AlarmRule"]["Fn::Join"][1]
    every = any(" AND " in part for part in parts if isinstance(part, str))
    rule = (" AND " if every else " OR ").join(_plain(part) for part in parts if isinstance(part, dict))
    suppressor = properties.get("ActionsSuppressor")
    if not suppressor:
        return rule, "always"
    return rule, f"unless {_plain(suppressor)} within {properties['ActionsSuppressorWaitPeriod']} s"


def _plain(reference: Resource) -> str:
    """The logical id of a Ref or GetAtt, or the output with an alarm's name or ARN, without the CDK's prefix and hash."""
    (name,) = reference.values()
    name = name["OutputName"] if isinstance(name, dict) else name[0] if isinstance(name, list) else name
    exported = re.sub(r"^PublishOutput(Ref|FnGetAtt)|(Arn)?[0-9A-F]{8}$", "", name)
    return re.sub(r"[0-9A-F]{8}$", "", exported)
