from __future__ import annotations

from tests.conftest import Built
from tests.unit.conftest import Variant, by_id

STACK = "CarmenProdOperations"


def test_backup_and_maintenance_run_by_the_clock_with_what_they_need(built: Built) -> None:
    schedules = built.resources("AWS::Scheduler::Schedule", STACK)
    when = {name.split("/")[1][:-8]: schedule["Properties"]["ScheduleExpression"] for name, schedule in schedules.items()}
    assert when == {
        "BackupNightly": "cron(0 3 * * ? *)",
        "MaintenanceWeekly": "cron(0,20,40 6-7 ? * SUN *)",
        "MaintenanceMonthly": "cron(0,20,40 8 1 * ? *)",
        "RotationDaily": "cron(0 10 * * ? *)",
        "ProbeMinutely": "cron(* * * * ? *)",
        "ProbeAges": "cron(5/15 * * * ? *)",
        "RotationAges": "cron(5/15 * * * ? *)",
    }
    inputs = {name.split("/")[1][:-8]: schedule["Properties"]["Target"]["Input"] for name, schedule in schedules.items()}
    assert all('"time":"<aws.scheduler.scheduled-time>"' in given for given in inputs.values())
    assert '"kind":"weekly"' in inputs["MaintenanceWeekly"]
    assert '"kind":"monthly"' in inputs["MaintenanceMonthly"]
    assert '"action":"ages"' in inputs["ProbeAges"]


def test_the_backup_has_the_time_two_processors_and_the_client_tools(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/BackupFunction")["Properties"]
    assert (function["Timeout"], function["MemorySize"], function["Architectures"]) == (900, 3008, ["arm64"])
    assert len(function["Layers"]) == 2
    variables = function["Environment"]["Variables"]
    assert (variables["ENVIRONMENT"], variables["BACKUP_WEEKLY_DAY"], variables["BACKUP_MONTHLY_DAY"]) == ("prod", "SUN", "1")
    assert {"DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "BACKUP_BUCKET", "BACKUP_KEY_ARN"} <= variables.keys()


def test_schedules_are_settings(variant: Variant) -> None:
    built = variant(operations={"backup_schedule": "cron(15 22 * * ? *)"})
    nightly = by_id(built.resources("AWS::Scheduler::Schedule", STACK), "/BackupNightly")["Properties"]
    assert nightly["ScheduleExpression"] == "cron(15 22 * * ? *)"


def test_rotation_knows_whose_turn_it_is_and_what_to_roll(built: Built) -> None:
    variables = by_id(built.resources("AWS::Lambda::Function", STACK), "/RotationFunction")["Properties"]["Environment"]["Variables"]
    assert variables["ROTATE_AFTER_DAYS"] == '{"application": 30, "owner": 90, "redis": 90}'
    assert "carmen_app_a" in str(variables["APPLICATION_SECRETS"])
    assert "carmen_monitor_proxy" not in str(variables["APPLICATION_SECRETS"])
    assert {"CLUSTER", "SERVICE", "MIGRATION_FAMILY", "REPLICATION_GROUP", "CONNECTION_SECRET", "MIGRATION_SECRET"} <= variables.keys()


def test_the_probe_ends_before_it_begins_again(built: Built) -> None:
    assert by_id(built.resources("AWS::Lambda::Function", STACK), "/ProbeFunction")["Properties"]["Timeout"] == 50
