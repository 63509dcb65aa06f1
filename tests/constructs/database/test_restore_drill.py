from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.database.restore_drill import RestoreDrill
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import (
    REASON,
    ExistingNetwork,
    bucket,
    cluster,
    key,
    schedules,
    statements,
    task_variables,
    variables,
)


def build(**operations: Any) -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    RestoreDrill(
        one,
        "Drill",
        settings=settings(operations=operations),
        network=network,
        cluster=cluster(one, network),
        bucket=bucket(one),
        key=key(one),
        alerting=alerting(),
        layers=[libraries(one)],
    )
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


def test_drill_cannot_connect_to_a_database(built: Synthesized) -> None:
    function = by_id(built.resources("AWS::Lambda::Function"), "/DrillFunction")["Properties"]
    assert "VpcConfig" not in function
    assert function["Environment"]["Variables"].keys() == {
        "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "ENVIRONMENT", "BACKUP_BUCKET", "BACKUP_KEY_ARN",
        "DRILL_TASK_CLUSTER", "DRILL_TASK_DEFINITION", "DRILL_TASK_SUBNETS", "DRILL_TASK_SECURITY_GROUPS",
    }  # fmt: skip
    for role in ("DrillFunctionRole", "DrillFargateTaskRole"):
        assert not [one for one in statements(built, role) if str(one["Action"]).startswith(("rds", "ec2"))]


def test_drill_has_time_storage_and_two_vcpus(built: Synthesized) -> None:
    function = by_id(built.resources("AWS::Lambda::Function"), "/DrillFunction")["Properties"]
    assert (function["Timeout"], function["MemorySize"], function["EphemeralStorage"]) == (900, 3008, {"Size": 10_240})
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    assert (task["Cpu"], task["Memory"], task["EphemeralStorage"]) == ("4096", "16384", {"SizeInGiB": 200})


def test_task_has_the_functions_variables_and_its_layers(built: Synthesized) -> None:
    in_task, in_function = task_variables(built), variables(built, "DrillFunction")
    assert (in_task["DRILL_JOBS"], in_task["DRILL_MEMORY_MB"], in_task["TASK_PACKAGE"]) == ("4", "16384", "drill")
    assert str(in_task["TASK_LAYERS"]).count(".zip") == 3  # libraries, client tools, server
    for name in ("ENVIRONMENT", "BACKUP_BUCKET", "BACKUP_KEY_ARN"):
        assert in_task[name] == in_function[name]


def test_drill_reads_backups_and_writes_reports(built: Synthesized) -> None:
    for role in ("DrillFunctionRole", "DrillFargateTaskRole"):
        found = {str(one["Action"]): str(one["Resource"]) for one in statements(built, role) if "s3:GetObject" in one["Action"]}
        assert "reports/drill/*" in found["['s3:GetObject', 's3:PutObject']"]
        assert all(f"{tier}/*" in found["s3:GetObject"] for tier in ("daily", "weekly", "monthly"))


def test_drill_runs_monthly_unless_opted_out(built: Synthesized) -> None:
    assert {name: expression for name, (expression, _) in schedules(built).items()} == {"DrillMonthly": "cron(0 4 2 * ? *)"}
    off = build(scheduled_backups=False, scheduled_backups_opt_out_reason=REASON)
    assert not schedules(off)
    assert by_id(off.resources("AWS::Lambda::Function"), "/DrillFunction")["Metadata"]["ScheduledBackupsOptOut"] == REASON


def test_drill_verifies_signatures_and_cannot_sign(built: Synthesized) -> None:
    for role in ("DrillFunctionRole", "DrillFargateTaskRole"):
        found = [one for one in statements(built, role) if "kms:EncryptionContext:purpose" in str(one.get("Condition"))]
        assert [one["Action"] for one in found] == ["kms:Decrypt"]


def test_no_other_process_of_the_task_has_the_credentials_address(built: Synthesized) -> None:
    """The drill's server has the same user. An init process would have the container's environment, and anyone of that user can read it."""
    (container,) = only(built.resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"]
    assert container["LinuxParameters"]["InitProcessEnabled"] is False
