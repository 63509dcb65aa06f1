"""The logical backup of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.compute.function_task import FunctionTask
from constructs_lib.compute.python_function import CLIENT_TOOLS, LIBRARIES, PythonFunction
from constructs_lib.database.instance import PORT, Database
from constructs_lib.foundation.acknowledgements import record_opt_outs
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.network.vpc import Network
from constructs_lib.storage.buckets import CopyDestination, allow_key, allow_objects
from settings.model import Settings

TIERS = ("daily", "weekly", "monthly")
ROLE = "carmen_backup"


class DatabaseBackup(Construct):
    """Writes dumps and their manifests to the backup bucket: it adds and marks there, and neither deletes nor changes a lock.

    What does not fit Lambda's fifteen minutes goes on as a Fargate task with the same code. `copies`: where each backup goes
    once more.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        network: Network,
        cluster: ecs.ICluster,
        database: Database,
        bucket: s3.IBucket,
        key: kms.IKey,
        copies: CopyDestination | None,
        environment: Mapping[str, str],
        alerting: Alerting,
        layers: Sequence[lambda_.ILayerVersion],
    ) -> None:
        super().__init__(scope, construct_id)
        environment = {
            **environment,
            **(_where(copies) if copies else {}),
            "BACKUP_FORMATS": ",".join(settings.operations.backup_formats),
            "BACKUP_WEEKLY_DAY": settings.operations.weekly_backup_day,
            "BACKUP_MONTHLY_DAY": str(settings.operations.monthly_backup_day),
        }
        self.function = PythonFunction(
            self,
            "Function",
            package="backup",
            description="Writes a verified logical backup of the database",
            timeout=Duration.minutes(15),
            memory_mib=3008,  # two processors: one dumps, one compresses
            layers=layers,
            environment=environment,
            alerting=alerting,
            network=network,
        )
        self.task = FunctionTask(
            self,
            "Fargate",
            settings=settings.service,
            function=self.function,
            layers=[LIBRARIES, CLIENT_TOOLS],
            environment=environment,
            cluster=cluster,
            network=network,
            cpu=2048,
            memory_mib=4096,
        )
        for role in (self.function.execution_role, self.task.role):
            database.instance.grant_connect(role, ROLE)
            _allow(role, bucket, key.key_arn, Stack.of(self).region)
        if copies:
            self._allow_copies(copies)
        self.function.connections.allow_to(database.connections, PORT, "Backup to PostgreSQL")
        if settings.operations.scheduled_backups:
            self.function.add_schedule("Nightly", settings.operations.backup_schedule, description="Backs the database up")
        record_opt_outs(self.function, settings.operations, "scheduled_backups")

    def _allow_copies(self, copies: CopyDestination) -> None:
        """What it may there is what it may here: a copy is read back, marked and never deleted like its original."""
        bucket = s3.Bucket.from_bucket_name(self, "Copies", copies.bucket_name)
        for role in (self.function.execution_role, self.task.role):
            _allow(role, bucket, copies.key_arn, copies.region)


def _allow(role: iam.Role, bucket: s3.IBucket, key_arn: str, region: str) -> None:
    allow_objects(role, bucket, TIERS, "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging")
    allow_key(role, key_arn, region)


def _where(copies: CopyDestination) -> dict[str, str]:
    return {"BACKUP_COPY_BUCKET": copies.bucket_name, "BACKUP_COPY_REGION": copies.region, "BACKUP_COPY_KEY_ARN": copies.key_arn}
