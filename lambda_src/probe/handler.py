"""Every minute: state and response time of proxy, database and Redis. Four times an hour: age of backups, drills and maintenance.

Publishes metrics; alarms evaluate them. A part that fails does not fail the function. Values without an alarm are fields of the log
line with the metrics, because each metric costs USD 0.30 a month.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws, tls
from common.scrubbed_logs import scrubbed_logger

from probe.measurements import Counters, Part, instance, proxy, redis, run
from probe.metric import Metric

SECONDS = 20.0  # for all parts, which run concurrently; the schedule's period is a minute
PART_SECONDS = 8.0

# Metrics of alarms, the dashboard and the digest. Each part also has `…Up`.
WATCHED = frozenset(
    [
        "DatabaseConnections", "DatabaseLongestTransaction", "DatabaseTransactionIdsUsed", "DatabaseDeadlocks", "DatabaseReplicationLag",
        "TablesBackupCannotRead", "BackupAgeHoursDaily", "BackupAgeHoursWeekly", "BackupAgeHoursMonthly", "BackupSizeOfMedian",
        "DrillAgeDays", "MaintenanceAgeDaysWeekly", "MaintenanceAgeDaysMonthly",
    ]
)  # fmt: skip

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="probe")
counters = Counters()  # for the life of the process, as is the cache of secrets
cached_secrets: dict[str, dict[str, str]] = {}


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Publish ages for `{"action": "ages"}`, otherwise probe. Return the errors by part."""
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    action = event.get("action", "probe")
    if action not in ("probe", "ages"):
        raise ValueError(f"The event's action is {action!r}; it must be one of probe, ages. The schedule in the Operations stack sets it.")
    parts = _ages() if action == "ages" else _probe()
    done = run(parts, min(SECONDS, context.get_remaining_time_in_millis() / 1000 - 2))
    for part in done:
        if action == "probe":
            metrics.add_metric(f"{part.name}Up", MetricUnit.Count, int(part.error is None))
        else:
            metrics.add_metadata(f"{part.name}Known", int(part.error is None))
        for metric in part.metrics:
            _publish(metric)
        if part.error:
            logger.error("measurement failed", part=part.name, reason=part.error)
    return {part.name: part.error for part in done if part.error}


def _probe() -> list[Part]:
    client, _ = aws.client("secretsmanager"), tls.proxy_context()  # create both before the threads start
    through_proxy = Part("Proxy", _with_fresh_secret(os.environ["MONITOR_PROXY_SECRET"], client, partial(proxy, seconds=PART_SECONDS)))
    return [
        *([through_proxy] if os.environ["PROXY_HOST"] else []),
        Part("Database", instance(counters, PART_SECONDS)),
        Part("Redis", _with_fresh_secret(os.environ["REDIS_SECRET"], client, partial(redis, counters=counters, seconds=PART_SECONDS))),
    ]


def _with_fresh_secret(arn: str, client: Any, part: Any) -> Any:
    """Measure with the cached secret; after a failure measure again with the current one, which may have been rotated."""
    from common import secrets

    def read() -> dict[str, str]:
        if arn not in cached_secrets:
            cached_secrets[arn] = secrets.read(arn, client)
        return cached_secrets[arn]

    def measure(found: list[Metric]) -> None:
        was_known = arn in cached_secrets
        try:
            part(read)(found)
        except Exception:
            cached_secrets.pop(arn, None)
            if not was_known:
                raise
            found.clear()
            part(read)(found)

    return measure


def _ages() -> list[Part]:
    """Separate parts: an unreadable report does not hide the age of the backups."""
    from datetime import UTC, datetime

    from common.backup_signature import KmsSignatures
    from common.backup_store import BackupStore

    from probe.ages import Ages

    secret = aws.client("secretsmanager").describe_secret(SecretId=os.environ["MONITOR_PROXY_SECRET"])
    signatures = KmsSignatures(os.environ["BACKUP_KEY_ARN"])
    store = BackupStore(aws.client("s3"), os.environ["BACKUP_BUCKET"], signatures=signatures)
    ages = Ages(store, datetime.now(UTC), secret["CreatedDate"])
    return [
        Part("BackupAge", ages.backups),
        Part("DrillAge", ages.drill),
        Part("MaintenanceAge", ages.maintenance),
    ]


def _publish(metric: Metric) -> None:
    if metric.name in WATCHED:
        metrics.add_metric(metric.name, MetricUnit(metric.unit), metric.value)
    else:
        metrics.add_metadata(metric.name, metric.value)
