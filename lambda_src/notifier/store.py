"""The table of alarms, decisions and deliveries. It ensures that each notification is sent once.

One transaction writes a decision and the alarm's new state, so each event leads to one decision. An invocation that receives the
event again finds the decision and delivers what is missing. During the delivery a lease excludes others; it expires by itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeVar

from notifier.events import Event, Notice, RecoveryCheck
from notifier.incidents import AlarmState, Decision, QuietPeriod, Rules, decide

EVENTS_KEPT = timedelta(days=30)  # longer than a message stays in the dead-letter queue
ALARMS_KEPT = timedelta(days=400)  # longer than an incident
ATTEMPTS = 8
CHANNELS = {"email", "slack"}
TIME_FIELDS = {"changed", "opened", "openings", "since", "until", "check_at"}
Stored = TypeVar("Stored", AlarmState, Decision, QuietPeriod)


class Busy(Exception):
    """Another invocation works on it. The queue delivers the message again."""


class AlertStore:
    """`table` has the keys `kind` and `id`, and deletes items at `expires`."""

    def __init__(self, table: str, client: Any) -> None:
        self._table, self._client = table, client
        self._conflicts = client.exceptions.TransactionCanceledException, client.exceptions.TransactionConflictException
        self._refused = client.exceptions.ConditionalCheckFailedException

    def decide(self, event: Event, now: datetime, rules: Rules) -> Decision:
        """The decision about `event`, made now or earlier. Raises Busy if others keep changing the alarm's state."""
        for _ in range(ATTEMPTS):
            if known := self._item("event", event.key):
                return _load(Decision, known["body"]["S"])
            if isinstance(event, Notice):
                decision, changes = Decision("notice"), []
            else:
                alarm = (event.alarm if isinstance(event, RecoveryCheck) else event).id
                stored = self._item("alarm", alarm)
                before = _load(AlarmState, stored["body"]["S"]) if stored else AlarmState()
                after, decision = decide(before, event, now, rules)
                if isinstance(event, RecoveryCheck) and not decision.kind:
                    return decision  # nothing has changed, and the same check may come again
                unchanged = (
                    {"ConditionExpression": "body = :body", "ExpressionAttributeValues": {":body": stored["body"]}}
                    if stored
                    else {"ConditionExpression": "attribute_not_exists(id)"}
                )
                changes = [self._put("alarm", alarm, after, now + ALARMS_KEPT, **unchanged)]
            changes.append(self._put("event", event.key, decision, now + EVENTS_KEPT, ConditionExpression="attribute_not_exists(id)"))
            try:
                self._client.transact_write_items(TransactItems=changes)
            except self._conflicts:
                continue
            return decision
        raise Busy(f"other invocations keep changing the state of {event.key}")

    def claim(self, key: str, now: datetime, seconds: float) -> set[str]:
        """Lease the event for `seconds`, and return the channels that have delivered it. Raises Busy during another lease."""
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
            if (delivered := _channels(refused.response.get("Item", {}))) >= CHANNELS:
                return delivered
            raise Busy(f"another invocation delivers {key}") from None
        return _channels(answer["Attributes"])

    def set_delivered(self, key: str, channel: str) -> None:
        self._update(key, "ADD delivered :channel", {":channel": {"SS": [channel]}})

    def release(self, key: str) -> None:
        """End the lease."""
        self._update(key, "REMOVE lease", {})

    def reserve_slot(self, channel: str, now: datetime, max_wait: float) -> float:
        """Reserve a second for one message, and return the seconds until then. Raises Busy if that exceeds `max_wait`."""
        at = now.timestamp()
        attempts = (
            ("SET lease = :next", "attribute_not_exists(lease) OR lease <= :now", {":next": at + 1, ":now": at}),
            ("SET lease = lease + :second", "lease <= :latest", {":second": 1.0, ":latest": at + max_wait}),
        )
        for change, condition, values in attempts:
            try:
                numbers = {name: _number(value) for name, value in values.items()}
                answer = self._update(channel, change, numbers, "slot", ConditionExpression=condition, ReturnValues="UPDATED_OLD")
            except self._refused:
                continue
            return max(0.0, float(answer.get("Attributes", {}).get("lease", {}).get("N", 0)) - at)
        raise Busy(f"{channel} has no free slot in the next {max_wait:.0f} s")

    def block(self, channel: str, now: datetime, seconds: float) -> None:
        """Let no invocation send for `seconds`."""
        self._update(channel, "SET lease = :until", {":until": _number(now.timestamp() + seconds)}, "slot")

    def set_quiet_period(self, since: datetime, until: datetime | None) -> None:
        """Replace the last quiet period."""
        item = self._put("quiet", "last", QuietPeriod(since, until), since + ALARMS_KEPT)
        self._client.put_item(**item["Put"])

    def quiet_period(self) -> QuietPeriod | None:
        """The last quiet period; None if there was none."""
        found = self._item("quiet", "last")
        return _load(QuietPeriod, found["body"]["S"]) if found else None

    def alarms(self) -> list[AlarmState]:
        """The state of every alarm that ever changed."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="kind = :alarm",
            ExpressionAttributeValues={":alarm": {"S": "alarm"}},
        )
        return [_load(AlarmState, item["body"]["S"]) for page in pages for item in page["Items"]]

    def _put(self, kind: str, key: str, body: AlarmState | Decision | QuietPeriod, expires: datetime, **condition: Any) -> dict[str, Any]:
        item = {
            **_key(kind, key),
            "body": {"S": json.dumps(asdict(body), default=datetime.isoformat)},
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
    return set(item.get("delivered", {}).get("SS", ()))


def _number(value: float) -> dict[str, str]:
    return {"N": f"{value:.3f}"}


def _load(kind: type[Stored], text: str) -> Stored:
    fields = json.loads(text)
    for name in TIME_FIELDS & fields.keys():
        value = fields[name]
        fields[name] = tuple(map(datetime.fromisoformat, value)) if isinstance(value, list) else value and datetime.fromisoformat(value)
    return kind(**fields)
