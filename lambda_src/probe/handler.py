"""Every minute: do proxy, database and Redis answer, how fast, and how are they. Four times an hour: how old are backups and the rest.

Metrics, not messages: alarms decide what is bad. A part that fails is a finding, not a failure of the function. What no alarm watches
is a field of the log line that carries the metrics: each metric costs USD 0.30 a month.
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

from probe.measurements import Counters, Metric, Part, instance, proxy, redis, run

SECONDS = 20.0  # for the parts, which run at once; far below the schedule's minute
PART_SECONDS = 8.0

# Told by alarms, the dashboard or the digest. Beside these, each part's own `…Up`.
WATCHED = frozenset(
    [
        "DatabaseConnections", "DatabaseLongestTransaction", "DatabaseTransactionIdsUsed", "DatabaseDeadlocks", "DatabaseReplicationLag",
        "BackupAgeHoursDaily", "BackupAgeHoursWeekly", "BackupAgeHoursMonthly", "BackupSizeOfMedian",
        "DrillAgeDays", "MaintenanceAgeDaysWeekly", "MaintenanceAgeDaysMonthly",
    ]
)  # fmt: skip

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="probe")
counters = Counters()  # these two last as long as the process: that is what a delta and a cache need
cached_secrets: dict[str, dict[str, str]] = {}


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"action": "ages"}` four times an hour, else a probe; answers with what could not be measured."""
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    action = event.get("action", "probe")
    if action not in ("probe", "ages"):
        raise ValueError(f"The event's action is {action!r}: it is one of probe, ages. The schedule in CarmenProdOperations sets it.")
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
            logger.error("could not be measured", part=part.name, reason=part.error)
    return {part.name: part.error for part in done if part.error}


def _probe() -> list[Part]:
    client, _ = aws.client("secretsmanager"), tls.proxy_context()  # here: threads would each make their own
    through_proxy = Part("Proxy", _with_fresh_secret(os.environ["MONITOR_PROXY_SECRET"], client, partial(proxy, seconds=PART_SECONDS)))
    return [
        *([through_proxy] if os.environ["PROXY_HOST"] else []),
        Part("Database", instance(counters, PART_SECONDS)),
        Part("Redis", _with_fresh_secret(os.environ["REDIS_SECRET"], client, partial(redis, counters=counters, seconds=PART_SECONDS))),
    ]


def _with_fresh_secret(arn: str, client: Any, part: Any) -> Any:
    """Measures with the secret that is known; if that fails, once more with the one that is there now (it may have been rotated)."""
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
    """Each its own part too: one unreadable report does not hide the age of the backups."""
    import json
    from datetime import UTC, datetime

    from probe.ages import Ages

    secrets_manager = aws.client("secretsmanager")
    ages = Ages(
        s3=aws.client("s3"),
        secrets_manager=secrets_manager,
        bucket=os.environ["BACKUP_BUCKET"],
        reports=os.environ.get("REPORT_PREFIX", "reports"),
        now=datetime.now(UTC),
        environment_since=secrets_manager.describe_secret(SecretId=os.environ["MONITOR_PROXY_SECRET"])["CreatedDate"],
    )
    rotated = json.loads(os.environ.get("ROTATED_SECRETS", "{}"))
    return [
        Part("BackupAge", ages.backups),
        Part("DrillAge", ages.drill),
        Part("MaintenanceAge", ages.maintenance),
        Part("RotationAge", partial(ages.rotation, rotated=rotated)),
    ]


def _publish(metric: Metric) -> None:
    if metric.name in WATCHED:
        metrics.add_metric(metric.name, MetricUnit(metric.unit), metric.value)
    else:
        metrics.add_metadata(metric.name, metric.value)
