"""When a change of an alarm is worth a message. Pure: the record of an alarm before, what happened, the record after.

An incident begins with the first ALARM and ends with a recovery that has lasted. Messages may arrive twice, late, and in the
wrong order; each bears the time of its change, and the newest change decides what the state is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from notifier.events import Alarm, Recovery

REMEMBERED = timedelta(days=1)  # of openings; the digest tells them, and flapping looks back less
MOST_REMEMBERED = 100
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rules:
    """`settle`: how long a recovery lasts to be told. `openings` within `window` are flapping, which ends when `window` was quiet."""

    settle: timedelta
    openings: int
    window: timedelta


@dataclass(frozen=True)
class Record:
    """What is known of one alarm. `opened` is when the incident that goes on began."""

    state: str = "OK"
    changed: datetime = BEGINNING
    opened: datetime | None = None
    flapping: bool = False
    openings: tuple[datetime, ...] = ()
    sentence: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is told: `opened`, `flapping`, `recovered`, `notice`, or nothing.

    `since` is when it opened, `until` when it recovered; `look_at`, when to look whether that has lasted.
    """

    tell: str = ""
    since: datetime | None = None
    until: datetime | None = None
    times: int = 1
    look_at: datetime | None = None


@dataclass(frozen=True)
class Quiet:
    """A time outside working hours, until now if `until` is None: what opens in it is not told, nor that it is over."""

    since: datetime
    until: datetime | None = None

    def covers(self, opened: datetime | None) -> bool:
        """Whether an incident that opened then is one of this time."""
        return opened is not None and self.since <= opened and (self.until is None or opened < self.until)


def judge(record: Record, event: Alarm | Recovery, now: datetime, rules: Rules) -> tuple[Record, Verdict]:
    """The record after `event`, and what is to be told of it."""
    if isinstance(event, Recovery):
        return _lasted(record, event.since, now, rules)
    record = replace(record, sentence=event.sentence)
    return _opened(record, event.at, rules) if event.state == "ALARM" else _closed(record, event.at, rules)


def _opened(record: Record, at: datetime, rules: Rules) -> tuple[Record, Verdict]:
    is_newest = at >= record.changed
    openings = record.openings if is_newest and record.state == "ALARM" else tuple(sorted({*record.openings, at}))
    openings = tuple(moment for moment in openings if at - moment < REMEMBERED)[-MOST_REMEMBERED:]
    times = sum(at - moment < rules.window for moment in openings)
    flaps = times >= rules.openings
    tell = "flapping" if flaps and not record.flapping else "" if record.opened else "opened"
    after = replace(
        record,
        state="ALARM" if is_newest else record.state,
        changed=max(at, record.changed),
        opened=min(at, record.opened or at),
        flapping=record.flapping or flaps,
        openings=openings,
    )
    return after, replace(_waiting(after, rules), tell=tell, since=at, times=times)


def _closed(record: Record, at: datetime, rules: Rules) -> tuple[Record, Verdict]:
    if at >= record.changed and (record.state == "ALARM" or record.opened is None):  # a recovery counts from its beginning
        record = replace(record, state="OK", changed=at)
    return record, _waiting(record, rules)


def _lasted(record: Record, since: datetime, now: datetime, rules: Rules) -> tuple[Record, Verdict]:
    waiting = _waiting(record, rules)
    if waiting.look_at is None or waiting.until != since:
        return record, Verdict()  # it opened again, or was told already
    if now < waiting.look_at:
        return record, waiting
    assert record.opened
    times = max(1, sum(moment >= record.opened for moment in record.openings))
    return replace(record, opened=None, flapping=False), Verdict("recovered", since=record.opened, until=since, times=times)


def _waiting(record: Record, rules: Rules) -> Verdict:
    """Nothing to tell, but to look again if the incident may be over."""
    if record.opened is None or record.state != "OK":
        return Verdict()
    return Verdict(until=record.changed, look_at=record.changed + (rules.window if record.flapping else rules.settle))
