"""Weekly and monthly maintenance of the database.

The schedule fires several times a night. Each run continues the cycle until it is finished.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import database, locks
from common.scrubbed_logs import scrubbed_logger

from maintenance.runner import Deadline, Outcome, Runner, Settings
from maintenance.state import CYCLE, ReportStore, State

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="maintenance")
SETTINGS = Settings()


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"kind": "weekly" | "monthly", "time": "<scheduled time>"}`. Publishes metrics. Failures are also raised."""
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    start = time.monotonic()
    try:
        answer = maintain(event, context.get_remaining_time_in_millis() / 1000)
    except locks.Busy as busy:
        logger.info("maintenance postponed", reason=str(busy))
        metrics.add_metric("MaintenanceBusy", MetricUnit.Count, 1)
        return {"finished": False, "reason": str(busy)}
    except Exception:
        metrics.add_metric("MaintenanceFailed", MetricUnit.Count, 1)
        raise
    finally:
        metrics.add_metric("MaintenanceDuration", MetricUnit.Seconds, time.monotonic() - start)
    logger.info("maintenance run ended", **answer)
    return answer


def maintain(event: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Run for at most `seconds`."""
    kind = event.get("kind")
    if kind not in CYCLE:
        raise ValueError(
            f"The event's kind is {kind!r}; it must be one of {', '.join(CYCLE)}. The schedule in the Operations stack sets it."
        )
    stamp = stamp_of(event)
    with (
        closing(database.connect_as("carmen_maintenance", timeout_seconds=None)) as writer,
        closing(database.connect_as("carmen_monitor", timeout_seconds=None)) as reader,
        closing(database.connect_as("carmen_maintenance", database=locks.DATABASE, timeout_seconds=None)) as guard,
        locks.exclusive(guard, f"maintenance {kind}"),
    ):
        store = ReportStore(os.environ["BACKUP_BUCKET"], kind, os.environ.get("BACKUP_KEY_ARN", ""))
        state = store.state()
        now: datetime = writer.run("SELECT clock_timestamp()")[0][0]
        if not state.begin_or_continue(kind, now):
            return {"finished": True, "reason": f"the cycle that began {state.cycle_started_at} is finished; the next is not due"}
        store.save(state)
        end = Deadline(seconds)
        deadline = end.earlier(SETTINGS.reserve_seconds)
        runner = Runner(writer, reader, settings=SETTINGS, state=state, deadline=deadline, save=lambda: store.save(state))
        outcome = runner.run(kind)
        if not outcome.remaining:
            state.finished_at = state.last_finished_at = writer.run("SELECT clock_timestamp()")[0][0].isoformat()
        report = _report(reader, end, store, state, outcome, kind, stamp)
        _publish(store, state, report)
    _add_metrics(report, outcome)
    return {"finished": bool(state.finished_at), "report": state.last_report} | {
        name: len(getattr(outcome, name)) for name in ("done", "skipped", "failed", "remaining")
    }


def stamp_of(event: dict[str, Any]) -> str:
    """The scheduled time in the form of object names."""
    when = datetime.fromisoformat(event["time"].replace("Z", "+00:00")) if event.get("time") else datetime.now(UTC)
    return when.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _report(reader: Any, deadline: Deadline, store: ReportStore, state: State, outcome: Outcome, kind: str, stamp: str) -> dict[str, Any]:
    from maintenance.facts import collect
    from maintenance.findings import findings

    before = store.read(state.previous_report)
    report: dict[str, Any] = {
        "version": 1,
        "kind": kind,
        "stamp": stamp,
        "environment": os.environ["ENVIRONMENT"],
        "cycle_started_at": state.cycle_started_at,
        "run": state.runs,
        "finished": bool(state.finished_at),
        "finished_at": state.finished_at or None,
        "before": state.previous_report or None,
        "work": asdict(outcome),
        "facts": collect(reader, before["facts"] if before else None, state.measured, deadline.earlier(5)),
    }
    return report | {"findings": findings(report)}


def _publish(store: ReportStore, state: State, report: dict[str, Any]) -> None:
    """Write the report, then the state, which names the report."""
    from maintenance.html_report import render

    state.last_report = store.publish(report["stamp"], report, render(report))
    store.save(state)


def _add_metrics(report: dict[str, Any], outcome: Outcome) -> None:
    metrics.add_metric("MaintenanceSucceeded", MetricUnit.Count, int(report["finished"]))
    metrics.add_metric("MaintenanceFailed", MetricUnit.Count, 0)
    for name in ("done", "skipped", "failed", "remaining"):
        metrics.add_metric(f"MaintenanceObjects{name.capitalize()}", MetricUnit.Count, len(getattr(outcome, name)))
    metrics.add_metric("MaintenanceLeftOversDropped", MetricUnit.Count, len(outcome.left_overs))
    metrics.add_metric("MaintenanceReclaimed", MetricUnit.Bytes, outcome.reclaimed_bytes)
    metrics.add_metric("MaintenanceFindings", MetricUnit.Count, len(report["findings"]))
