from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.database.instance import rds_parameters
from settings.sections import DatabaseParameters
from tests.conftest import only
from tests.constructs.conftest import Synthesized, stack, template
from tests.constructs.neighbours import REASON, ExistingNetwork, database


def build(**changes: Any) -> Synthesized:
    one = stack()
    database(one, ExistingNetwork(one), **changes)
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


def test_instance_is_protected_encrypted_and_private(built: Synthesized) -> None:
    (resource,) = built.resources("AWS::RDS::DBInstance").values()
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    instance = resource["Properties"]
    assert "DBInstanceIdentifier" not in instance  # with a fixed name, every replacement fails
    expected = {
        "StorageEncrypted": True,
        "DeletionProtection": True,
        "MultiAZ": True,
        "PubliclyAccessible": False,
        "StorageType": "gp3",
        "AllocatedStorage": "20",
        "MaxAllocatedStorage": 200,
        "BackupRetentionPeriod": 14,
        "PreferredBackupWindow": "02:00-02:30",
        "PreferredMaintenanceWindow": "sun:05:00-sun:06:00",
        "EnablePerformanceInsights": True,
        "PerformanceInsightsRetentionPeriod": 7,
        "DatabaseInsightsMode": "standard",
        "EnableCloudwatchLogsExports": ["postgresql", "upgrade"],
        "EnableIAMDatabaseAuthentication": True,
        "CopyTagsToSnapshot": True,
        "DeleteAutomatedBackups": False,
        "AllowMajorVersionUpgrade": False,
        "EngineVersion": "17",
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
    }
    assert {name: instance.get(name) for name in expected} == expected
    assert str(instance["KmsKeyId"]).startswith("arn:aws:kms:")
    assert instance["PerformanceInsightsKMSKeyId"] == instance["KmsKeyId"]


def test_instance_is_in_isolated_subnets_behind_a_closed_group(built: Synthesized) -> None:
    subnets = only(built.resources("AWS::RDS::DBSubnetGroup"))["SubnetIds"]
    assert subnets == ["subnet-isolated0", "subnet-isolated1", "subnet-isolated2"]
    group = only(built.resources("AWS::EC2::SecurityGroup"))
    assert "SecurityGroupIngress" not in group
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]


@pytest.mark.parametrize(("major", "family"), [("15", "postgres15"), ("16", "postgres16"), ("18", "postgres18")])
def test_engine_major_sets_version_and_parameter_family(major: str, family: str) -> None:
    other = build(engine_major=major)
    assert only(other.resources("AWS::RDS::DBParameterGroup"))["Family"] == family
    assert only(other.resources("AWS::RDS::DBInstance"))["EngineVersion"] == major


def test_advanced_insights_are_kept_15_months() -> None:
    instance = only(build(insights="advanced").resources("AWS::RDS::DBInstance"))
    assert (instance["DatabaseInsightsMode"], instance["PerformanceInsightsRetentionPeriod"]) == ("advanced", 465)


def test_opt_outs_are_recorded_with_their_reasons() -> None:
    off = {"multi_az": False, "multi_az_opt_out_reason": REASON, "deletion_protection": False, "deletion_protection_opt_out_reason": REASON}
    (instance,) = build(**off).resources("AWS::RDS::DBInstance").values()
    assert (instance["Properties"]["MultiAZ"], instance["Properties"]["DeletionProtection"]) == (False, False)
    recorded = {name: value for name, value in instance["Metadata"].items() if name.endswith("OptOut")}
    assert recorded == {"MultiAzOptOut": REASON, "DeletionProtectionOptOut": REASON}


def test_master_password_needs_no_quoting_and_is_retained(built: Synthesized) -> None:
    (secret,) = built.resources("AWS::SecretsManager::Secret").values()
    assert (secret["DeletionPolicy"], secret["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    generated = secret["Properties"]["GenerateSecretString"]
    assert set("/:@%?#'\"\\$") <= set(generated["ExcludeCharacters"])
    assert generated["ExcludePunctuation"] is True
    assert '"username":"carmen_admin"' in generated["SecretStringTemplate"]


def test_master_secret_is_the_instances_secret() -> None:
    one = stack()
    assert database(one, ExistingNetwork(one)).master_secret.node.path == "Test/Database/Instance/Secret"


def test_exported_logs_get_the_retention_of_the_settings(built: Synthesized) -> None:
    calls = [str(call["Properties"]["Create"]) for call in built.resources("Custom::AWS").values()]
    assert [sum(f"{export}" in call and '"retentionInDays":90' in call for call in calls) for export in ("postgresql", "upgrade")] == [1, 1]


def test_parameters_of_the_manual_in_rds_units() -> None:
    """The manual's values are the minimum; `max_connections` is set to the manual's value, which our default exceeds."""
    assert rds_parameters(DatabaseParameters(max_connections=100)) == {
        "shared_buffers": "GREATEST({DBInstanceClassMemory/32768},32768)",  # 256 MB in 8 kB pages
        "effective_cache_size": "GREATEST({DBInstanceClassMemory/16384},131072)",  # 1 GB in 8 kB pages
        "maintenance_work_mem": "GREATEST({DBInstanceClassMemory*1024/63963136},65536)",  # 64 MB in kB
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "2048",  # 16 MB in 8 kB pages
        "max_connections": "100",
        "shared_preload_libraries": "pg_stat_statements",
        "log_statement": "ddl",
        "log_min_duration_statement": "1000",
        "log_checkpoints": "1",
        "log_lock_waits": "1",
        "track_activity_query_size": "2048",
        "track_functions": "all",
        "track_io_timing": "1",
        "rds.force_ssl": "1",
    }


def test_parameter_group_has_the_parameters(built: Synthesized) -> None:
    (group,) = built.resources("AWS::RDS::DBParameterGroup").values()
    assert group["Properties"]["Parameters"] == rds_parameters(DatabaseParameters())
    assert group["DeletionPolicy"] == "RetainExceptOnCreate"
    (name,) = built.resources("AWS::RDS::DBParameterGroup")
    assert only(built.resources("AWS::RDS::DBInstance"))["DBParameterGroupName"] == {"Ref": name[1:]}
