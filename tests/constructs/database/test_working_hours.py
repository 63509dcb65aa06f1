from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.database.working_hours import DatabaseWorkingHours
from settings.sections import WorkingHours
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, alerting, stack, template
from tests.constructs.neighbours import ExistingNetwork, allowed, database

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI")


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    hours = WorkingHours.model_validate({"days": WEEKDAYS, "starts": "07:00", "ends": "19:00", "time_zone": "Europe/Berlin"})
    instance = database(one, ExistingNetwork(one))
    DatabaseWorkingHours(one, "WorkingHours", settings=hours, database=instance, alerting=alerting())
    return template(one)


@pytest.mark.parametrize(("name", "call", "time"), [("Start", "startDBInstance", "0 7"), ("Stop", "stopDBInstance", "0 19")])
def test_scheduler_starts_and_stops_the_instance(built: Synthesized, name: str, call: str, time: str) -> None:
    schedule = by_id(built.resources("AWS::Scheduler::Schedule"), f"/WorkingHours{name}")["Properties"]
    target = schedule["Target"]
    (instance,) = built.resources("AWS::RDS::DBInstance")
    assert schedule["ScheduleExpression"] == f"cron({time} ? * MON,TUE,WED,THU,FRI *)"
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert str(target["Arn"]).endswith(f"aws-sdk:rds:{call}']]}}")
    assert target["Input"] == {"Fn::Join": ["", ['{"DbInstanceIdentifier":"', {"Ref": instance[1:]}, '"}']]}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 7200


@pytest.mark.parametrize("name", ["Start", "Stop"])
def test_each_schedule_has_an_encrypted_dead_letter_queue(built: Synthesized, name: str) -> None:
    queues = {key: one for key, one in built.resources("AWS::SQS::Queue").items() if key.startswith(f"/WorkingHours{name}")}
    queue: dict[str, Any] = only(queues)
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 1_209_600)
    schedule = by_id(built.resources("AWS::Scheduler::Schedule"), f"/WorkingHours{name}")["Properties"]
    assert schedule["Target"]["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [next(iter(queues))[1:], "Arn"]}}


@pytest.mark.parametrize(("name", "action"), [("Start", "rds:StartDBInstance"), ("Stop", "rds:StopDBInstance")])
def test_each_role_may_call_one_action_on_the_instance(built: Synthesized, name: str, action: str) -> None:
    assert ":db:" in str(allowed(built, f"WorkingHours{name}Role", action)["Resource"])


def test_alarm_counts_missed_stops_and_starts_without_an_answer(built: Synthesized) -> None:
    alarm = only(built.resources("AWS::CloudWatch::Alarm"))
    expression = {one["Id"]: one.get("Expression") for one in alarm["Metrics"]}["watched"]
    assert expression == "FILL(stop, 0) + IF(FILL(answers, 0) < 1, FILL(start, 0), 0)"
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (1, "notBreaching")
    assert "docs/runbooks/working-hours.md" in alarm["AlarmDescription"]
