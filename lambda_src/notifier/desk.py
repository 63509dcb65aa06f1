"""One batch of the queue: what is worth telling goes to e-mail and to Slack, folded; what could not be told comes again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from notifier.events import Alarm, Notice, Recovery, read, reminder
from notifier.ledger import Busy, Ledger
from notifier.slack import Undelivered, Webhook
from notifier.telling import Telling, Wording, mails, posts

FIRST_RETRY_SECONDS = 30
LAST_RETRY_SECONDS = 900
LONGEST_DELAY_SECONDS = 900  # SQS: of a message, https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
Message = dict[str, Any]  # of SQS, as Lambda hands it over; Powertools' batches would bring asyncio and every event there is
CANNOT = (Busy, Undelivered, BotoCoreError, ClientError)


@dataclass
class Task:
    """A telling that is ours to tell, by the channels that have not told it yet."""

    record: Message
    telling: Telling
    told: set[str]
    after: float | None = None  # once it could not be told: how long somebody asked to wait


class Desk:
    """`seconds_left` bounds all waiting."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        wording: Wording,
        webhook: Webhook,
        sqs: Any,
        queue_url: str,
        sns: Any,
        people: str,
        logger: Logger,
        seconds_left: Callable[[], float],
    ) -> None:
        self._ledger, self._wording, self._webhook = ledger, wording, webhook
        self._sqs, self._queue_url, self._sns, self._people = sqs, queue_url, sns, people
        self._logger, self._seconds_left = logger, seconds_left
        self.sent = {"mail": 0, "slack": 0}
        self.failed = 0

    def work(self, records: list[Message]) -> dict[str, list[dict[str, str]]]:
        """Tells them; answers with those that are to come again, after a time that doubles."""
        tasks: list[Task] = []
        again: dict[str, tuple[Message, float]] = {}
        for record in records:
            try:
                task = self._take(record)
            except Exception as error:  # noqa: BLE001 (whatever it is, the others of the batch go on)
                self._logger.warning("not decided, comes again", reason=f"{type(error).__name__}: {error}")
                again[record["messageId"]] = record, 0.0
            else:
                tasks += [task] if task else []
        self._tell("mail", tasks, self._mail)
        self._tell("slack", tasks, self._slack)
        undone = [task for task in tasks if task.after is not None]
        for task in undone:
            with contextlib.suppress(*CANNOT):  # else the lease ends by itself
                self._ledger.release(task.telling.key)
        again |= {task.record["messageId"]: (task.record, task.after or 0.0) for task in undone}
        self._postpone(list(again.values()))
        self.failed = len(again)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in again]}

    def _take(self, record: Message) -> Task | None:
        """What is to be told of this message; claimed, so that nobody else does."""
        now = datetime.now(UTC)
        event = read(record["body"])
        verdict = self._ledger.verdict(event, now, self._wording.rules)
        if verdict.look_at and verdict.until and not isinstance(event, Notice):
            self._remind(event.alarm if isinstance(event, Recovery) else event, verdict.until, (verdict.look_at - now).total_seconds())
        if not verdict.tell or (not isinstance(event, Notice) and self._is_asleep(verdict.since)):
            return None
        told = self._ledger.claim(event.key, now, self._seconds_left())
        return Task(record, self._wording.of(event, verdict), told)

    def _is_asleep(self, opened: datetime | None) -> bool:
        """Whether the incident is one of the night, which the morning tells if it lasts."""
        quiet = self._ledger.quiet()
        return quiet is not None and quiet.covers(opened)

    def _remind(self, alarm: Alarm, since: datetime, seconds: float) -> None:
        delay = min(LONGEST_DELAY_SECONDS, max(0, math.ceil(seconds)))
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=reminder(alarm, since), DelaySeconds=delay)

    def _tell(self, channel: str, tasks: list[Task], send: Callable[[list[Telling]], Iterator[Sequence[Telling]]]) -> None:
        """`send` yields what it has told, message by message; what is left when it fails is told later."""
        left = {task.telling.key: task for task in tasks if channel not in task.told}
        try:
            for tellings in send([task.telling for task in left.values()]):
                for telling in tellings:
                    self._ledger.told(telling.key, channel)
                    left.pop(telling.key)
        except CANNOT as error:
            self._logger.warning("not told, comes again", channel=channel, tellings=len(left), reason=f"{type(error).__name__}: {error}")
            for task in left.values():
                task.after = max(task.after or 0.0, error.after if isinstance(error, Undelivered) else 0.0)

    def _mail(self, tellings: list[Telling]) -> Iterator[Sequence[Telling]]:
        for mail in mails(tellings, self._wording.environment):
            self._sns.publish(TopicArn=self._people, Subject=mail.subject, Message=mail.text)
            self.sent["mail"] += 1
            yield mail.tellings

    def _slack(self, tellings: list[Telling]) -> Iterator[Sequence[Telling]]:
        for post in posts(tellings, self._wording.environment):
            self.sent["slack"] += self._webhook.send(post, self._seconds_left)
            yield post.tellings

    def _postpone(self, again: list[tuple[Message, float]]) -> None:
        """Longer each time, and at least as long as Slack asked for; without this, for the queue's visibility time-out."""
        for first in range(0, len(again), 10):
            entries = [
                {
                    "Id": str(number),
                    "ReceiptHandle": record["receiptHandle"],
                    "VisibilityTimeout": retry_seconds(int(record["attributes"]["ApproximateReceiveCount"]), after),
                }
                for number, (record, after) in enumerate(again[first : first + 10])
            ]
            with contextlib.suppress(BotoCoreError, ClientError):
                self._sqs.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def retry_seconds(attempt: int, after: float) -> int:
    """Whole seconds until the next attempt, `attempt` being the first (1) or a later one."""
    doubled = FIRST_RETRY_SECONDS * 2 ** min(attempt - 1, 10)
    return int(min(LAST_RETRY_SECONDS, max(doubled, math.ceil(after))))
