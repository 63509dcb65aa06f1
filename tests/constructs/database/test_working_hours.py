"""Working hours: what of a schedule lies within, and what the templates make of them."""

from __future__ import annotations

from typing import Any

import pytest

from settings.schedules import daily_cron, fires
from settings.working_hours import describe_spans, fires_outside, longest_pause_hours, open_spans, window_outside
from tests.conftest import Built, by_id, only

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI")
UTC_DAY = open_spans(WEEKDAYS, "07:00", "19:00", "Etc/UTC")


# When a schedule fires


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
def test_all_that_a_schedule_can_be(cron: str, days: Any, minutes: list[int]) -> None:
    assert fires(cron) == {(day, minute) for day in days for minute in minutes}


def test_a_schedule_that_never_rests_fires_in_every_minute() -> None:
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
def test_the_borders_of_a_day_belong_to_it(cron: str, minutes: int, outside: str | None) -> None:
    assert fires_outside(cron, minutes, UTC_DAY) == outside


def test_summer_time_counts_and_so_does_a_day_that_begins_on_the_one_before() -> None:
    berlin = open_spans(WEEKDAYS, "07:00", "19:00", "Europe/Berlin")
    assert describe_spans(WEEKDAYS, berlin) == "MON, TUE, WED, THU, FRI 06:15 to 17:00 UTC"
    assert [fires_outside(f"cron(30 {hour} ? * MON *)", 0, berlin) for hour in (5, 6, 16, 17)] == ["MON 05:30", None, None, "MON 17:30"]
    tokyo = open_spans(WEEKDAYS, "07:00", "19:00", "Asia/Tokyo")  # from 22:15 of the day before
    assert fires_outside("cron(30 22 ? * SUN-THU *)", 15, tokyo) is None
    assert fires_outside("cron(30 22 ? * MON-FRI *)", 15, tokyo) == "FRI 22:30"


def test_windows_are_looked_at_on_the_days_that_count() -> None:
    assert window_outside("17:00-17:30", WEEKDAYS, UTC_DAY) is None
    assert window_outside("18:45-19:15", WEEKDAYS, UTC_DAY) == "MON 18:45"
    assert window_outside("wed:18:00-wed:18:30", WEEKDAYS, UTC_DAY) is None
    assert window_outside("sat:18:00-sat:18:30", WEEKDAYS, UTC_DAY) == "SAT 18:00"


def test_the_longest_pause_goes_over_the_weekend() -> None:
    assert longest_pause_hours("cron(0 12 ? * MON-FRI *)") == 72
    assert longest_pause_hours("cron(0 12 * * ? *)") == 24
    assert longest_pause_hours("cron(0 12 ? * WED *)") == 168


def test_a_day_becomes_a_schedule() -> None:
    assert daily_cron("07:30", WEEKDAYS) == "cron(30 7 ? * MON,TUE,WED,THU,FRI *)"


# What the templates make of them


def test_no_task_runs_outside_and_in_the_morning_as_many_as_the_settings_say(built: Built) -> None:
    target = only(built.resources("AWS::ApplicationAutoScaling::ScalableTarget", "CarmenDevService"))
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    assert [(one["Schedule"], one["Timezone"], one["ScalableTargetAction"]) for one in target["ScheduledActions"]] == [
        ("cron(15 7 ? * MON,TUE,WED,THU,FRI *)", "Etc/UTC", {"MinCapacity": 1, "MaxCapacity": 2}),
        ("cron(0 19 ? * MON,TUE,WED,THU,FRI *)", "Etc/UTC", {"MinCapacity": 0, "MaxCapacity": 0}),
    ]


@pytest.mark.parametrize(("name", "call", "time"), [("Start", "startDBInstance", "0 7"), ("Stop", "stopDBInstance", "0 19")])
def test_the_database_is_started_and_stopped_by_the_scheduler_itself(built: Built, name: str, call: str, time: str) -> None:
    schedules = {
        key: one for key, one in built.resources("AWS::Scheduler::Schedule", "CarmenDevData").items() if f"WorkingHours{name}" in key
    }
    schedule = only(schedules)
    target = schedule["Target"]
    (instance,) = built.resources("AWS::RDS::DBInstance", "CarmenDevData")
    assert schedule["ScheduleExpression"] == f"cron({time} ? * MON,TUE,WED,THU,FRI *)"
    assert schedule["ScheduleExpressionTimezone"] == "Etc/UTC"
    assert str(target["Arn"]).endswith(f"aws-sdk:rds:{call}']]}}")
    assert target["Input"] == {"Fn::Join": ["", ['{"DbInstanceIdentifier":"', {"Ref": instance.split("/")[1]}, '"}']]}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 7200
    assert "DeadLetterConfig" in target


def test_the_notifier_keeps_quiet_from_the_evening_until_the_day_has_settled(built: Built) -> None:
    schedules = built.resources("AWS::Scheduler::Schedule", "CarmenDevAlerts")
    for name, time in (("Night", "0 19"), ("Morning", "45 7")):
        properties = by_id(schedules, f"Notifier{name}")["Properties"]
        assert properties["ScheduleExpression"] == f"cron({time} ? * MON,TUE,WED,THU,FRI *)"
        assert f'"action":"{name.lower()}"' in properties["Target"]["Input"]


def test_only_development_sleeps(built: Built) -> None:
    sleeping = {name.split("/")[0] for name in built.resources("AWS::Scheduler::Schedule") if "WorkingHours" in name}
    assert sleeping == {"CarmenDevData"}
