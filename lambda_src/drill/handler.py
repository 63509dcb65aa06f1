"""Restores the newest backup on schedule, into a server of its own: here if it fits, else in a task (`python -m drill`)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common.scrubbed_logs import scrubbed_logger

logger = scrubbed_logger(service="drill")
metrics = Metrics(namespace="Carmen", service="drill")

TIME_VARIABLE = "DRILL_SCHEDULED_TIME"


class DrillFailed(Exception):
    """The newest backup could not be restored, or was not what it says. The report says what."""


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`time` of the event names the report. Raises DrillFailed when the drill did not pass."""
    return run(event.get("time"), lambda: context.get_remaining_time_in_millis() / 1000)


def run(scheduled_time: str | None, seconds_left: Any) -> dict[str, Any]:
    """One drill with its metrics; the handler's and the command line's."""
    from backup.manifest import stamp_of
    from common import aws

    from drill import report as reports
    from drill.exercise import TooLarge, drill
    from drill.settings import Settings

    time = datetime.fromisoformat(scheduled_time) if scheduled_time else datetime.now(UTC)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    stamp = stamp_of(time)
    metrics.add_dimension("Environment", os.environ.get("ENVIRONMENT", "local"))
    try:
        settings = Settings.from_environment()
        s3 = aws.client("s3")
        try:
            report = drill(s3, settings, stamp, seconds_left)
        except TooLarge as reason:
            if seconds_left() is not None:
                return _hand_over(settings, stamp, time, str(reason))
            report = reports.Report(stamp=stamp, problems=[str(reason)])  # this is the task it would be handed over to
        key = reports.write(s3, settings, report)
        if not report.passed:
            raise DrillFailed(f"the drill with {report.backup or 'no backup'} failed: {'; '.join(report.problems)}. Report: {key}")
    except Exception as error:
        logger.exception("no backup was proved", stamp=stamp, error=f"{type(error).__name__}: {error}")
        metrics.add_metric("DrillFailed", MetricUnit.Count, 1)
        raise
    return _answer(report, key)


def _hand_over(settings: Any, stamp: str, time: datetime, reason: str) -> dict[str, Any]:
    from common.fargate import hand_over

    task = hand_over(settings.task, "drill", stamp, {TIME_VARIABLE: time.isoformat()}, reason)
    metrics.add_metric("DrillHandedOver", MetricUnit.Count, 1)
    logger.info("handed over to a task", reason=reason, task=task)
    return {"outcome": "handed over", "stamp": stamp, "task": task, "reason": reason}


def _answer(report: Any, key: str) -> dict[str, Any]:
    metrics.add_metric("DrillSucceeded", MetricUnit.Count, 1)
    metrics.add_metric("DrillSeconds", MetricUnit.Seconds, report.seconds)
    metrics.add_metric("DrillRecoverySeconds", MetricUnit.Seconds, report.recovery_seconds)
    metrics.add_metric("DrillBackupAgeHours", MetricUnit.Count, report.backup_age_hours)
    answer = {"outcome": "passed", "stamp": report.stamp, "report": key, "backup": report.backup, "seconds": report.seconds}
    logger.info("the newest backup can be restored", **answer)
    return answer
