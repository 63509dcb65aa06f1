"""Rotation of the database passwords and the Redis token without failed requests (ADR 0012)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.cache.redis import PORT as REDIS_PORT
from constructs_lib.cache.redis import Cache
from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.database.instance import PORT, Database
from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.database.roles import DatabaseRoles
from constructs_lib.foundation.acknowledgements import acknowledge, export_name, resource_in_finding
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.foundation.arns import account_arn
from constructs_lib.network.vpc import Network
from constructs_lib.operations.probe import EVERY_15_MINUTES
from settings import sections

LOCK_ROLE = "carmen_rotation"  # excludes the database-roles function; the logins that rotate cannot take this lock


class CredentialRotation(Construct):
    """Rotates due credentials once a day, and continues a rotation that waits for the service's tasks to restart."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Operations,
        network: Network,
        database: Database,
        proxy: DatabaseProxy | None,
        cache: Cache,
        roles: DatabaseRoles,
        application_users: Mapping[str, secretsmanager.ISecret],
        cluster: ecs.ICluster,
        service: ecs.FargateService,
        migration: ecs.FargateTaskDefinition,
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
            "REPLICATION_GROUP": cache.replication_group.ref,
            "APPLICATION_SECRETS": json.dumps({name: secret.secret_arn for name, secret in application_users.items()}),
            "CONNECTION_SECRET": roles.connection.secret_arn,
            "MIGRATION_SECRET": roles.migration_connection.secret_arn,
            "REDIS_SECRET": cache.auth_token.secret_arn,
            "CLUSTER": cluster.cluster_name,
            "SERVICE": service.service_name,
            "MIGRATION_FAMILY": migration.family,
            "ROTATE_AFTER_DAYS": _rotation_days(settings),
        }
        self.function = self._define_function(environment, network, alerting, libraries)
        self._allow_connections(database, proxy, cache)
        self._allow_secrets([*application_users.values(), roles.connection, roles.migration_connection], cache.auth_token)
        self._allow_restart(cluster, service)
        self._allow_token_change(cache)
        self._add_schedules(settings, alerting)

    def _define_function(
        self, environment: Mapping[str, str], network: Network, alerting: Alerting, libraries: lambda_.ILayerVersion
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="rotation",
            description="Rotates the database passwords and the Redis token",
            timeout=Duration.minutes(15),
            layers=[libraries],
            environment=environment,
            alerting=alerting,
            network=network,
        )

    def _allow_connections(self, database: Database, proxy: DatabaseProxy | None, cache: Cache) -> None:
        for connections, port, name in (
            (database.connections, PORT, "PostgreSQL"),
            *([(proxy.connections, PORT, "RDS Proxy")] if proxy else []),
            (cache.connections, REDIS_PORT, "Redis"),
        ):
            self.function.connections.allow_to(connections, port, f"Rotation to {name}")
        database.instance.grant_connect(self.function.execution_role, LOCK_ROLE)

    def _allow_secrets(self, secrets: list[secretsmanager.ISecret], token: secretsmanager.ISecret) -> None:
        actions = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
        arns = [secret.secret_arn for secret in (*secrets, token)]
        self.function.add_to_role_policy(iam.PolicyStatement(sid="ReadAndWriteSecretValues", actions=actions, resources=arns))
        self.function.add_to_role_policy(
            iam.PolicyStatement(
                sid="MoveRedisTokenStages", actions=["secretsmanager:UpdateSecretVersionStage"], resources=[token.secret_arn]
            )
        )

    def _allow_restart(self, cluster: ecs.ICluster, service: ecs.FargateService) -> None:
        """Allow the function to read the running tasks and to restart the service's. ECS checks ecs:ListTasks against * and ecs:cluster
        (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security_iam_id-based-policy-examples.html)."""
        in_cluster = {"ArnEquals": {"ecs:cluster": cluster.cluster_arn}}
        for statement in (
            iam.PolicyStatement(sid="ListTasks", actions=["ecs:ListTasks"], resources=["*"], conditions=in_cluster),
            iam.PolicyStatement(sid="DescribeTasks", actions=["ecs:DescribeTasks"], resources=[_tasks_of(cluster.cluster_name)]),
            iam.PolicyStatement(
                sid="RollOutService", actions=["ecs:DescribeServices", "ecs:UpdateService"], resources=[service.service_arn]
            ),
        ):
            self.function.add_to_role_policy(statement)
        tasks = resource_in_finding(self, _tasks_of(export_name(cluster, cluster.cluster_name)))
        acknowledge(
            self.function.execution_role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{tasks}]": "The tasks of one cluster, whose ids change.",
                "Parliament::RESOURCE_STAR[ecs:ListTasks]": (
                    "ECS checks the action against * (Amazon ECS Developer Guide, List and describe task examples); ecs:cluster limits it "
                    "to one cluster."
                ),
            },
        )

    def _allow_token_change(self, cache: Cache) -> None:
        group = account_arn("elasticache", f"replicationgroup:{cache.replication_group.ref}")
        self.function.add_to_role_policy(
            iam.PolicyStatement(sid="ModifyRedisReplicationGroup", actions=["elasticache:ModifyReplicationGroup"], resources=[group])
        )

    def _add_schedules(self, settings: sections.Operations, alerting: Alerting) -> None:
        self.function.add_schedule("Daily", settings.rotation_schedule, description="Rotates due credentials")
        if alerting.enabled:
            self.function.add_schedule("MeasureAges", EVERY_15_MINUTES, description="Measures the age of credentials", action="ages")


def _rotation_days(settings: sections.Operations) -> str:
    return json.dumps(
        {
            "application": settings.application_password_days,
            "owner": settings.owner_password_days,
            "redis": settings.redis_token_days,
        }
    )


def _tasks_of(cluster_name: str) -> str:
    """ARNs of a cluster's tasks."""
    return account_arn("ecs", f"task/{cluster_name}/*")
