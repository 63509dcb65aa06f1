from __future__ import annotations

from tests.conftest import Built, Variant, by_id, only

STACK = "CarmenProdData"
REASON = "A reason that is long enough to be one, for a test."


def test_there_are_none_by_default(built: Built) -> None:
    for kind in ("BackupVault", "BackupPlan", "BackupSelection"):
        assert not built.resources(f"AWS::Backup::{kind}")


def test_the_database_is_kept_daily_for_as_long_as_the_settings_say(variant: Variant) -> None:
    with_snapshots = variant(database={"aws_backup_days": 35, "aws_backup_schedule": "cron(15 13 * * ? *)"})
    (rule,) = only(with_snapshots.resources("AWS::Backup::BackupPlan", STACK))["BackupPlan"]["BackupPlanRule"]
    assert (rule["ScheduleExpression"], rule["Lifecycle"]) == ("cron(15 13 * * ? *)", {"DeleteAfterDays": 35})
    selection = only(with_snapshots.resources("AWS::Backup::BackupSelection", STACK))["BackupSelection"]
    (name,) = with_snapshots.resources("AWS::RDS::DBInstance", STACK)
    assert [arn["Fn::Join"][1][-1] for arn in selection["Resources"]] == [{"Ref": name.split("/")[1]}]
    role = by_id(with_snapshots.resources("AWS::IAM::Role", STACK), "/SnapshotsRole")["Properties"]
    assert "ManagedPolicyArns" not in role


def test_the_vault_stays_is_locked_and_has_the_houses_key(variant: Variant) -> None:
    (vault,) = variant(database={"aws_backup_days": 35}).resources("AWS::Backup::BackupVault", STACK).values()
    assert (vault["DeletionPolicy"], vault["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert vault["Properties"]["LockConfiguration"] == {"MinRetentionDays": 35}  # no ChangeableForDays: governance
    assert "Key" in vault["Properties"]["EncryptionKeyArn"]["Fn::ImportValue"]


def test_a_vault_without_a_lock_says_why(variant: Variant) -> None:
    open_vault = variant(database={"aws_backup_days": 35, "aws_backup_lock": False, "aws_backup_lock_opt_out_reason": REASON})
    (vault,) = open_vault.resources("AWS::Backup::BackupVault", STACK).values()
    assert "LockConfiguration" not in vault["Properties"]
    assert vault["Metadata"]["AwsBackupLockOptOut"] == REASON
