from __future__ import annotations

import pytest

from constructs_lib.database.instance import rds_parameters
from settings.sections import DatabaseParameters
from tests.conftest import Built, Variant, by_id, only

STACK = "CarmenProdData"


def test_the_instance_is_protected_encrypted_and_private(built: Built) -> None:
    (resource,) = built.resources("AWS::RDS::DBInstance", STACK).values()
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    instance = resource["Properties"]
    assert "DBInstanceIdentifier" not in instance  # a name of one's own makes every replacement fail
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
        "EngineVersion": "17.11",
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
    }
    assert {name: instance.get(name) for name in expected} == expected
    assert "KmsKeyId" in instance


@pytest.mark.parametrize(("major", "family"), [("15", "postgres15"), ("16", "postgres16"), ("18", "postgres18")])
def test_other_majors(variant: Variant, major: str, family: str) -> None:
    other = variant(database={"engine_major": major})
    assert only(other.resources("AWS::RDS::DBParameterGroup"))["Family"] == family
    assert only(other.resources("AWS::RDS::DBInstance"))["EngineVersion"].split(".")[0] == major


def test_advanced_insights_keep_what_is_paid_for(variant: Variant) -> None:
    instance = only(variant(database={"insights": "advanced"}).resources("AWS::RDS::DBInstance"))
    assert (instance["DatabaseInsightsMode"], instance["PerformanceInsightsRetentionPeriod"]) == ("advanced", 465)


def test_every_parameter_of_the_manual_in_rds_units() -> None:
    """The manual's values stand as the floor: with `max_connections` as the manual has it, nothing else differs."""
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


def test_the_deployed_group_has_them(built: Built) -> None:
    assert only(built.resources("AWS::RDS::DBParameterGroup", STACK))["Parameters"] == rds_parameters(DatabaseParameters())


def test_the_proxy_carries_the_manuals_pool(built: Built) -> None:
    proxy = only(built.resources("AWS::RDS::DBProxy", STACK))
    assert (proxy["RequireTLS"], proxy["IdleClientTimeout"], proxy["EngineFamily"]) == (True, 1800, "POSTGRESQL")
    assert [auth["IAMAuth"] for auth in proxy["Auth"]] == ["DISABLED"] * 3
    pool = only(built.resources("AWS::RDS::DBProxyTargetGroup", STACK))["ConnectionPoolConfigurationInfo"]
    assert pool == {"ConnectionBorrowTimeout": 2, "MaxConnectionsPercent": 90, "MaxIdleConnectionsPercent": 50}
    variables = by_id(built.resources("AWS::Lambda::Function", STACK), "DatabaseRolesFunction")["Properties"]["Environment"]["Variables"]
    assert (variables["CONNECTION_LIMIT"], variables["POOL_TIMEOUT_SECONDS"], variables["POOL_IDLE_SECONDS"]) == ("20", "2", "30")


def test_redis_is_encrypted_authenticated_and_fails_over(built: Built, variant: Variant) -> None:
    group = only(built.resources("AWS::ElastiCache::ReplicationGroup", STACK))
    expected = {
        "Engine": "valkey",
        "EngineVersion": "8.1",
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "AutomaticFailoverEnabled": True,
        "MultiAZEnabled": True,
        "NumCacheClusters": 2,
    }
    assert {name: group.get(name) for name in expected} == expected
    assert "NumNodeGroups" not in group  # cluster mode stays disabled: one URL is all a client needs
    assert str(group["AuthToken"]).count("{{resolve:secretsmanager:") == 1
    assert only(built.resources("AWS::ElastiCache::ParameterGroup", STACK))["Properties"] == {"maxmemory-policy": "allkeys-lru"}
    cache = {"replicas": 0, "replicas_opt_out_reason": "The cache refills itself, and nobody waits for it."}
    alone = only(variant(cache=cache).resources("AWS::ElastiCache::ReplicationGroup"))
    assert (alone["AutomaticFailoverEnabled"], alone["MultiAZEnabled"], alone["NumCacheClusters"]) == (False, False, 1)
    as_before = variant(cache={"engine": "redis"})
    group = only(as_before.resources("AWS::ElastiCache::ReplicationGroup"))
    assert (group["Engine"], group["EngineVersion"]) == ("redis", "7.1")
    assert only(as_before.resources("AWS::ElastiCache::ParameterGroup"))["CacheParameterGroupFamily"] == "redis7"


def test_generated_passwords_need_no_quoting(built: Built) -> None:
    secrets = [r["Properties"].get("GenerateSecretString") for r in built.resources("AWS::SecretsManager::Secret", STACK).values()]
    generated = [secret for secret in secrets if secret]
    assert len(generated) == 5  # master, two of the application, the proxy's monitor, Redis
    assert all(set("/:@%?#'\"\\ $") - {" "} <= set(secret["ExcludeCharacters"]) for secret in generated)


def test_connection_secrets_are_created_without_a_value(built: Built) -> None:
    secrets = built.resources("AWS::SecretsManager::Secret", STACK)
    for part in ("DatabaseRolesConnection", "DatabaseRolesMigrationConnection"):
        properties = by_id(secrets, f"/{part}")["Properties"]
        assert not {"SecretString", "GenerateSecretString"} & set(properties)


def test_roles_are_applied_when_their_specification_changes_and_daily(built: Built) -> None:
    resource = by_id(built.resources("Custom::DatabaseRoles", STACK), "Apply")
    assert len(resource["Properties"]["Specification"]) == 32
    assert resource["Properties"]["ServiceTimeout"] == "600"
    # Permissions and the way to the database must be there before the function is called.
    assert any("DefaultPolicy" in name for name in resource["DependsOn"])
    assert any("toCarmenProdDataDatabaseSecurityGroup" in name for name in resource["DependsOn"])
    schedule = only(built.resources("AWS::Scheduler::Schedule", STACK))
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == ("cron(30 0 * * ? *)", "Etc/UTC")
    assert "DeadLetterConfig" in schedule["Target"]


def test_the_roles_function_writes_two_secrets_and_reads_the_rest(built: Built) -> None:
    policy = by_id(built.resources("AWS::IAM::Policy", STACK), "DatabaseRolesFunctionRoleDefaultPolicy")["Properties"]
    statements = policy["PolicyDocument"]["Statement"]
    (write,) = [s for s in statements if "secretsmanager:PutSecretValue" in s["Action"]]
    assert len(write["Resource"]) == 2
    (read,) = [s for s in statements if "secretsmanager:GetSecretValue" in s["Action"]]
    assert len(read["Resource"]) == 7
    assert [s["Sid"] for s in statements if s["Resource"] == "*"] == ["SeeTheVpc", "NotByItsOwnCode"]
