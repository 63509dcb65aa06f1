"""Tells people what alarms and other messages in the queue say; `{"action": "digest"}` puts the day's digest there."""

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
from notifier.desk import Desk
from notifier.events import notice
from notifier.incidents import Rules
from notifier.ledger import Ledger
from notifier.slack import Webhook
from notifier.telling import Wording

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="notifier")
webhooks: dict[str, Webhook] = {}  # as long as the process: it keeps the secret for some minutes


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """For a batch, which messages are to come again; for a digest, its lines."""
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    if "Records" in event:
        return _work(event["Records"], context)
    if event.get("action") == "digest":
        return _digest(str(event.get("time", datetime.now(UTC).isoformat())))
    raise ValueError(f"The event has neither Records (of the queue) nor the action digest (of the schedule): {sorted(event)}")


def _work(records: list[dict[str, Any]], context: LambdaContext) -> Any:
    ledger = Ledger(os.environ["TABLE"], aws.client("dynamodb"))
    secret = os.environ["WEBHOOK_SECRET"]
    if secret not in webhooks:
        webhooks[secret] = Webhook(secret, aws.client("secretsmanager"), ledger)
    desk = Desk(
        ledger=ledger,
        wording=_wording(),
        webhook=webhooks[secret],
        sqs=aws.client("sqs"),
        queue_url=os.environ["QUEUE_URL"],
        sns=aws.client("sns"),
        people=os.environ["PEOPLE_TOPIC"],
        logger=logger,
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    answer = desk.work(records)
    metrics.add_metric("AlertsSent", MetricUnit.Count, sum(desk.sent.values()))
    metrics.add_metric("AlertsFailed", MetricUnit.Count, desk.failed)
    logger.info("worked", messages=len(records), mails=desk.sent["mail"], posts=desk.sent["slack"], come_again=desk.failed)
    return answer


def _wording() -> Wording:
    environment = os.environ
    rules = Rules(
        settle=timedelta(seconds=int(environment["SETTLE_SECONDS"])),
        openings=int(environment["FLAPPING_OPENINGS"]),
        window=timedelta(minutes=int(environment["FLAPPING_MINUTES"])),
    )
    return Wording(environment["ENVIRONMENT"], environment.get("RUNBOOKS_URL", ""), rules)


def _digest(time: str) -> list[str]:
    """Through the queue, like everything else; the same time again is told once."""
    ledger = Ledger(os.environ["TABLE"], aws.client("dynamodb"))
    lines = digest.lines(aws.client("cloudwatch"), ledger.alarms(), os.environ["ENVIRONMENT"], datetime.now(UTC))
    aws.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=notice(f"digest {time}", "The last day", lines))
    metrics.add_metric("DigestsMade", MetricUnit.Count, 1)
    return lines
