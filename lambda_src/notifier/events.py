"""Parsing of the queue's messages: alarm changes, and notices of all other kinds.

No message is lost or causes an error: an unrecognized message becomes a notice with its full text.
Sources: CloudWatch User Guide, "Alarm events and EventBridge" and "Notify users on alarm changes"; ECS Developer Guide, "Amazon
ECS service deployment state change events"; Cost Management User Guide, "Getting started with AWS Cost Anomaly Detection".
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

OPERATORS = {
    "GreaterThanOrEqualToThreshold": "≥",
    "GreaterThanThreshold": ">",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "≤",
}
BUDGET_FIELDS = r"^(Budget Name|Budgeted Amount|Alert Type|Alert Threshold|(?:ACTUAL|FORECASTED) Amount): *(.+?) *$"


@dataclass(frozen=True)
class Alarm:
    """An alarm's change to ALARM or OK. `raw` is the original message."""

    id: str
    name: str
    region: str
    state: str
    at: datetime
    summary: str
    runbook: str
    pages: bool
    figure: str
    children: tuple[str, ...]
    raw: dict[str, Any]

    @property
    def key(self) -> str:
        """Identifies the change, in every message about it."""
        return f"{self.id} {self.state} {self.at.isoformat()}"


@dataclass(frozen=True)
class RecoveryCheck:
    """The notifier's own message: check whether the recovery at `since` has lasted."""

    alarm: Alarm
    since: datetime

    @property
    def key(self) -> str:
        return f"{self.alarm.id} recovered {self.since.isoformat()}"


@dataclass(frozen=True)
class Notice:
    """Information to pass on once, without paging. `verbatim` is shown unchanged."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    verbatim: str = ""


Event = Alarm | RecoveryCheck | Notice


def read(body: str) -> Event:
    """Parse a message of the queue: from SNS, from EventBridge, or the notifier's own."""
    outer = _object(body)
    enveloped = outer.get("Type") == "Notification" and isinstance(outer.get("Message"), str)
    text, subject = (outer["Message"], str(outer.get("Subject") or "")) if enveloped else (body, "")
    key = str(outer.get("MessageId") or hashlib.sha256(body.encode()).hexdigest())
    try:
        return _read(_object(text), text, subject, key)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return Notice(key, subject or "Unrecognized message", verbatim=text)


def _read(message: dict[str, Any], text: str, subject: str, key: str) -> Event:
    readers: dict[str, Callable[[dict[str, Any], str], Event]] = {
        "carmen": _own_message,
        "AlarmName": _alarm,
        "anomalyId": _cost_anomaly,
    }
    for name, reader in readers.items():
        if name in message:
            return reader(message, key)
    if message.get("detail-type") == "ECS Deployment State Change":
        return _deployment(message)
    if fields := dict(re.findall(BUDGET_FIELDS, text, re.MULTILINE)):
        return _budget(fields, subject, key)
    return Notice(key, subject or "Unrecognized message", verbatim=text)


def recovery_check(alarm: Alarm, since: datetime) -> str:
    """The message body of a RecoveryCheck."""
    return json.dumps({"carmen": "recovery", "since": since.isoformat(), "alarm": alarm.raw})


def notice(key: str, title: str, lines: list[str]) -> str:
    """The message body of a Notice."""
    return json.dumps({"carmen": "notice", "key": key, "title": title, "lines": lines})


def _own_message(message: dict[str, Any], key: str) -> Event:
    if message["carmen"] == "recovery":
        alarm = _alarm(message["alarm"], key)
        if not isinstance(alarm, Alarm):
            raise ValueError("a recovery check needs an alarm's message")
        return RecoveryCheck(alarm, datetime.fromisoformat(message["since"]))
    links = tuple((str(label), str(url)) for label, url in message.get("links", ()))
    return Notice(str(message["key"])[:500] or key, str(message["title"]), tuple(map(str, message["lines"])), links)


def _alarm(message: dict[str, Any], key: str) -> Alarm | Notice:
    name, state, reason = str(message["AlarmName"]), message["NewStateValue"], str(message.get("NewStateReason", ""))
    arn = str(message.get("AlarmArn") or f"{message.get('AWSAccountId', '')}:{name}")
    region = arn.split(":")[3] if arn.startswith("arn:") else os.environ.get("AWS_REGION", "us-east-1")
    lines = str(message.get("AlarmDescription") or "").splitlines()
    fields = {label: value.strip() for label, colon, value in (line.partition(":") for line in lines) if colon}
    summary = next((line.strip() for line in lines if line.strip()), name)
    if state not in ("ALARM", "OK"):
        return Notice(key, f"{summary} ({name} is {state})", (reason,))
    return Alarm(
        id=arn,
        name=name,
        region=region,
        state=state,
        at=_moment(message["StateChangeTime"]),
        summary=summary,
        runbook=fields.get("Runbook", ""),
        pages=fields.get("Severity") == "page",
        figure=_figure(message.get("Trigger") or {}, reason) or reason,
        children=tuple(child["Arn"].rpartition(":alarm:")[2] for child in message.get("TriggeringChildren", ())),
        raw=message,
    )


def _figure(trigger: dict[str, Any], reason: str) -> str:
    """`CPUUtilization 93 ≥ 80 (Maximum of 60 s)`; empty if the reason contains no figure."""
    operator = OPERATORS.get(str(trigger.get("ComparisonOperator")))
    if not operator:
        return ""
    threshold, metric, statistic = f"{float(trigger['Threshold']):.10g}", *_metric(trigger)
    of_what = f" ({statistic} of {trigger['Period']} s)" if statistic and trigger.get("Period") else ""
    if "no datapoints were received" in reason:
        return f"{metric}: no data, which counts as a failure; threshold {operator} {threshold}{of_what}"
    points = re.findall(r"(-?\d[\d.]*(?:E-?\d+)?) \((\d\d/\d\d/\d\d \d\d:\d\d:\d\d)\)", reason)
    if not points:
        return ""
    latest, _ = max(points, key=lambda point: datetime.strptime(point[1], "%d/%m/%y %H:%M:%S").replace(tzinfo=UTC))
    sign = operator if "was not" not in reason and "were not" not in reason else f"not {operator}"
    return f"{metric} {float(latest):.10g} {sign} {threshold}{of_what}"


def _metric(trigger: dict[str, Any]) -> tuple[str, str]:
    """Name and statistic of the metric, or of the expression that is compared."""
    for entry in trigger.get("Metrics") or ():
        if entry.get("ReturnData", True):
            stat = entry.get("MetricStat") or {}
            return str(entry.get("Label") or (stat.get("Metric") or {}).get("MetricName") or entry["Id"]), str(stat.get("Stat") or "")
    statistic = str(trigger.get("ExtendedStatistic") or trigger.get("Statistic") or "")
    return str(trigger.get("MetricName") or "the metric"), statistic.capitalize() if statistic.isalpha() else statistic


def _deployment(message: dict[str, Any]) -> Notice:
    detail = message["detail"]
    what = str(detail["eventName"]).removeprefix("SERVICE_DEPLOYMENT_").replace("_", " ").lower()
    lines = (str(detail.get("reason", "")), f"{detail['deploymentId']} at {detail.get('updatedAt', message['time'])}")
    return Notice(str(message["id"]), f"Deployment {what}", tuple(filter(None, lines)))


def _budget(fields: dict[str, str], subject: str, key: str) -> Notice:
    return Notice(key, subject or f"Budget {fields.get('Budget Name', '')}", tuple(f"{name}: {value}" for name, value in fields.items()))


def _cost_anomaly(message: dict[str, Any], key: str) -> Notice:
    impact = message["impact"]
    causes = (
        ", ".join(str(cause[part]) for part in ("service", "region", "usageType") if cause.get(part))
        for cause in message.get("rootCauses", ())
    )
    more, spent, expected = (f"${float(impact[name]):,.2f}" for name in ("totalImpact", "totalActualSpend", "totalExpectedSpend"))
    return Notice(
        f"{message['anomalyId']} {impact['totalImpact']}",
        f"Unusual cost: {more} more than expected, {message.get('dimensionalValue') or 'of several services'}",
        (f"{spent} instead of {expected} since {str(message['anomalyStartDate'])[:10]}", *(f"Cause: {cause}" for cause in causes)),
        (("Details", str(message["anomalyDetailsLink"])),),
    )


def _moment(text: str) -> datetime:
    """CloudWatch writes `2026-11-24T03:12:05.123+0000`."""
    moment = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00")))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
