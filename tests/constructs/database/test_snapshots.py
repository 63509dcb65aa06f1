from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.database.snapshots import DatabaseSnapshots
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, settings, stack, template
from tests.constructs.neighbours import REASON, ExistingNetwork, database, key, statements


def build(**changes: Any) -> Synthesized:
    one = stack()
    instance = database(one, ExistingNetwork(one))
    given = settings(database={"aws_backup_days": 35, **changes}).database
    DatabaseSnapshots(one, "Snapshots", settings=given, database=instance, key=key(one))
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build(aws_backup_schedule="cron(15 13 * * ? *)")


def test_daily_backups_are_kept_for_the_days_of_the_settings(built: Synthesized) -> None:
    (rule,) = only(built.resources("AWS::Backup::BackupPlan"))["BackupPlan"]["BackupPlanRule"]
    assert (rule["ScheduleExpression"], rule["Lifecycle"]) == ("cron(15 13 * * ? *)", {"DeleteAfterDays": 35})
    assert (rule["StartWindowMinutes"], rule["CompletionWindowMinutes"]) == (60, 480)
    selection = only(built.resources("AWS::Backup::BackupSelection"))["BackupSelection"]
    (name,) = built.resources("AWS::RDS::DBInstance")
    assert [arn["Fn::Join"][1][-1] for arn in selection["Resources"]] == [{"Ref": name[1:]}]


def test_vault_is_retained_locked_and_encrypted(built: Synthesized) -> None:
    (vault,) = built.resources("AWS::Backup::BackupVault").values()
    assert (vault["DeletionPolicy"], vault["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert vault["Properties"]["LockConfiguration"] == {"MinRetentionDays": 35}  # governance mode: no ChangeableForDays
    assert vault["Properties"]["EncryptionKeyArn"].startswith("arn:aws:kms:")


def test_unlocked_vault_records_the_reason() -> None:
    unlocked = build(aws_backup_lock=False, aws_backup_lock_opt_out_reason=REASON)
    (vault,) = unlocked.resources("AWS::Backup::BackupVault").values()
    assert "LockConfiguration" not in vault["Properties"]
    assert vault["Metadata"]["AwsBackupLockOptOut"] == REASON


def test_role_is_limited_to_the_instance_and_its_snapshots(built: Synthesized) -> None:
    assert "ManagedPolicyArns" not in by_id(built.resources("AWS::IAM::Role"), "/SnapshotsRole")["Properties"]
    by_sid = {statement["Sid"]: statement for statement in statements(built, "SnapshotsRole")}
    assert by_sid.keys() == {
        "DescribeDatabase",
        "CreateSnapshots",
        "DeleteSnapshots",
        "DescribeBackupVault",
        "DescribeKey",
        "CreateKeyGrantsForSnapshots",
    }
    assert "snapshot:awsbackup:*" in str(by_sid["DeleteSnapshots"]["Resource"])
    assert by_sid["CreateKeyGrantsForSnapshots"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert not [sid for sid, statement in by_sid.items() if statement["Resource"] == "*"]
