"""The restore drill: proves that the newest backup can be restored."""

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
from constructs_lib.compute.python_function import CLIENT_TOOLS, LIBRARIES, PythonFunction, drill_server_archive
from constructs_lib.database.backup import TIERS
from constructs_lib.foundation.acknowledgements import record_opt_outs
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.network.vpc import Network
from constructs_lib.storage.buckets import allow_key, allow_objects, allow_signatures
from settings import sections
from settings.model import Settings

REPORTS = "reports/drill"
SHARED_PACKAGES = ("backup", "restore")
TASK_CPU, TASK_MEMORY_MIB, TASK_STORAGE_GIB = 4096, 16_384, 200  # Fargate's maximum storage: a database of about 130 GB


class RestoreDrill(Construct):
    """Restores the newest backup into a temporary server and writes a report to the bucket. It cannot connect to any database.

    The function runs outside the VPC; work that exceeds its time or storage continues as a Fargate task.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        network: Network,
        cluster: ecs.ICluster,
        bucket: s3.IBucket,
        key: kms.IKey,
        alerting: Alerting,
        layers: Sequence[lambda_.ILayerVersion],
    ) -> None:
        super().__init__(scope, construct_id)
        environment = {"ENVIRONMENT": settings.name, "BACKUP_BUCKET": bucket.bucket_name, "BACKUP_KEY_ARN": key.key_arn}
        self.function = self._define_function(environment, alerting, layers)
        self.task = self._define_task(settings, environment, cluster, network)
        for role in (self.function.execution_role, self.task.role):
            self._allow_bucket(role, bucket, key)
            allow_signatures(role, key.key_arn, "kms:Decrypt")
        self._add_schedule(settings.operations)

    def _define_function(
        self, environment: Mapping[str, str], alerting: Alerting, layers: Sequence[lambda_.ILayerVersion]
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="drill",
            shared_packages=SHARED_PACKAGES,
            description="Restores the newest backup into a temporary server and compares",
            timeout=Duration.minutes(15),
            memory_mib=3008,  # two vCPUs, for the two jobs of the restore
            ephemeral_storage_mib=10_240,
            layers=layers,
            environment=environment,
            alerting=alerting,
        )

    def _define_task(self, settings: Settings, environment: Mapping[str, str], cluster: ecs.ICluster, network: Network) -> FunctionTask:
        return FunctionTask(
            self,
            "Fargate",
            settings=settings.service,
            function=self.function,
            shared_packages=SHARED_PACKAGES,
            layers=[LIBRARIES, CLIENT_TOOLS, drill_server_archive(settings.database.engine_major)],
            environment={**environment, "DRILL_JOBS": str(TASK_CPU // 1024), "DRILL_MEMORY_MB": str(TASK_MEMORY_MIB)},
            cluster=cluster,
            network=network,
            cpu=TASK_CPU,
            memory_mib=TASK_MEMORY_MIB,
            ephemeral_storage_gib=TASK_STORAGE_GIB,
            # The server of the drill runs as the same user, and could read an init process's environment, which names the credentials'
            # address. The drill's own process hides it (lambda_src/drill/server.py), and is the container's first one.
            init_process=False,
        )

    def _allow_bucket(self, role: iam.Role, bucket: s3.IBucket, key: kms.IKey) -> None:
        allow_objects(role, bucket, TIERS, "s3:GetObject")
        allow_objects(role, bucket, [REPORTS], "s3:GetObject", "s3:PutObject")
        allow_key(role, key.key_arn, Stack.of(self).region)

    def _add_schedule(self, settings: sections.Operations) -> None:
        if settings.scheduled_backups:
            self.function.add_schedule("Monthly", settings.drill_schedule, description="Restore drill")
        record_opt_outs(self.function, settings, "scheduled_backups")
