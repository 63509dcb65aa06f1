from __future__ import annotations

import pytest

from constructs_lib.database.maintenance import DatabaseMaintenance
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import ExistingNetwork, allowed, bucket, connections, database, key, schedules, statements, variables


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    instance = database(one, network)
    DatabaseMaintenance(
        one,
        "Maintenance",
        settings=settings().operations,
        network=network,
        database=instance,
        bucket=bucket(one),
        key=key(one),
        environment={"ENVIRONMENT": "prod"},
        alerting=alerting(),
        layers=[libraries(one)],
    )
    return template(one)


def test_schedules_fire_several_times_with_their_kind(built: Synthesized) -> None:
    found = schedules(built)
    assert {name: expression for name, (expression, _) in found.items()} == {
        "MaintenanceWeekly": "cron(0,20,40 6-7 ? * SUN *)",
        "MaintenanceMonthly": "cron(0,20,40 8 1 * ? *)",
    }
    assert ['"kind":"weekly"' in found["MaintenanceWeekly"][1], '"kind":"monthly"' in found["MaintenanceMonthly"][1]] == [True, True]


def test_function_may_run_for_15_minutes(built: Synthesized) -> None:
    assert by_id(built.resources("AWS::Lambda::Function"), "/MaintenanceFunction")["Properties"]["Timeout"] == 900


def test_function_connects_with_its_two_roles(built: Synthesized) -> None:
    assert connections(built) == {("MaintenanceFunction", "Database", 5432)}
    connect = [str(one["Resource"]) for one in statements(built, "MaintenanceFunctionRole") if one["Action"] == "rds-db:connect"]
    assert [role in " ".join(connect) for role in ("carmen_maintenance", "carmen_monitor")] == [True, True]


def test_function_knows_the_bucket_of_its_reports(built: Synthesized) -> None:
    given = variables(built, "MaintenanceFunction")
    assert given["BACKUP_BUCKET"] == "backups"
    assert given["BACKUP_KEY_ARN"] == "arn:aws:kms:us-east-1:123456789012:key/one"


def test_function_writes_reports_only(built: Synthesized) -> None:
    write = allowed(built, "MaintenanceFunctionRole", "s3:PutObject")
    assert (write["Action"], "reports/maintenance/*" in str(write["Resource"])) == (["s3:GetObject", "s3:PutObject"], True)
