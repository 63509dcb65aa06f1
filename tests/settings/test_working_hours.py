from __future__ import annotations

from typing import Any

import pytest

from settings.schedules import daily_cron, fires
from settings.working_hours import describe_spans, fires_outside, longest_pause_hours, open_spans, window_outside

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI")
UTC_DAY = open_spans(WEEKDAYS, "07:00", "19:00", "Etc/UTC")


@pytest.mark.parametrize(
    ("cron", "days", "minutes"),
    [
        ("cron(30 7 ? * MON-FRI *)", range(5), [450]),
        ("cron(0,20 6-7 ? * SUN *)", [6], [360, 380, 420, 440]),
        ("cron(*/30 12 ? * 2,7 *)", [0, 5], [720, 750]),
        ("cron(50/5 0 1 * ? *)", range(7), [50, 55]),
        ("cron(0 15 ? * 3#1 *)", [1], [900]),
        ("cron(0 15 ? * 6L *)", [4], [900]),
        ("cron(0 15 ? * L *)", [5], [900]),
        ("cron(0 15 1W * ? *)", range(5), [900]),
        ("cron(0 15 L * ? *)", range(7), [900]),
    ],
)
def test_fires_understands_every_form_of_schedule(cron: str, days: Any, minutes: list[int]) -> None:
    assert fires(cron) == {(day, minute) for day in days for minute in minutes}


def test_schedule_with_wildcards_fires_every_minute() -> None:
    assert len(fires("cron(* * * * ? *)")) == 7 * 1440


@pytest.mark.parametrize(
    ("cron", "minutes", "outside"),
    [
        ("cron(15 7 ? * MON-FRI *)", 15, None),
        ("cron(14 7 ? * MON-FRI *)", 15, "MON 07:14"),
        ("cron(45 18 ? * FRI *)", 15, None),
        ("cron(46 18 ? * FRI *)", 15, "FRI 18:46"),
        ("cron(0 12 * * ? *)", 0, "SAT 12:00"),
    ],
)
def test_first_and_last_minute_are_within_working_hours(cron: str, minutes: int, outside: str | None) -> None:
    assert fires_outside(cron, minutes, UTC_DAY) == outside


def test_daylight_saving_and_previous_day_in_utc_count() -> None:
    berlin = open_spans(WEEKDAYS, "07:00", "19:00", "Europe/Berlin")
    assert describe_spans(WEEKDAYS, berlin) == "MON, TUE, WED, THU, FRI 06:15 to 17:00 UTC"
    assert [fires_outside(f"cron(30 {hour} ? * MON *)", 0, berlin) for hour in (5, 6, 16, 17)] == ["MON 05:30", None, None, "MON 17:30"]
    tokyo = open_spans(WEEKDAYS, "07:00", "19:00", "Asia/Tokyo")  # from 22:15 of the day before
    assert fires_outside("cron(30 22 ? * SUN-THU *)", 15, tokyo) is None
    assert fires_outside("cron(30 22 ? * MON-FRI *)", 15, tokyo) == "FRI 22:30"


def test_windows_outside_working_hours_are_found() -> None:
    assert window_outside("17:00-17:30", WEEKDAYS, UTC_DAY) is None
    assert window_outside("18:45-19:15", WEEKDAYS, UTC_DAY) == "MON 18:45"
    assert window_outside("wed:18:00-wed:18:30", WEEKDAYS, UTC_DAY) is None
    assert window_outside("sat:18:00-sat:18:30", WEEKDAYS, UTC_DAY) == "SAT 18:00"


def test_longest_pause_includes_the_weekend() -> None:
    assert longest_pause_hours("cron(0 12 ? * MON-FRI *)") == 72
    assert longest_pause_hours("cron(0 12 * * ? *)") == 24
    assert longest_pause_hours("cron(0 12 ? * WED *)") == 168


def test_daily_cron_fires_on_each_day() -> None:
    assert daily_cron("07:30", WEEKDAYS) == "cron(30 7 ? * MON,TUE,WED,THU,FRI *)"
