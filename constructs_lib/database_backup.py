"""The logical backup of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.alarm import Alerting
from constructs_lib.buckets import allow_key, allow_objects
from constructs_lib.database import PORT, Database
from constructs_lib.network import Network
from constructs_lib.python_function import PythonFunction
from environments import schema

TIERS = ("daily", "weekly", "monthly")
ROLE = "carmen_backup"


class DatabaseBackup(Construct):
    """Writes dumps and their manifests to the backup bucket: it adds and marks there, and neither deletes nor changes a lock.

    A database that does not fit Lambda's fifteen minutes fails with a message that says so; RDS's own point-in-time recovery
    stands beside it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: schema.Operations,
        network: Network,
        database: Database,
        bucket: s3.IBucket,
        key: kms.IKey,
        environment: Mapping[str, str],
        alerting: Alerting,
        layers: Sequence[lambda_.ILayerVersion],
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = PythonFunction(
            self,
            "Function",
            package="backup",
            description="Writes a verified logical backup of the database",
            timeout=Duration.minutes(15),
            memory_mib=3008,  # two processors: one dumps, one compresses
            layers=layers,
            environment={
                **environment,
                "BACKUP_WEEKLY_DAY": settings.weekly_backup_day,
                "BACKUP_MONTHLY_DAY": str(settings.monthly_backup_day),
            },
            alerting=alerting,
            network=network,
        )
        role = self.function.role
        assert isinstance(role, iam.Role)
        database.instance.grant_connect(role, ROLE)
        allow_objects(role, bucket, TIERS, "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging")
        allow_key(role, key.key_arn, Stack.of(self).region)
        self.function.connections.allow_to(database.connections, PORT, "Backup to PostgreSQL")
        self.function.run_at("Nightly", settings.backup_schedule, description="Backs the database up")
