"""Working hours: what of a schedule lies within, what the templates make of them, and what people's tools do about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from settings.loader import load
from settings.schedules import daily_cron, fires
from settings.working_hours import describe_spans, fires_outside, longest_pause_hours, open_spans, window_outside
from tests.conftest import Built, by_id, only
from tools.cli.commands.buttons import scale_out
from tools.cli.commands.wake import expect_awake, expect_deployable, wake
from tools.environment import Deployed, NotDeployedError, RefusedError

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


# What people's tools do about them


@dataclass
class Account:
    """RDS and autoscaling of an environment whose database has this status; None: it is not deployed."""

    status: str | None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str, **options: Any) -> Account:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return {"DBInstances": [{"DBInstanceStatus": self.status}]}

        return call

    def get_waiter(self, name: str) -> Account:
        return self

    @property
    def started(self) -> bool:
        return "start_db_instance" in dict(self.calls)

    @property
    def tasks(self) -> list[tuple[int, int]]:
        return [(each["MinCapacity"], each["MaxCapacity"]) for name, each in self.calls if name == "register_scalable_target"]


class Sleeper(Deployed):
    """Deployed, as far as these tools look."""

    def output(self, key: str) -> str:
        return key

    def resource(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> str:
        if cast(Account, self.session).status is None:
            raise NotDeployedError("CarmenDevData is not there")
        return "database"


def deployed(status: str | None, name: str = "dev") -> tuple[Sleeper, Account]:
    account = Account(status)
    return Sleeper(load(name), account), account


@pytest.mark.parametrize("status", ["stopped", "stopping", "starting"])
def test_what_needs_the_database_is_refused_while_it_sleeps_and_says_what_to_do(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, account = deployed(status)
    for action in (expect_awake, expect_deployable):
        with pytest.raises(RefusedError) as refused:
            action(environment)
        assert str(refused.value) == (
            f"The database of dev is {status}: it works MON, TUE, WED, THU, FRI from 07:00 to 19:00 Etc/UTC. "
            "`make wake ENV=dev` starts it until the next evening."
        )
    monkeypatch.setenv("TASKS", "2")
    with pytest.raises(RefusedError, match="make wake ENV=dev"):
        scale_out(environment)
    assert account.tasks == []


@pytest.mark.parametrize(("name", "status"), [("dev", "available"), ("dev", "backing-up"), ("dev", None), ("prod", None)])
def test_awake_or_not_there_or_never_asleep_goes_on(name: str, status: str | None) -> None:
    expect_deployable(deployed(status, name)[0])


def test_waking_starts_what_is_stopped_and_lets_as_many_tasks_run_as_the_settings_say() -> None:
    environment, account = deployed("stopped")
    assert wake(environment) == "database is available, and 1 to 2 tasks run, until the next evening."
    assert (account.started, account.tasks) == (True, [(1, 2)])
    environment, account = deployed("available")
    wake(environment)
    assert (account.started, account.tasks) == (False, [(1, 2)])


def test_what_cannot_be_woken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError, match="try again in some minutes"):
        wake(deployed("stopping")[0])
    with pytest.raises(RefusedError, match=r"prod has no \[working_hours\], and never sleeps"):
        wake(deployed("available", "prod")[0])


def test_a_preview_is_deployed_by_its_own_target() -> None:
    with pytest.raises(RefusedError, match="`make preview NAME=pr-1` deploys it"):
        expect_deployable(deployed("available", "preview-pr-1")[0])
