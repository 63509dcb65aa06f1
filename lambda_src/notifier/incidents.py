"""Which changes of an alarm lead to a notification. Pure functions: alarm state and event in, new state and decision out.

An incident begins with the first ALARM and ends with a recovery that lasts. Messages may arrive twice, late and in the wrong
order. Each has the time of its change, and the newest change determines the state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from notifier.events import Alarm, RecoveryCheck

OPENINGS_KEPT = timedelta(days=1)  # for the digest; flapping looks back less
MAX_OPENINGS = 100
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rules:
    """A recovery counts after `settle`. `openings` within `window` are flapping, which ends after a quiet `window`."""

    settle: timedelta
    openings: int
    window: timedelta


@dataclass(frozen=True)
class AlarmState:
    """The known state of one alarm. `opened` is the start of the current incident."""

    state: str = "OK"
    changed: datetime = BEGINNING
    opened: datetime | None = None
    flapping: bool = False
    openings: tuple[datetime, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class Decision:
    """The kind of notification to send: `opened`, `flapping`, `recovered`, `notice`, or none.

    `since` is the time of the opening, `until` of the recovery, `check_at` when to check whether the recovery has lasted.
    """

    kind: str = ""
    since: datetime | None = None
    until: datetime | None = None
    times: int = 1
    check_at: datetime | None = None


@dataclass(frozen=True)
class QuietPeriod:
    """A time outside working hours. Without `until` it still lasts. Incidents that begin in it are not sent, nor are their recoveries."""

    since: datetime
    until: datetime | None = None

    def covers(self, opened: datetime | None) -> bool:
        """Whether an incident that began at `opened` belongs to this period."""
        return opened is not None and self.since <= opened and (self.until is None or opened < self.until)


def decide(state: AlarmState, event: Alarm | RecoveryCheck, now: datetime, rules: Rules) -> tuple[AlarmState, Decision]:
    """The state after `event`, and the decision about it."""
    if isinstance(event, RecoveryCheck):
        return _check_recovery(state, event.since, now, rules)
    state = replace(state, summary=event.summary)
    return _open(state, event.at, rules) if event.state == "ALARM" else _close(state, event.at, rules)


def _open(state: AlarmState, at: datetime, rules: Rules) -> tuple[AlarmState, Decision]:
    is_newest = at >= state.changed
    openings = state.openings if is_newest and state.state == "ALARM" else tuple(sorted({*state.openings, at}))
    openings = tuple(moment for moment in openings if at - moment < OPENINGS_KEPT)[-MAX_OPENINGS:]
    times = sum(at - moment < rules.window for moment in openings)
    flaps = times >= rules.openings
    kind = "flapping" if flaps and not state.flapping else "" if state.opened else "opened"
    after = replace(
        state,
        state="ALARM" if is_newest else state.state,
        changed=max(at, state.changed),
        opened=min(at, state.opened or at),
        flapping=state.flapping or flaps,
        openings=openings,
    )
    return after, replace(_pending_check(after, rules), kind=kind, since=at, times=times)


def _close(state: AlarmState, at: datetime, rules: Rules) -> tuple[AlarmState, Decision]:
    if at >= state.changed and (state.state == "ALARM" or state.opened is None):  # a recovery counts from its beginning
        state = replace(state, state="OK", changed=at)
    return state, _pending_check(state, rules)


def _check_recovery(state: AlarmState, since: datetime, now: datetime, rules: Rules) -> tuple[AlarmState, Decision]:
    pending = _pending_check(state, rules)
    if pending.check_at is None or pending.until != since:
        return state, Decision()  # the alarm opened again, or the recovery was sent already
    if now < pending.check_at:
        return state, pending
    assert state.opened
    times = max(1, sum(moment >= state.opened for moment in state.openings))
    return replace(state, opened=None, flapping=False), Decision("recovered", since=state.opened, until=since, times=times)


def _pending_check(state: AlarmState, rules: Rules) -> Decision:
    """A decision without notification, with a check if the incident may have ended."""
    if state.opened is None or state.state != "OK":
        return Decision()
    return Decision(until=state.changed, check_at=state.changed + (rules.window if state.flapping else rules.settle))
