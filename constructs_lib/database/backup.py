"""Logical backups of the database."""

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
from constructs_lib.storage.buckets import CopyDestination, allow_key, allow_objects, allow_signatures
from settings import sections
from settings.model import Settings

TIERS = ("daily", "weekly", "monthly")
ROLE = "carmen_backup"


class DatabaseBackup(Construct):
    """Writes dumps and their manifests to the backup bucket. It may add and tag objects, but neither delete them nor change their lock.

    Work that exceeds Lambda's fifteen minutes continues as a Fargate task with the same code. `copies`: where each backup is copied to.
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
            "BACKUP_BUCKET": bucket.bucket_name,
            "BACKUP_KEY_ARN": key.key_arn,
            **_backup_environment(settings.operations, copies),
        }
        self.function = self._define_function(environment, network, alerting, layers)
        self.task = self._define_task(settings.service, environment, cluster, network)
        for role in (self.function.execution_role, self.task.role):
            database.instance.grant_connect(role, ROLE)
            _allow_bucket(role, bucket, key.key_arn, Stack.of(self).region)
            allow_signatures(role, key.key_arn, "kms:Decrypt", "kms:Encrypt")
        if copies:
            self._allow_copies(copies)
        self.function.connections.allow_to(database.connections, PORT, "Backup to PostgreSQL")
        self._add_schedule(settings.operations)

    def _define_function(
        self, environment: Mapping[str, str], network: Network, alerting: Alerting, layers: Sequence[lambda_.ILayerVersion]
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="backup",
            description="Writes a verified logical backup of the database",
            timeout=Duration.minutes(15),
            memory_mib=3008,  # two vCPUs: one dumps, one compresses
            layers=layers,
            environment=environment,
            alerting=alerting,
            network=network,
        )

    def _define_task(
        self, settings: sections.Service, environment: Mapping[str, str], cluster: ecs.ICluster, network: Network
    ) -> FunctionTask:
        return FunctionTask(
            self,
            "Fargate",
            settings=settings,
            function=self.function,
            layers=[LIBRARIES, CLIENT_TOOLS],
            environment=environment,
            cluster=cluster,
            network=network,
            cpu=2048,
            memory_mib=4096,
        )

    def _allow_copies(self, copies: CopyDestination) -> None:
        """The same permissions as on the first bucket: copies are read back and tagged, never deleted."""
        bucket = s3.Bucket.from_bucket_name(self, "Copies", copies.bucket_name)
        for role in (self.function.execution_role, self.task.role):
            _allow_bucket(role, bucket, copies.key_arn, copies.region)

    def _add_schedule(self, settings: sections.Operations) -> None:
        if settings.scheduled_backups:
            self.function.add_schedule("Nightly", settings.backup_schedule, description="Nightly backup of the database")
        record_opt_outs(self.function, settings, "scheduled_backups")


def _backup_environment(settings: sections.Operations, copies: CopyDestination | None) -> dict[str, str]:
    destination = (
        {"BACKUP_COPY_BUCKET": copies.bucket_name, "BACKUP_COPY_REGION": copies.region, "BACKUP_COPY_KEY_ARN": copies.key_arn}
        if copies
        else {}
    )
    return {
        **destination,
        "BACKUP_FORMATS": ",".join(settings.backup_formats),
        "BACKUP_WEEKLY_DAY": settings.weekly_backup_day,
        "BACKUP_MONTHLY_DAY": str(settings.monthly_backup_day),
    }


def _allow_bucket(role: iam.Role, bucket: s3.IBucket, key_arn: str, region: str) -> None:
    allow_objects(role, bucket, TIERS, "s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging")
    allow_key(role, key_arn, region)
