"""The scheduled restore drill: runs here if it fits, otherwise in a Fargate task with the same code (`python -m drill`)."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common.scrubbed_logs import scrubbed_logger

logger = scrubbed_logger(service="drill")
metrics = Metrics(namespace="Carmen", service="drill")

TIME_VARIABLE = "DRILL_SCHEDULED_TIME"


class DrillFailed(Exception):
    """The newest backup cannot be restored, or differs from its manifest. The report lists the problems."""


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Drill with the newest backup; the event's `time` names the report. Raises DrillFailed if the drill fails."""
    return run(event.get("time"), lambda: context.get_remaining_time_in_millis() / 1000)


def run(event_time: str | None, seconds_left: Any) -> dict[str, Any]:
    """Run one drill and emit its metrics, for the handler and the command line."""
    from common import aws
    from common.backup_manifest import scheduled_time, stamp_of
    from common.backup_signature import KmsSignatures
    from common.backup_store import BackupStore

    from drill import report as reports
    from drill.exercise import TooLarge, drill
    from drill.settings import Settings

    time = scheduled_time(event_time)
    stamp = stamp_of(time)
    metrics.add_dimension("Environment", os.environ.get("ENVIRONMENT", "local"))
    try:
        settings = Settings.from_environment()
        store = BackupStore(aws.client("s3"), settings.bucket, settings.key_arn, signatures=KmsSignatures(settings.key_arn))
        try:
            report = drill(store, settings, stamp, seconds_left)
        except TooLarge as reason:
            if seconds_left() is not None:
                return _hand_over(settings, stamp, time.isoformat(), str(reason))
            report = reports.Report(stamp=stamp, problems=[str(reason)])  # this is already the task
        key = reports.write(store, report)
        if report.result == reports.NOT_VERIFIABLE:
            return _not_verifiable(report, store.address(key))
        if not report.passed:
            backup = report.backup or "the newest backup"
            if report.result == reports.REMEDY:
                metrics.add_metric("DrillNeedsRemedy", MetricUnit.Count, 1)
            raise DrillFailed(
                f"The drill with {backup} failed ({report.result}): {'; '.join(report.problems)}. Report: {store.address(key)}"
            )
    except Exception as error:
        logger.exception("drill failed", stamp=stamp, error=f"{type(error).__name__}: {error}")
        metrics.add_metric("DrillFailed", MetricUnit.Count, 1)
        raise
    return _answer(report, key)


def _hand_over(settings: Any, stamp: str, time: str, reason: str) -> dict[str, Any]:
    from common.fargate import hand_over

    task = hand_over(settings.task, "drill", stamp, {TIME_VARIABLE: time}, reason)
    metrics.add_metric("DrillHandedOver", MetricUnit.Count, 1)
    logger.info("drill handed over to a task", reason=reason, task=task)
    return {"outcome": "handed over", "stamp": stamp, "task": task, "reason": reason}


def _not_verifiable(report: Any, address: str) -> dict[str, Any]:
    """The backup is not at fault, and another run would find the same: no error, but no passed drill either (alarm RestoreDrillAge)."""
    metrics.add_metric("DrillNotVerifiable", MetricUnit.Count, 1)
    logger.warning("drill: cannot be verified here", backup=report.backup, problems=report.problems, report=address)
    return {"outcome": report.result, "stamp": report.stamp, "report": address, "backup": report.backup, "seconds": report.seconds}


def _answer(report: Any, key: str) -> dict[str, Any]:
    metrics.add_metric("DrillSucceeded", MetricUnit.Count, 1)
    metrics.add_metric("DrillSeconds", MetricUnit.Seconds, report.seconds)
    metrics.add_metric("DrillRecoverySeconds", MetricUnit.Seconds, report.recovery_seconds)
    metrics.add_metric("DrillBackupAgeHours", MetricUnit.Count, report.backup_age_hours)
    answer = {"outcome": "passed", "stamp": report.stamp, "report": key, "backup": report.backup, "seconds": report.seconds}
    logger.info("drill passed", **answer)
    return answer
