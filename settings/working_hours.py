"""When an environment works, in UTC, and what of its schedules lies outside: there the database is stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dateutil.parser import isoparse
from dateutil.zoneinfo import get_zonefile_instance

from settings.schedules import DAYS, clock, fires, minute_of_day, window_minutes

WEEK = 7 * 1440
WARM_UP_MINUTES = 15  # RDS takes some minutes to start an instance: tasks come, and schedules may fire, so long after `starts`
SHORTEST_MINUTES = 120
# Any year, in the zone's own time.
A_YEAR = [isoparse(f"2027-{month:02}-{day:02}T12:00") for month in range(1, 13) for day in (1, 15)]
Span = tuple[int, int]  # start and length, in minutes of the week from Monday


def open_spans(days: Sequence[str], starts: str, ends: str, time_zone: str) -> list[list[Span]]:
    """When the database can be relied on, in UTC: for each difference that the zone has to UTC in a year, the spans of the week."""
    zone = get_zonefile_instance().get(time_zone)
    assert zone, time_zone  # values.TimeZone takes no other
    offsets = {int(zone.utcoffset(moment).total_seconds()) // 60 for moment in A_YEAR}
    first, last = minute_of_day(starts) + WARM_UP_MINUTES, minute_of_day(ends)
    return [[((DAYS.index(day.lower()) * 1440 + first - offset) % WEEK, last - first) for day in days] for offset in sorted(offsets)]


def fires_outside(cron: str, minutes: int, spans: list[list[Span]]) -> str | None:
    """The first time, such as `SAT 03:00`, at which what lasts so many minutes would not lie within; None when it always does."""
    return _first_outside(((day * 1440 + minute, minutes) for day, minute in sorted(fires(cron))), spans)


def window_outside(window: str, days: Sequence[str], spans: list[list[Span]]) -> str | None:
    """Likewise of a window of RDS, of each of `days` or of the week."""
    start, length = window_minutes(window)
    if window[0].isalpha():
        return _first_outside([(start, length)], spans)
    return _first_outside([(DAYS.index(day.lower()) * 1440 + start, length) for day in days], spans)


def longest_pause_hours(cron: str) -> float:
    """Between two firings, in a week."""
    moments = sorted(day * 1440 + minute for day, minute in fires(cron))
    return max((later - earlier) % WEEK or WEEK for earlier, later in zip(moments, [*moments[1:], moments[0]], strict=True)) / 60


def in_words(days: Sequence[str], spans: list[list[Span]]) -> str:
    """`MON, TUE 07:15 to 19:00 UTC`: what lies within all year."""
    first, last = max(each[0][0] for each in spans), min(each[0][0] + each[0][1] for each in spans)
    return f"{', '.join(days)} {clock(first)} to {clock(last)} UTC"


def _first_outside(moments: Iterable[Span], spans: list[list[Span]]) -> str | None:
    return next(_outside(moments, spans), None)


def _outside(moments: Iterable[Span], spans: list[list[Span]]) -> Iterator[str]:
    for start, length in moments:
        if not all(any((start - opens) % WEEK + length <= lasts for opens, lasts in each) for each in spans):
            yield f"{DAYS[start // 1440].upper()} {clock(start)}"
