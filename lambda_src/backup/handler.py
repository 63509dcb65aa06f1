"""The scheduled backup: runs here if it fits, otherwise in a Fargate task with the same code (`python -m backup`)."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common.backup_manifest import scheduled_time, stamp_of
from common.locks import Busy
from common.scrubbed_logs import scrubbed_logger

from backup.backup import Outcome, TooLong, back_up
from backup.dump import DeadlineExceeded
from backup.settings import Settings

TIME_VARIABLE = "BACKUP_SCHEDULED_TIME"

logger = scrubbed_logger(service="backup")
metrics = Metrics(namespace="Carmen", service="backup")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Make the backup of the event's `time`; the same time never makes a second one. Raises if there is none afterwards.

    The answer's `outcome` is "made", "already there" or "handed over" (to a task). Lambda retries after an error, which is
    right for Busy too.
    """
    return run(event.get("time"), lambda: context.get_remaining_time_in_millis() / 1000)


def run(event_time: str | None, seconds_left: Any) -> dict[str, Any]:
    """Make one backup and emit its metrics, for the handler and the command line."""
    stamp = ""
    metrics.add_dimension("Environment", os.environ.get("ENVIRONMENT", "local"))
    try:
        time = scheduled_time(event_time)
        stamp = stamp_of(time)
        settings = Settings.from_environment()
        try:
            outcome = back_up(settings, stamp, seconds_left)
        except (TooLong, DeadlineExceeded) as too_long:
            from common.fargate import hand_over

            task = hand_over(settings.task, "backup", stamp, {TIME_VARIABLE: time.isoformat()}, str(too_long))
            logger.info("backup handed over to a task", reason=str(too_long), task=task)
            metrics.add_metric("BackupHandedOver", MetricUnit.Count, 1)
            return {"outcome": "handed over", "stamp": stamp, "task": task, "reason": str(too_long)}
    except Busy as busy:
        logger.warning(str(busy))
        metrics.add_metric("BackupBusy", MetricUnit.Count, 1)
        raise
    except Exception as error:
        logger.exception("backup failed", stamp=stamp, error=f"{type(error).__name__}: {error}")
        metrics.add_metric("BackupFailed", MetricUnit.Count, 1)
        raise
    return _answer(outcome)


def _answer(outcome: Outcome) -> dict[str, Any]:
    made = outcome.manifest
    metrics.add_metric("BackupSucceeded", MetricUnit.Count, 1)
    if outcome.new:
        metrics.add_metric("BackupSeconds", MetricUnit.Seconds, made.seconds)
        metrics.add_metric("BackupDatabaseBytes", MetricUnit.Bytes, made.database_bytes)
        for name, file in made.files.items():
            metrics.add_metric(f"BackupBytes{name.title().replace('_', '')}", MetricUnit.Bytes, file.bytes)
    answer: dict[str, Any] = {
        "outcome": "made" if outcome.new else "already there",
        "stamp": made.stamp,
        "manifest": made.key,
        "written": outcome.written,
        "superseded": outcome.superseded,
        "seconds": made.seconds,
    }
    logger.info("backup complete", answer=answer)
    return answer
