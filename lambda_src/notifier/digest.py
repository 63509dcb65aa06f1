"""The daily digest: age of backups, restore drill, maintenance and credentials, and the day's incidents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from notifier.incidents import AlarmState

LOOK_BACK = timedelta(hours=48)  # the ages are measured once a day
PERIOD = timedelta(hours=1)
# Line → (name, metric, dimensions, unit). Published by lambda_src/probe/ages.py and lambda_src/rotation/handler.py.
PROBE = {"service": "probe"}
PERCENT = "%"
FIGURES: dict[str, list[tuple[str, str, dict[str, str], str]]] = {
    "Newest backup": [(tier, f"BackupAgeHours{tier.capitalize()}", PROBE, "h") for tier in ("daily", "weekly", "monthly")],
    "Size of the newest daily backup": [("of the median", "BackupSizeOfMedian", PROBE, PERCENT)],
    "Last restore drill that passed": [("", "DrillAgeDays", PROBE, "d")],
    "Last maintenance": [(kind, f"MaintenanceAgeDays{kind.capitalize()}", PROBE, "d") for kind in ("weekly", "monthly")],
    "Credentials": [(kind, "RotationAgeDays", {"service": "rotation", "Kind": kind}, "d") for kind in ("application", "owner", "redis")],
}
UNKNOWN = "not measured"


def lines(cloudwatch: Any, alarms: list[AlarmState], environment: str, now: datetime) -> list[str]:
    """The digest's text. Names figures without a measurement in two days."""
    newest = _newest(cloudwatch, environment, now)
    numbers = iter(range(sum(map(len, FIGURES.values()))))
    figures = [f"{what}: {', '.join(_format(newest.get(next(numbers)), *figure) for figure in row)}" for what, row in FIGURES.items()]
    return [*figures, *_incidents(alarms, now)]


def _newest(cloudwatch: Any, environment: str, now: datetime) -> dict[int, float]:
    """The newest value of each figure, by its number."""
    queries = [
        {
            "Id": f"figure{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "Carmen",
                    "MetricName": metric,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in {"Environment": environment, **dimensions}.items()],
                },
                "Period": int(PERIOD.total_seconds()),
                "Stat": "Maximum",
            },
        }
        for number, (_, metric, dimensions, _) in enumerate(figure for row in FIGURES.values() for figure in row)
    ]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=now - LOOK_BACK, EndTime=now, ScanBy="TimestampDescending"
    )
    found: dict[int, float] = {}
    for page in pages:
        for result in page["MetricDataResults"]:
            if result["Values"]:
                found.setdefault(int(result["Id"].removeprefix("figure")), result["Values"][0])
    return found


def _format(value: float | None, name: str, metric: str, dimensions: dict[str, str], unit: str) -> str:
    if value is None:
        return f"{name} {UNKNOWN}".strip()
    return f"{value:.0f} {unit} {name}" if unit == PERCENT else f"{name} {value:.1f} {unit} ago".strip()


def _incidents(alarms: list[AlarmState], now: datetime) -> Iterator[str]:
    counts = {alarm.summary: sum(now - moment < timedelta(days=1) for moment in alarm.openings) for alarm in alarms}
    recent = [f"{summary}{f' ({times} times)' if times > 1 else ''}" for summary, times in sorted(counts.items()) if times]
    still_open = sorted(alarm.summary for alarm in alarms if alarm.opened)
    yield f"Incidents of the last day: {'; '.join(recent) or 'none'}"
    if still_open:
        yield f"Still open: {'; '.join(still_open)}"
