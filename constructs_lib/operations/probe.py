"""The probe: measures proxy, database and Redis every minute, and the ages of backups, drills and maintenance every 15 minutes."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.cache.redis import PORT as REDIS_PORT
from constructs_lib.cache.redis import Cache
from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.database.backup import TIERS
from constructs_lib.database.instance import PORT, Database
from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.network.vpc import Network
from constructs_lib.storage.buckets import allow_key, allow_objects, allow_signatures

EVERY_MINUTE = "cron(* * * * ? *)"
EVERY_15_MINUTES = "cron(5/15 * * * ? *)"  # a new environment has ages before the alarms on missing ones notify


class Probe(Construct):
    """Publishes metrics; alarms evaluate them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        network: Network,
        database: Database,
        proxy: DatabaseProxy | None,
        cache: Cache,
        monitor: secretsmanager.ISecret,
        bucket: s3.IBucket,
        key: kms.IKey,
        environment: Mapping[str, str],
        alerting: Alerting,
        libraries: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        environment = {
            **environment,
            "PROXY_HOST": proxy.proxy.endpoint if proxy else "",
            "REDIS_HOST": cache.endpoint,
            "REDIS_PORT": cache.port,
            "MONITOR_PROXY_SECRET": monitor.secret_arn,
            "REDIS_SECRET": cache.auth_token.secret_arn,
            "BACKUP_BUCKET": bucket.bucket_name,
            "BACKUP_KEY_ARN": key.key_arn,
        }
        self.function = self._define_function(environment, network, alerting, libraries)
        self._allow_login(database, cache, monitor)
        self._allow_backups(bucket, key)
        allow_signatures(self.function.execution_role, key.key_arn, "kms:Decrypt")
        self._allow_connections(database, proxy, cache)
        self._add_schedules()

    def _define_function(
        self, environment: Mapping[str, str], network: Network, alerting: Alerting, libraries: lambda_.ILayerVersion
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="probe",
            description="Measures proxy, database and Redis from inside the VPC",
            timeout=Duration.seconds(50),
            layers=[libraries],
            environment=environment,
            alerting=alerting,
            failures_tolerated=2,  # of five runs
            network=network,
        )

    def _allow_login(self, database: Database, cache: Cache, monitor: secretsmanager.ISecret) -> None:
        role = self.function.execution_role
        database.instance.grant_connect(role, "carmen_monitor")
        read = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
        role.add_to_policy(
            iam.PolicyStatement(sid="ReadMonitorAndRedisSecrets", actions=read, resources=[monitor.secret_arn, cache.auth_token.secret_arn])
        )

    def _allow_backups(self, bucket: s3.IBucket, key: kms.IKey) -> None:
        role = self.function.execution_role
        allow_objects(role, bucket, [*TIERS, "reports"], "s3:GetObject")
        allow_key(role, key.key_arn, Stack.of(self).region)

    def _allow_connections(self, database: Database, proxy: DatabaseProxy | None, cache: Cache) -> None:
        for connections, port, name in (
            (database.connections, PORT, "PostgreSQL"),
            *([(proxy.connections, PORT, "RDS Proxy")] if proxy else []),
            (cache.connections, REDIS_PORT, "Redis"),
        ):
            self.function.connections.allow_to(connections, port, f"Probe to {name}")

    def _add_schedules(self) -> None:
        self.function.add_schedule("Minutely", EVERY_MINUTE, description="Measures proxy, database and Redis")
        self.function.add_schedule(
            "MeasureAges", EVERY_15_MINUTES, description="Measures the age of backups, drills and maintenance", action="ages"
        )
