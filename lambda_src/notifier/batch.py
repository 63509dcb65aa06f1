"""Processing of one batch of the queue: e-mail and Slack messages, grouped. What cannot be delivered returns to the queue."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from notifier.clock import Clock
from notifier.events import Alarm, Notice, RecoveryCheck, read, recovery_check
from notifier.messages import Notification, NotificationFactory, emails, slack_posts
from notifier.slack import NotDelivered, Webhook
from notifier.store import AlertStore, Busy

FIRST_RETRY_SECONDS = 30
LAST_RETRY_SECONDS = 900
MAX_DELAY_SECONDS = 900  # of an SQS message, https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
Record = dict[str, Any]  # an SQS message as Lambda passes it; Powertools' batch utility would import asyncio and all its event classes
DELIVERY_ERRORS = (Busy, NotDelivered, BotoCoreError, ClientError)


@dataclass
class Task:
    """A notification to deliver, and the channels that have delivered it."""

    record: Record
    notification: Notification
    delivered: set[str]
    retry_after: float | None = None  # seconds, after a failure


class BatchProcessor:
    """Processes batches. `seconds_left` limits all waiting."""

    def __init__(
        self,
        *,
        store: AlertStore,
        factory: NotificationFactory,
        webhook: Webhook,
        sqs: Any,
        queue_url: str,
        sns: Any,
        email_topic: str,
        logger: Logger,
        clock: Clock,
        seconds_left: Callable[[], float],
    ) -> None:
        self._store, self._factory, self._webhook = store, factory, webhook
        self._sqs, self._queue_url, self._sns, self._email_topic = sqs, queue_url, sns, email_topic
        self._logger, self._clock, self._seconds_left = logger, clock, seconds_left
        self.sent = {"email": 0, "slack": 0}
        self.failed = 0

    def process(self, records: list[Record]) -> dict[str, list[dict[str, str]]]:
        """Deliver the records' notifications. Return the records to retry, each after a delay that doubles."""
        tasks: list[Task] = []
        retries: dict[str, tuple[Record, float]] = {}
        for record in records:
            try:
                task = self._task(record)
            except Exception as error:  # noqa: BLE001 (the rest of the batch must go on)
                self._logger.warning("message not processed; will be retried", reason=f"{type(error).__name__}: {error}")
                retries[record["messageId"]] = record, 0.0
            else:
                tasks += [task] if task else []
        self._deliver("email", tasks, self._send_emails)
        self._deliver("slack", tasks, self._send_to_slack)
        for task in tasks:
            if task.retry_after is not None:
                with contextlib.suppress(*DELIVERY_ERRORS):  # otherwise the lease expires
                    self._store.release(task.notification.key)
                retries[task.record["messageId"]] = task.record, task.retry_after
        self._delay(list(retries.values()))
        self.failed = len(retries)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in retries]}

    def _task(self, record: Record) -> Task | None:
        """The record's notification, claimed for this invocation; None if there is nothing to send."""
        now = self._clock.now()
        event = read(record["body"])
        decision = self._store.decide(event, now, self._factory.rules)
        if decision.check_at and decision.until and not isinstance(event, Notice):
            alarm = event.alarm if isinstance(event, RecoveryCheck) else event
            self._schedule_check(alarm, decision.until, (decision.check_at - now).total_seconds())
        if not decision.kind or (not isinstance(event, Notice) and self._is_quiet(decision.since)):
            return None
        delivered = self._store.claim(event.key, now, self._seconds_left())
        return Task(record, self._factory.create(event, decision), delivered)

    def _is_quiet(self, opened: datetime | None) -> bool:
        """Whether the incident began in the quiet period. The morning message reports it if it lasts."""
        period = self._store.quiet_period()
        return period is not None and period.covers(opened)

    def _schedule_check(self, alarm: Alarm, since: datetime, seconds: float) -> None:
        delay = min(MAX_DELAY_SECONDS, max(0, math.ceil(seconds)))
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=recovery_check(alarm, since), DelaySeconds=delay)

    def _deliver(self, channel: str, tasks: list[Task], send: Callable[[list[Notification]], Iterator[Sequence[Notification]]]) -> None:
        """`send` yields the notifications of each message that was sent. After a failure the rest is retried later."""
        remaining = {task.notification.key: task for task in tasks if channel not in task.delivered}
        try:
            for notifications in send([task.notification for task in remaining.values()]):
                for notification in notifications:
                    self._store.set_delivered(notification.key, channel)
                    remaining.pop(notification.key)
        except DELIVERY_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            self._logger.warning("not delivered; will be retried", channel=channel, notifications=len(remaining), reason=reason)
            for task in remaining.values():
                task.retry_after = max(task.retry_after or 0.0, error.retry_after if isinstance(error, NotDelivered) else 0.0)

    def _send_emails(self, notifications: list[Notification]) -> Iterator[Sequence[Notification]]:
        for email in emails(notifications, self._factory.environment):
            self._sns.publish(TopicArn=self._email_topic, Subject=email.subject, Message=email.text)
            self.sent["email"] += 1
            yield email.notifications

    def _send_to_slack(self, notifications: list[Notification]) -> Iterator[Sequence[Notification]]:
        for post in slack_posts(notifications, self._factory.environment):
            self.sent["slack"] += self._webhook.send(post, self._seconds_left)
            yield post.notifications

    def _delay(self, retries: list[tuple[Record, float]]) -> None:
        """Delay each retry longer than the last, and at least as long as Slack asks. If this fails, the visibility time-out applies."""
        for first in range(0, len(retries), 10):
            entries = [
                {
                    "Id": str(number),
                    "ReceiptHandle": record["receiptHandle"],
                    "VisibilityTimeout": retry_seconds(int(record["attributes"]["ApproximateReceiveCount"]), after),
                }
                for number, (record, after) in enumerate(retries[first : first + 10])
            ]
            with contextlib.suppress(BotoCoreError, ClientError):
                self._sqs.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def retry_seconds(attempt: int, minimum: float) -> int:
    """Seconds before the retry of the given attempt (the first is 1)."""
    doubled = FIRST_RETRY_SECONDS * 2 ** min(attempt - 1, 10)
    return int(min(LAST_RETRY_SECONDS, max(doubled, math.ceil(minimum))))
