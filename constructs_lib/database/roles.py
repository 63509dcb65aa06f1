"""The function that maintains PostgreSQL's roles and the connection secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.cache.redis import Cache
from constructs_lib.compute.python_function import SOURCE, PythonFunction
from constructs_lib.database.instance import DATABASE_NAME, MASTER, PORT, Database
from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.foundation.secret import EmptySecret
from constructs_lib.network.vpc import Network
from settings import sections

SPECIFICATION = (SOURCE / "database_roles", SOURCE / "common")


class DatabaseRoles(Construct):
    """Creates and corrects the roles at deployment and once a day, and writes the secrets with connection URLs.

    The application reads `connection` (DATABASE_URL through the proxy if there is one, DIRECT_URL, REDIS_URL and psql's variables); the
    migration task reads `migration_connection`. CloudFormation never writes their values.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Database,
        network: Network,
        database: Database,
        proxy: DatabaseProxy | None,
        cache: Cache,
        users: Mapping[str, secretsmanager.ISecret],
        libraries: lambda_.ILayerVersion,
        alerting: Alerting,
    ) -> None:
        super().__init__(scope, construct_id)
        self.connection = EmptySecret(
            self,
            "Connection",
            description="The application's DATABASE_URL, DIRECT_URL and REDIS_URL",
            written_by="the database-roles function",
        ).secret
        self.migration_connection = EmptySecret(
            self, "MigrationConnection", description="The migration task's DATABASE_URL", written_by="the database-roles function"
        ).secret
        self._environment = {
            "DATABASE_HOST": database.instance.db_instance_endpoint_address,
            "DATABASE_PORT": database.instance.db_instance_endpoint_port,
            "DATABASE_NAME": DATABASE_NAME,
            "PROXY_HOST": proxy.proxy.endpoint if proxy else "",
            "REDIS_HOST": cache.endpoint,
            "REDIS_PORT": cache.port,
            "CONNECTION_LIMIT": str(settings.pool.connections_per_task),
            "POOL_TIMEOUT_SECONDS": str(settings.pool.acquire_timeout_seconds),
            "POOL_IDLE_SECONDS": str(settings.pool.idle_seconds),
            "MASTER_SECRET": database.master_secret.secret_arn,
            "USER_SECRETS": json.dumps({name: secret.secret_arn for name, secret in users.items()}),
            "REDIS_SECRET": cache.auth_token.secret_arn,
            "CONNECTION_SECRET": self.connection.secret_arn,
            "MIGRATION_SECRET": self.migration_connection.secret_arn,
        }
        self.function = self._define_function(network, libraries, alerting)
        self._allow_database_and_secrets(database, cache, users)
        self.applied = self._apply_at_deployment(database)
        self.function.add_schedule("Daily", settings.roles_schedule, description="Corrects database roles daily")

    def _define_function(self, network: Network, libraries: lambda_.ILayerVersion, alerting: Alerting) -> PythonFunction:
        return PythonFunction(
            self,
            "Function",
            package="database_roles",
            description="Creates and corrects PostgreSQL roles and writes the connection secrets",
            timeout=Duration.minutes(5),
            layers=[libraries],
            environment=self._environment,
            alerting=alerting,
            network=network,
        )

    def _allow_database_and_secrets(self, database: Database, cache: Cache, users: Mapping[str, secretsmanager.ISecret]) -> None:
        self.function.connections.allow_to(database.connections, PORT, "Database roles to PostgreSQL")
        # From PostgreSQL 16 on RDS may refuse the master's password: lambda_src/common/database.py, connect_as_master.
        database.instance.grant_connect(self.function.execution_role, MASTER)
        for secret in (database.master_secret, cache.auth_token, *users.values(), self.connection, self.migration_connection):
            secret.grant_read(self.function)
        # The CDK's grant_write would also allow the encryption key and changes of version stages.
        written = [self.connection.secret_arn, self.migration_connection.secret_arn]
        self.function.add_to_role_policy(iam.PolicyStatement(actions=["secretsmanager:PutSecretValue"], resources=written))

    def _apply_at_deployment(self, database: Database) -> CustomResource:
        """Invoke the function when the code or data that defines roles and URLs changes: the properties contain both."""
        resource = CustomResource(
            self,
            "Apply",
            resource_type="Custom::DatabaseRoles",
            service_token=self.function.function_arn,
            service_timeout=Duration.minutes(10),
            properties={"Specification": _hash_of(*SPECIFICATION), **self._environment},
        )
        # CloudFormation cannot derive these from the properties: the function's permissions and its network path to the database.
        assert self.function.security_group
        resource.node.add_dependency(self.function.execution_role, self.function.security_group, database.security_group)
        return resource


def _hash_of(*folders: Path) -> str:
    """Hash of the Python files in `folders`, independent of line endings."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()[:32]
