"""The operations manual's weekly and monthly maintenance, online and within Lambda's time limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.database.instance import PORT, Database
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.network.vpc import Network
from constructs_lib.storage.buckets import allow_key, allow_objects
from settings import sections

ROLES = ("carmen_maintenance", "carmen_monitor")  # the first runs maintenance, the second reads statistics


class DatabaseMaintenance(Construct):
    """Vacuums, reindexes and reports. Each schedule fires several times: a run continues where the last one stopped."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Operations,
        network: Network,
        database: Database,
        bucket: s3.IBucket,
        key: kms.IKey,
        environment: Mapping[str, str],
        alerting: Alerting,
        layers: Sequence[lambda_.ILayerVersion],
    ) -> None:
        super().__init__(scope, construct_id)
        environment = {**environment, "BACKUP_BUCKET": bucket.bucket_name, "BACKUP_KEY_ARN": key.key_arn}
        self.function = self._define_function(environment, network, alerting, layers)
        self._allow_database(database)
        self._allow_reports(bucket, key)
        self._add_schedules(settings)

    def _define_function(
        self, environment: Mapping[str, str], network: Network, alerting: Alerting, layers: Sequence[lambda_.ILayerVersion]
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="maintenance",
            description="Vacuums, rebuilds indexes and reports on the database, without downtime",
            timeout=Duration.minutes(15),
            memory_mib=512,
            layers=layers,
            environment=environment,
            alerting=alerting,
            network=network,
        )

    def _allow_database(self, database: Database) -> None:
        for role in ROLES:
            database.instance.grant_connect(self.function.execution_role, role)
        self.function.connections.allow_to(database.connections, PORT, "Maintenance to PostgreSQL")

    def _allow_reports(self, bucket: s3.IBucket, key: kms.IKey) -> None:
        role = self.function.execution_role
        allow_objects(role, bucket, ["reports/maintenance"], "s3:PutObject", "s3:GetObject")
        allow_key(role, key.key_arn, Stack.of(self).region)

    def _add_schedules(self, settings: sections.Operations) -> None:
        self.function.add_schedule("Weekly", settings.weekly_maintenance_schedule, description="Weekly maintenance", kind="weekly")
        self.function.add_schedule("Monthly", settings.monthly_maintenance_schedule, description="Monthly maintenance", kind="monthly")
