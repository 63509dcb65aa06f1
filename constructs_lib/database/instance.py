"""The RDS PostgreSQL instance with the operations manual's parameters."""

from __future__ import annotations

from aws_cdk import CfnResource, Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs
from constructs_lib.foundation.log_retention import set_log_retention
from constructs_lib.foundation.secret import PUNCTUATION
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from settings import sections

DATABASE_NAME = "carmen"
LOG_EXPORTS = ("postgresql", "upgrade")
MASTER = "carmen_admin"
PORT = ec2.Port.tcp(5432)
# Retention that each mode of Database Insights includes.
RETENTION = {"standard": rds.PerformanceInsightRetention.DEFAULT, "advanced": rds.PerformanceInsightRetention.MONTHS_15}


class Database(Construct):
    """A protected, encrypted instance that accepts TLS connections only. Clients connect with `.connections`; `.instance` is the L2."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Database, network: Network, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._network = network
        self._key = key
        # Only the major version: a minor version would be a downgrade once RDS has upgraded the instance (ADR 0023).
        major = settings.engine_major
        self.engine = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.of(major, major))
        self.security_group = self._define_security_group()
        self.instance = self._define_instance()
        self.connections = ec2.Connections(security_groups=[self.security_group], default_port=PORT)
        self._set_log_retention()
        self._acknowledge_findings()

    @property
    def master_secret(self) -> rds.DatabaseSecret:
        """Only the database-roles function reads it."""
        secret = self.instance.node.find_child("Secret")
        assert isinstance(secret, rds.DatabaseSecret)
        return secret

    def _define_security_group(self) -> ec2.SecurityGroup:
        return ClosedSecurityGroup(
            self, "SecurityGroup", vpc=self._network.vpc, description="PostgreSQL: ingress from allowed security groups, no egress"
        )

    def _define_instance(self) -> rds.DatabaseInstance:
        settings = self._settings
        instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=self.engine,
            instance_type=ec2.InstanceType(settings.instance_class),
            database_name=DATABASE_NAME,
            credentials=rds.Credentials.from_generated_secret(MASTER, exclude_characters=PUNCTUATION),
            parameter_group=self._define_parameter_group(),
            vpc=self._network.vpc,
            vpc_subnets=self._network.isolated_subnets,
            security_groups=[self.security_group],
            publicly_accessible=False,
            multi_az=settings.multi_az,
            storage_type=rds.StorageType.GP3,
            allocated_storage=settings.storage_gib,
            max_allocated_storage=settings.max_storage_gib,
            storage_encrypted=True,
            storage_encryption_key=self._key,
            ca_certificate=rds.CaCertificate.RDS_CA_RSA2048_G1,
            iam_authentication=True,
            backup_retention=Duration.days(settings.point_in_time_days),
            preferred_backup_window=settings.backup_window,
            preferred_maintenance_window=settings.maintenance_window,
            copy_tags_to_snapshot=True,
            delete_automated_backups=False,
            auto_minor_version_upgrade=True,
            allow_major_version_upgrade=False,
            deletion_protection=settings.deletion_protection,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            enable_performance_insights=True,
            performance_insight_encryption_key=self._key,
            performance_insight_retention=RETENTION[settings.insights],
            database_insights_mode=rds.DatabaseInsightsMode[settings.insights.upper()],
            cloudwatch_logs_exports=list(LOG_EXPORTS),
        )
        secret = instance.node.find_child("Secret").node.default_child
        assert isinstance(secret, CfnResource)
        secret.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        secret.add_property_override("GenerateSecretString.ExcludePunctuation", True)  # see foundation/secret.py, PUNCTUATION
        return instance

    def _define_parameter_group(self) -> rds.ParameterGroup:
        return rds.ParameterGroup(
            self,
            "Parameters",
            engine=self.engine,
            description="PostgreSQL configuration of the operations manual",
            parameters=rds_parameters(self._settings.parameters),
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )

    def _set_log_retention(self) -> None:
        for export in LOG_EXPORTS:
            set_log_retention(
                self,
                f"{export.capitalize()}LogRetention",
                name=f"/aws/rds/instance/{self.instance.instance_identifier}/{export}",
                days=self._settings.log_retention_days,
            )

    def _acknowledge_findings(self) -> None:
        acknowledge(
            self.instance,
            {"AwsSolutions-RDS11": ("The manual and all clients use 5432; security groups, TLS and roles control access, not the port.")},
        )
        acknowledge(
            self.master_secret,
            {
                "AwsSolutions-SMG4": (
                    "Only the database-roles function uses it, at deployment and once a day; no person's or task's session depends on it."
                )
            },
        )
        rules = {"multi_az": "AwsSolutions-RDS3", "deletion_protection": "AwsSolutions-RDS10"}
        acknowledge(self.instance, {rules[key]: reason for key, reason in self._settings.opt_outs(*rules).items()})
        record_opt_outs(self.instance, self._settings, *rules, "proxy")


def rds_parameters(parameters: sections.DatabaseParameters) -> dict[str, str]:
    """The manual's configuration in RDS's units (8 kB pages, kB, ms, bytes, 0/1).

    Memory parameters have the configured value on the smallest instance class and grow by RDS's formulas on larger ones.
    Source: manual "PostgreSQL Configuration"; AWS "Specifying DB parameters" (formulas and GREATEST).
    """
    pages_per_mb = 1024 // 8
    return {
        "shared_buffers": f"GREATEST({{DBInstanceClassMemory/32768}},{parameters.shared_buffers_mb * pages_per_mb})",
        "effective_cache_size": f"GREATEST({{DBInstanceClassMemory/16384}},{parameters.effective_cache_size_mb * pages_per_mb})",
        "maintenance_work_mem": f"GREATEST({{DBInstanceClassMemory*1024/63963136}},{parameters.maintenance_work_mem_mb * 1024})",
        "checkpoint_completion_target": str(parameters.checkpoint_completion_target),
        "wal_buffers": str(parameters.wal_buffers_mb * pages_per_mb),
        "max_connections": str(parameters.max_connections),
        "shared_preload_libraries": ",".join(parameters.shared_preload_libraries),
        "log_statement": parameters.log_statement,
        "log_min_duration_statement": str(parameters.log_min_duration_statement_ms),
        "log_checkpoints": _on(parameters.log_checkpoints),
        "log_lock_waits": _on(parameters.log_lock_waits),
        "track_activity_query_size": str(parameters.track_activity_query_size),
        "track_functions": parameters.track_functions,
        "track_io_timing": _on(parameters.track_io_timing),
        "rds.force_ssl": "1",
    }


def _on(value: bool) -> str:
    return "1" if value else "0"
