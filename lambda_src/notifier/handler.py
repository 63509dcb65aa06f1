"""Tells people what alarms and other messages in the queue say; `{"action": "digest"}` puts the day's digest there.

Where an environment has working hours, `{"action": "night"}` begins a quiet time, and `{"action": "morning"}` ends it: what opened
in it and goes on is told then.
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
    actions = {"digest": _digest, "night": _night, "morning": _morning}
    if event.get("action") in actions:
        return actions[event["action"]](str(event.get("time", datetime.now(UTC).isoformat())))
    raise ValueError(f"The event has neither Records (of the queue) nor an action {', '.join(actions)} (of a schedule): {sorted(event)}")


def _work(records: list[dict[str, Any]], context: LambdaContext) -> Any:
    ledger = _ledger()
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
    ledger = _ledger()
    lines = digest.lines(aws.client("cloudwatch"), ledger.alarms(), os.environ["ENVIRONMENT"], datetime.now(UTC))
    _queue(f"digest {time}", "The last day", lines)
    metrics.add_metric("DigestsMade", MetricUnit.Count, 1)
    return lines


def _night(time: str) -> list[str]:
    """From the scheduled time on, not from when this runs: the first alarms of the evening may be earlier."""
    _ledger().keep_quiet(datetime.fromisoformat(time), None)
    return []


def _morning(time: str) -> list[str]:
    """Through the queue, like everything else; nothing where all is well."""
    ledger, now = _ledger(), datetime.fromisoformat(time)
    quiet = ledger.quiet()
    if quiet is None or quiet.until is not None:
        return []
    ledger.keep_quiet(quiet.since, now)
    lasting = (record for record in ledger.alarms() if record.state == "ALARM" and quiet.covers(record.opened))
    lines = [f"Since {record.opened:%Y-%m-%d %H:%M} UTC: {record.sentence}" for record in lasting]
    if lines:
        _queue(f"morning {time}", "The day begins, and not all is well", sorted(lines))
    return lines


def _ledger() -> Ledger:
    return Ledger(os.environ["TABLE"], aws.client("dynamodb"))


def _queue(key: str, title: str, lines: list[str]) -> None:
    aws.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=notice(key, title, lines))
