"""Convert working hours to UTC and find schedules outside them, when the database is stopped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dateutil.parser import isoparse
from dateutil.zoneinfo import get_zonefile_instance

from settings.schedules import DAYS, fires, format_time, minute_of_day, window_minutes

WEEK = 7 * 1440
WARM_UP_MINUTES = 15  # RDS takes some minutes to start an instance; tasks and schedules start this long after `starts`
SHORTEST_MINUTES = 120
# Any year, in the zone's time.
A_YEAR = [isoparse(f"2027-{month:02}-{day:02}T12:00") for month in range(1, 13) for day in (1, 15)]
Span = tuple[int, int]  # start and length, in minutes of the week from Monday


def open_spans(days: Sequence[str], starts: str, ends: str, time_zone: str) -> list[list[Span]]:
    """When the database is available, in UTC: the spans of the week, once for each UTC offset that the zone has in a year."""
    zone = get_zonefile_instance().get(time_zone)
    assert zone, time_zone  # types.TimeZone accepts no other
    offsets = {int(zone.utcoffset(moment).total_seconds()) // 60 for moment in A_YEAR}
    first, last = minute_of_day(starts) + WARM_UP_MINUTES, minute_of_day(ends)
    return [[((DAYS.index(day.lower()) * 1440 + first - offset) % WEEK, last - first) for day in days] for offset in sorted(offsets)]


def fires_outside(cron: str, minutes: int, spans: list[list[Span]]) -> str | None:
    """The first time, such as `SAT 03:00`, at which a run of this length is not inside the spans; None if all are."""
    return _first_outside(((day * 1440 + minute, minutes) for day, minute in sorted(fires(cron))), spans)


def window_outside(window: str, days: Sequence[str], spans: list[list[Span]]) -> str | None:
    """The same for a window of RDS, either on each of `days` or once a week."""
    start, length = window_minutes(window)
    if window[0].isalpha():
        return _first_outside([(start, length)], spans)
    return _first_outside([(DAYS.index(day.lower()) * 1440 + start, length) for day in days], spans)


def longest_pause_hours(cron: str) -> float:
    """The longest time between two runs in a week."""
    moments = sorted(day * 1440 + minute for day, minute in fires(cron))
    return max((later - earlier) % WEEK or WEEK for earlier, later in zip(moments, [*moments[1:], moments[0]], strict=True)) / 60


def describe_spans(days: Sequence[str], spans: list[list[Span]]) -> str:
    """`MON, TUE 07:15 to 19:00 UTC`: the hours that are inside all year."""
    first, last = max(each[0][0] for each in spans), min(each[0][0] + each[0][1] for each in spans)
    return f"{', '.join(days)} {format_time(first)} to {format_time(last)} UTC"


def _first_outside(moments: Iterable[Span], spans: list[list[Span]]) -> str | None:
    for start, length in moments:
        if not all(any((start - opens) % WEEK + length <= lasts for opens, lasts in each) for each in spans):
            return f"{DAYS[start // 1440].upper()} {format_time(start)}"
    return None
