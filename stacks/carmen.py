"""CarmenProd: the stack people deploy and look at; it takes all others along."""

from __future__ import annotations

from aws_cdk import CfnOutput
from constructs import Construct

from constructs_lib.dashboard import Dashboard
from constructs_lib.python_function import libraries_layer
from constructs_lib.uptime import Uptime
from environments.schema import Settings
from stacks.alerts import AlertsStack
from stacks.backup_copies import BackupCopiesStack
from stacks.base import CarmenStack
from stacks.data import DataStack
from stacks.edge import EdgeStack
from stacks.edge_global import EdgeGlobalStack
from stacks.network import NetworkStack
from stacks.operations import OperationsStack
from stacks.service import ServiceStack
from stacks.storage import StorageStack


class CarmenTopStack(CarmenStack):
    """Uptime, the dashboard and the outputs a person needs. Depends on every other stack, so that `cdk deploy CarmenProd` is all."""

    def __init__(
        self, scope: Construct, settings: Settings, *, storage: StorageStack, data: DataStack, edge: EdgeStack, service: ServiceStack
    ) -> None:
        super().__init__(scope, "", settings=settings, description="What a person looks at: uptime, dashboard and outputs")
        self.uptime = Uptime(
            self,
            "Uptime",
            settings=settings.uptime,
            environment=settings.name,
            url=edge.distribution.url,
            libraries=libraries_layer(self),
        )
        dashboard = Dashboard(
            self,
            "Overview",
            distribution=edge.distribution.distribution,
            target_group=edge.balancer.target_group,
            service=service.web.service,
            database=data.database.instance,
        )
        outputs = {
            "Url": (edge.distribution.url, "Where users go"),
            "ImageParameter": (storage.images.parameter_name, "SSM parameter that names the image; a release writes it"),
            "ImageRepository": (storage.images.repository.repository_uri, "Where the pipeline pushes images"),
            "SecretsToFill": (
                ", ".join(f"{name}: {secret.secret_name}" for name, secret in service.environment_contract.given.items()),
                "Secrets created empty; `make secrets` says which still are, and how to fill them",
            ),
            "UploadBucket": (storage.uploads.bucket_name, "Users' files"),
            "BackupBucket": (storage.backups.bucket_name, "Database dumps"),
            "DatabaseEndpoint": (data.database.instance.db_instance_endpoint_address, "PostgreSQL itself (DIRECT_URL)"),
            "DatabaseProxyEndpoint": (data.proxy.proxy.endpoint, "RDS Proxy (DATABASE_URL)"),
            "RedisEndpoint": (data.cache.endpoint, "Redis, TLS"),
            "ConnectionSecret": (
                data.roles.connection.secret_arn,
                "The application's connection URLs, written by the database-roles function",
            ),
            "Cluster": (service.cluster.cluster_name, "ECS cluster"),
            "Service": (service.web.service.service_name, "ECS service"),
            "MigrationTask": (service.migration.task_definition.task_definition_arn, "Task definition that migrates the database"),
            "OperationsTask": (
                service.operations.task_definition.task_definition_arn,
                "Task definition for a shell with psql and redis-cli",
            ),
            "Dashboard": (dashboard.dashboard.dashboard_name, "CloudWatch dashboard"),
        }
        for name, (value, description) in outputs.items():
            CfnOutput(self, name, value=value, description=description)


def build_environment(scope: Construct, settings: Settings) -> CarmenTopStack:
    """All stacks of one environment, in the order of deployment; returns the top one."""
    network = NetworkStack(scope, settings)
    alerts = AlertsStack(scope, settings)
    storage = StorageStack(scope, settings)
    copies = BackupCopiesStack(scope, settings) if settings.storage.backup_copy_region else None
    data = DataStack(scope, settings, network=network, storage=storage)
    edge_global = EdgeGlobalStack(scope, settings)
    edge = EdgeStack(scope, settings, network=network, storage=storage, edge_global=edge_global)
    service = ServiceStack(scope, settings, network=network, alerts=alerts, storage=storage, data=data, edge=edge)
    operations = OperationsStack(scope, settings, network=network, storage=storage, copies=copies, data=data, service=service)
    top = CarmenTopStack(scope, settings, storage=storage, data=data, edge=edge, service=service)
    for stack in (network, alerts, storage, copies, data, edge_global, edge, service, operations):
        if stack:
            top.add_stack_dependency(stack, reason="deploying this stack takes all others along")
    return top
