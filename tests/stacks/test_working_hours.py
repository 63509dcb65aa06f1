from __future__ import annotations

from tests.conftest import Built, by_id, only


def test_tasks_run_during_working_hours_only(built: Built) -> None:
    target = only(built.resources("AWS::ApplicationAutoScaling::ScalableTarget", "CarmenDevService"))
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    assert [(one["Schedule"], one["Timezone"], one["ScalableTargetAction"]) for one in target["ScheduledActions"]] == [
        ("cron(15 7 ? * MON,TUE,WED,THU,FRI *)", "Etc/UTC", {"MinCapacity": 1, "MaxCapacity": 2}),
        ("cron(0 19 ? * MON,TUE,WED,THU,FRI *)", "Etc/UTC", {"MinCapacity": 0, "MaxCapacity": 0}),
    ]


def test_notifier_pauses_until_45_minutes_after_the_start(built: Built) -> None:
    schedules = built.resources("AWS::Scheduler::Schedule", "CarmenDevAlerts")
    for name, time in (("Night", "0 19"), ("Morning", "45 7")):
        properties = by_id(schedules, f"Notifier{name}")["Properties"]
        assert properties["ScheduleExpression"] == f"cron({time} ? * MON,TUE,WED,THU,FRI *)"
        assert f'"action":"{name.lower()}"' in properties["Target"]["Input"]


def test_only_development_has_working_hours(built: Built) -> None:
    pausing = {name.split("/")[0] for name in built.resources("AWS::Scheduler::Schedule") if "WorkingHours" in name}
    assert pausing == {"CarmenDevData"}
