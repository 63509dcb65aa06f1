"""Sends the queue's alarms and notices to Slack and e-mail. `{"action": "digest"}` puts the daily digest into the queue.

In an environment with working hours, `{"action": "night"}` begins a quiet period and `{"action": "morning"}` ends it. The morning
message reports the night's incidents that are still open.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws
from common.scrubbed_logs import scrubbed_logger

from notifier import digest
from notifier.batch import BatchProcessor
from notifier.clock import Clock
from notifier.events import notice
from notifier.incidents import Rules
from notifier.messages import NotificationFactory
from notifier.slack import Webhook
from notifier.store import AlertStore

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="notifier")
webhooks: dict[str, Webhook] = {}  # for the life of the process: a webhook caches its secret for some minutes
clock = Clock()


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Process a batch, and return the messages to retry; or run a scheduled action, and return its lines."""
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    if "Records" in event:
        return _process(event["Records"], context)
    actions = {"digest": _digest, "night": _night, "morning": _morning}
    if event.get("action") in actions:
        return actions[event["action"]](str(event.get("time", datetime.now(UTC).isoformat())))
    raise ValueError(
        f"The event has neither Records (from the queue) nor an action {', '.join(actions)} (from a schedule): {sorted(event)}"
    )


def _process(records: list[dict[str, Any]], context: LambdaContext) -> Any:
    store = _store()
    secret = os.environ["WEBHOOK_SECRET"]
    if secret not in webhooks:
        webhooks[secret] = Webhook(secret, aws.client("secretsmanager"), store, clock)
    processor = BatchProcessor(
        store=store,
        factory=_factory(),
        webhook=webhooks[secret],
        sqs=aws.client("sqs"),
        queue_url=os.environ["QUEUE_URL"],
        sns=aws.client("sns"),
        email_topic=os.environ["EMAIL_TOPIC"],
        logger=logger,
        clock=clock,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    answer = processor.process(records)
    metrics.add_metric("AlertsSent", MetricUnit.Count, sum(processor.sent.values()))
    metrics.add_metric("AlertsFailed", MetricUnit.Count, processor.failed)
    sent = processor.sent
    logger.info("batch processed", messages=len(records), emails=sent["email"], slack_posts=sent["slack"], retries=processor.failed)
    return answer


def _factory() -> NotificationFactory:
    environment = os.environ
    rules = Rules(
        settle=timedelta(seconds=int(environment["SETTLE_SECONDS"])),
        openings=int(environment["FLAPPING_OPENINGS"]),
        window=timedelta(minutes=int(environment["FLAPPING_MINUTES"])),
    )
    return NotificationFactory(environment["ENVIRONMENT"], environment["RUNBOOKS_URL"], rules)


def _digest(time: str) -> list[str]:
    """Put the digest into the queue. The same `time` again sends nothing."""
    lines = digest.lines(aws.client("cloudwatch"), _store().alarms(), os.environ["ENVIRONMENT"], datetime.now(UTC))
    _queue_notice(f"digest {time}", "Daily digest", lines)
    metrics.add_metric("DigestsMade", MetricUnit.Count, 1)
    return lines


def _night(time: str) -> list[str]:
    """Begin a quiet period at the scheduled time: this may run after the evening's first alarms."""
    _store().set_quiet_period(datetime.fromisoformat(time), None)
    return []


def _morning(time: str) -> list[str]:
    """End the quiet period. Put the incidents that are still open into the queue, if any."""
    store, now = _store(), datetime.fromisoformat(time)
    period = store.quiet_period()
    if period is None or period.until is not None:
        return []
    store.set_quiet_period(period.since, now)
    still_open = (alarm for alarm in store.alarms() if alarm.state == "ALARM" and period.covers(alarm.opened))
    lines = [f"Since {alarm.opened:%Y-%m-%d %H:%M} UTC: {alarm.summary}" for alarm in still_open]
    if lines:
        _queue_notice(f"morning {time}", "Incidents of the night that are still open", sorted(lines))
    return lines


def _store() -> AlertStore:
    return AlertStore(os.environ["TABLE"], aws.client("dynamodb"))


def _queue_notice(key: str, title: str, lines: list[str]) -> None:
    aws.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=notice(key, title, lines))
