from __future__ import annotations

import re
from typing import Any

import pytest

from constructs_lib.database.backup import DatabaseBackup
from constructs_lib.storage.buckets import CopyDestination
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import (
    REASON,
    ExistingNetwork,
    bucket,
    cluster,
    connections,
    database,
    key,
    schedules,
    statements,
    task_variables,
    variables,
)

COPIES = CopyDestination(bucket_name="copies", key_arn="arn:aws:kms:eu-west-1:123456789012:key/copies", region="eu-west-1")
WRITE = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"]


def build(copies: CopyDestination | None = None, **operations: Any) -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    instance = database(one, network)
    DatabaseBackup(
        one,
        "Backup",
        settings=settings(operations=operations),
        network=network,
        cluster=cluster(one, network),
        database=instance,
        bucket=bucket(one),
        key=key(one),
        copies=copies,
        environment={"ENVIRONMENT": "prod"},
        alerting=alerting(),
        layers=[libraries(one)],
    )
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


@pytest.fixture(scope="module")
def changed() -> Synthesized:
    return build(COPIES, backup_formats=["archive"], backup_schedule="cron(15 22 * * ? *)")


def test_backup_has_time_and_two_vcpus(built: Synthesized) -> None:
    function = by_id(built.resources("AWS::Lambda::Function"), "/BackupFunction")["Properties"]
    assert (function["Timeout"], function["MemorySize"], function["Architectures"]) == (900, 3008, ["arm64"])
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    assert (task["Cpu"], task["Memory"]) == ("2048", "4096")


def test_function_and_task_have_the_same_settings(built: Synthesized) -> None:
    in_function, in_task = variables(built, "BackupFunction"), task_variables(built)
    expected = {
        "ENVIRONMENT": "prod",
        "BACKUP_BUCKET": "backups",
        "BACKUP_KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/one",
        "BACKUP_WEEKLY_DAY": "SUN",
        "BACKUP_MONTHLY_DAY": "1",
        "BACKUP_FORMATS": "archive,sql_gz",
    }
    for given in (in_function, in_task):
        assert {name: given[name] for name in expected} == expected
        assert not [name for name in given if name.startswith("BACKUP_COPY_")]
    assert in_task["TASK_PACKAGE"] == "backup"
    assert str(in_task["TASK_LAYERS"]).count(".zip") == 2


def test_formats_and_copies_are_settings(changed: Synthesized) -> None:
    expected = {
        "BACKUP_FORMATS": "archive",
        "BACKUP_COPY_BUCKET": "copies",
        "BACKUP_COPY_REGION": "eu-west-1",
        "BACKUP_COPY_KEY_ARN": COPIES.key_arn,
    }
    for given in (variables(changed, "BackupFunction"), task_variables(changed)):
        assert {name: given[name] for name in expected} == expected


def test_backup_runs_nightly_unless_opted_out(built: Synthesized, changed: Synthesized) -> None:
    assert schedules(built)["BackupNightly"] == ("cron(0 3 * * ? *)", '{"source":"schedule","time":"<aws.scheduler.scheduled-time>"}')
    assert schedules(changed)["BackupNightly"][0] == "cron(15 22 * * ? *)"
    off = build(scheduled_backups=False, scheduled_backups_opt_out_reason=REASON)
    assert not schedules(off)
    assert by_id(off.resources("AWS::Lambda::Function"), "/BackupFunction")["Metadata"]["ScheduledBackupsOptOut"] == REASON


@pytest.mark.parametrize("role", ["BackupFunctionRole", "BackupFargateTaskRole"])
def test_backup_adds_and_tags_objects_but_deletes_nothing(changed: Synthesized, role: str) -> None:
    found = statements(changed, role)
    (write,) = [one for one in found if "s3:PutObject" in one["Action"]]
    assert write["Action"] == WRITE
    assert sorted(re.findall(r":::(\w+/\w+)/\*", str(write["Resource"]))) == [
        f"{name}/{tier}" for name in ("backups", "copies") for tier in ("daily", "monthly", "weekly")
    ]
    assert not [one for one in found if "s3:Delete" in str(one["Action"])]
    regions = [one["Condition"]["StringEquals"]["kms:ViaService"] for one in found if "kms:GenerateDataKey" in one["Action"]]
    assert regions == ["s3.us-east-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"]
    (connect,) = [one for one in found if one["Action"] == "rds-db:connect"]
    assert "carmen_backup" in str(connect["Resource"])


def test_backup_connects_to_the_instance(built: Synthesized) -> None:
    assert connections(built) == {("BackupFunction", "Database", 5432)}
