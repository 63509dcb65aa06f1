"""What has been told, and what each alarm was: the table that makes two invocations tell once.

A verdict is written with the alarm's record in one transaction, so that it is reached once; whoever meets the event again finds it,
and delivers what is not delivered yet. While somebody delivers, a lease keeps others away; it ends by itself if they die.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

from notifier.events import Alarm, Notice, Recovery
from notifier.incidents import Quiet, Record, Rules, Verdict, judge

EVENTS_KEPT = timedelta(days=30)  # longer than a message can wait among the dead letters
ALARMS_KEPT = timedelta(days=400)  # longer than an incident lasts
ATTEMPTS = 8
CHANNELS = {"mail", "slack"}
TIMES = {"changed", "opened", "openings", "since", "until", "look_at"}
Kept = TypeVar("Kept", Record, Verdict, Quiet)


class Busy(Exception):
    """Somebody else is at it; the queue brings it again."""


class Ledger:
    """`table` has the keys `kind` and `id`, and ends items at `expires`."""

    def __init__(self, table: str, client: Any) -> None:
        self._table, self._client = table, client
        self._conflicts = client.exceptions.TransactionCanceledException, client.exceptions.TransactionConflictException
        self._refused = client.exceptions.ConditionalCheckFailedException

    def verdict(self, event: Alarm | Recovery | Notice, now: datetime, rules: Rules) -> Verdict:
        """Reached now, or when the event came first. Raises Busy when others keep changing the alarm's record."""
        for _ in range(ATTEMPTS):
            if known := self._item("event", event.key):
                return _loaded(Verdict, known["body"]["S"])
            if isinstance(event, Notice):
                verdict, changes = Verdict("notice"), []
            else:
                alarm = (event.alarm if isinstance(event, Recovery) else event).id
                stored = self._item("alarm", alarm)
                before = _loaded(Record, stored["body"]["S"]) if stored else Record()
                after, verdict = judge(before, event, now, rules)
                if isinstance(event, Recovery) and not verdict.tell:
                    return verdict  # nothing has changed, and the same reminder may come again
                changes = [self._change_of(alarm, after, stored, now)]
            changes.append(self._put("event", event.key, verdict, now + EVENTS_KEPT, ConditionExpression="attribute_not_exists(id)"))
            try:
                self._client.transact_write_items(TransactItems=changes)
            except self._conflicts:
                continue
            return verdict
        raise Busy(f"others keep changing what is known of {event.key}")

    def claim(self, key: str, now: datetime, seconds: float) -> set[str]:
        """The channels that have told it already; nobody else may tell it for `seconds`. Raises Busy when somebody may."""
        try:
            answer = self._update(
                key,
                "SET lease = :until",
                {":until": _number(now.timestamp() + seconds), ":now": _number(now.timestamp())},
                ConditionExpression="attribute_not_exists(lease) OR lease < :now",
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._refused as refused:
            if (told := _channels(refused.response.get("Item", {}))) >= CHANNELS:
                return told
            raise Busy(f"{key} is being told by another invocation") from None
        return _channels(answer["Attributes"])

    def told(self, key: str, channel: str) -> None:
        self._update(key, "ADD told :channel", {":channel": {"SS": [channel]}})

    def release(self, key: str) -> None:
        """Lets the next one try at once."""
        self._update(key, "REMOVE lease", {})

    def slot(self, channel: str, now: datetime, patience: float) -> float:
        """Seconds to wait for a second in which nobody else sends; Busy when that is more than `patience`."""
        at = now.timestamp()
        turns = (
            ("SET lease = :next", "attribute_not_exists(lease) OR lease <= :now", {":next": at + 1, ":now": at}),
            ("SET lease = lease + :second", "lease <= :latest", {":second": 1.0, ":latest": at + patience}),
        )
        for change, condition, values in turns:
            try:
                numbers = {name: _number(value) for name, value in values.items()}
                answer = self._update(channel, change, numbers, "slot", ConditionExpression=condition, ReturnValues="UPDATED_OLD")
            except self._refused:
                continue
            return max(0.0, float(answer.get("Attributes", {}).get("lease", {}).get("N", 0)) - at)
        raise Busy(f"{channel} is not free for the next {patience:.0f} s")

    def hold(self, channel: str, now: datetime, seconds: float) -> None:
        """Nobody sends for `seconds`."""
        self._update(channel, "SET lease = :until", {":until": _number(now.timestamp() + seconds)}, "slot")

    def keep_quiet(self, since: datetime, until: datetime | None) -> None:
        """One quiet time is remembered: the last."""
        item = self._put("quiet", "last", Quiet(since, until), since + ALARMS_KEPT)
        self._client.put_item(**item["Put"])

    def quiet(self) -> Quiet | None:
        """The last one; None where nothing ever kept quiet."""
        found = self._item("quiet", "last")
        return _loaded(Quiet, found["body"]["S"]) if found else None

    def alarms(self) -> list[Record]:
        """Of all alarms that ever changed."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="kind = :alarm",
            ExpressionAttributeValues={":alarm": {"S": "alarm"}},
        )
        return [_loaded(Record, item["body"]["S"]) for page in pages for item in page["Items"]]

    def _change_of(self, alarm: str, after: Record, stored: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
        """Only if nobody has changed it since it was read."""
        condition = {
            "ConditionExpression": "body = :body",
            "ExpressionAttributeValues": {":body": (stored or {}).get("body", {"S": ""})},
        }
        return self._put(
            "alarm", alarm, after, now + ALARMS_KEPT, **(condition if stored else {"ConditionExpression": "attribute_not_exists(id)"})
        )

    def _put(self, kind: str, key: str, body: Record | Verdict | Quiet, expires: datetime, **condition: Any) -> dict[str, Any]:
        item = {
            **_key(kind, key),
            "body": {"S": json.dumps(asdict(body), default=_isoformat)},
            "expires": {"N": str(int(expires.timestamp()))},
        }
        return {"Put": {"TableName": self._table, "Item": item, **condition}}

    def _item(self, kind: str, key: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._client.get_item(TableName=self._table, Key=_key(kind, key), ConsistentRead=True).get("Item")
        return found

    def _update(self, key: str, change: str, values: dict[str, Any], kind: str = "event", **more: Any) -> dict[str, Any]:
        if values:
            more["ExpressionAttributeValues"] = values
        answer: dict[str, Any] = self._client.update_item(TableName=self._table, Key=_key(kind, key), UpdateExpression=change, **more)
        return answer


def _key(kind: str, key: str) -> dict[str, Any]:
    return {"kind": {"S": kind}, "id": {"S": key}}


def _channels(item: dict[str, Any]) -> set[str]:
    return set(item.get("told", {}).get("SS", ()))


def _number(value: float) -> dict[str, str]:
    return {"N": f"{value:.3f}"}


def _isoformat(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _loaded(kind: type[Kept], text: str) -> Kept:
    fields = json.loads(text)
    for name in TIMES & fields.keys():
        value = fields[name]
        fields[name] = tuple(map(datetime.fromisoformat, value)) if isinstance(value, list) else value and datetime.fromisoformat(value)
    return kind(**fields)
