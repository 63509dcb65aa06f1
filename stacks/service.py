"""CarmenProdService: the cluster, the application and one-off tasks."""

from __future__ import annotations

from aws_cdk import CfnOutput, CrossStackReferences, ReferenceStrength
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from constructs_lib.cache.redis import PORT as REDIS_PORT
from constructs_lib.database.instance import DATABASE_NAME
from constructs_lib.database.instance import PORT as DATABASE_PORT
from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.foundation.log_retention import set_log_retention
from constructs_lib.monitoring.saved_queries import APPLICATION, SavedQueries
from constructs_lib.monitoring.service_alarms import ServiceAlarms
from constructs_lib.service.container_environment import ContainerEnvironment
from constructs_lib.service.deployment_events import DeploymentEvents
from constructs_lib.service.one_off_tasks import MigrationTask, OperationsTask
from constructs_lib.service.release_files import ReleaseFilesTask
from constructs_lib.service.web_service import ApplicationImage, WebService, allow_uploads
from settings.model import Settings
from stacks.alerts import AlertsStack
from stacks.base import CarmenStack
from stacks.data import DataStack
from stacks.edge import EdgeStack
from stacks.network import NetworkStack
from stacks.storage import StorageStack


class ServiceStack(CarmenStack):
    """The stateless part, which changes most often."""

    def __init__(
        self,
        scope: Construct,
        settings: Settings,
        *,
        network: NetworkStack,
        alerting: Alerting,
        alerts: AlertsStack,
        storage: StorageStack,
        data: DataStack,
        edge: EdgeStack,
    ) -> None:
        super().__init__(scope, "Service", settings=settings, description="ECS cluster, Carmen, migration, release and operations tasks")
        self.image = ApplicationImage(self, "Image", settings=settings.service, parameter_name=storage.images.parameter_name)
        self.cluster = self._define_cluster(settings, network)
        self.environment_contract = ContainerEnvironment(
            self,
            "Environment",
            settings=settings.application,
            region=self.region,
            url=edge.distribution.url,
            origin_timeout_seconds=settings.edge.origin_timeout_seconds,
            domain=settings.domain,
            uploads=storage.uploads,
            connection=data.roles.connection,
        )
        self.web = WebService(
            self,
            "Web",
            settings=settings.service,
            network=network.network,
            cluster=self.cluster,
            image=self.image,
            repository=storage.images.repository,
            environment=self.environment_contract,
            balancer=edge.balancer,
            alerting=alerting,
            working_hours=settings.working_hours,
        )
        self._define_monitoring(settings, alerting=alerting, alerts=alerts, data=data, edge=edge)
        self._define_tasks(settings, network=network, storage=storage, data=data, edge=edge)
        self._allow_connections(settings, data)
        allow_uploads(self.web.task_role, storage.uploads, storage.key)
        CfnOutput(self, "ImageState", value=self.image.state, description="The deployed image, or `placeholder` before the first release")

    def _define_cluster(self, settings: Settings, network: NetworkStack) -> ecs.Cluster:
        insights = settings.service.container_insights
        cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=network.network.vpc,
            container_insights_v2=ecs.ContainerInsights[insights.upper()],
            enable_fargate_capacity_providers=True,
        )
        record_opt_outs(cluster, settings.service, "container_insights")
        if reason := settings.service.opt_outs("container_insights").get("container_insights"):
            acknowledge(cluster, {"AwsSolutions-ECS4": reason})
        else:
            set_log_retention(
                self,
                "ContainerInsightsRetention",
                name=f"/aws/ecs/containerinsights/{cluster.cluster_name}/performance",
                days=settings.service.log_retention_days,
            )
        return cluster

    def _define_monitoring(self, settings: Settings, *, alerting: Alerting, alerts: AlertsStack, data: DataStack, edge: EdgeStack) -> None:
        self.alarms = ServiceAlarms(
            self,
            "ServiceAlarms",
            alerting=alerting,
            settings=settings.service,
            balancer=edge.balancer,
            cluster=self.cluster,
            web=self.web,
            data_stores_down=data.data_stores_down,
        )
        SavedQueries(
            self, "Queries", environment=settings.stack_prefix, folder="Application", log_groups=[self.web.log_group], queries=APPLICATION
        )
        DeploymentEvents(self, "DeploymentEvents", service=self.web.service, queue=alerts.notifier.queue)

    def _define_tasks(self, settings: Settings, *, network: NetworkStack, storage: StorageStack, data: DataStack, edge: EdgeStack) -> None:
        self.migration = MigrationTask(
            self,
            "Migration",
            settings=settings.service,
            network=network.network,
            image=self.image,
            repository=storage.images.repository,
            connection=data.roles.migration_connection,
        )
        self.release_files = ReleaseFilesTask(
            self,
            "ReleaseFiles",
            settings=settings.service,
            network=network.network,
            image=self.image,
            repository=storage.images.repository,
            bucket=edge.release_files,
        )
        self.operations = OperationsTask(
            self,
            "Operations",
            settings=settings.service,
            network=network.network,
            connection=data.roles.connection,
            database={
                "PGHOST": data.database.instance.db_instance_endpoint_address,
                "PGPORT": data.database.instance.db_instance_endpoint_port,
                "PGDATABASE": DATABASE_NAME,
            },
            cache={"REDIS_HOST": data.cache.endpoint, "REDIS_PORT": data.cache.port},
        )

        for task in (self.migration, self.release_files, self.operations):
            # Every release and change makes a new revision, whose ARN CloudFormation would not let replace an export in use.
            CrossStackReferences.of(task.task_definition).produce(ReferenceStrength.WEAK)

    def _allow_connections(self, settings: Settings, data: DataStack) -> None:
        """Rules are declared on the client side to avoid a stack cycle."""
        web = self.web.connections
        web.allow_to_any_ipv4(ec2.Port.HTTPS, "AWS services, Sentry, Slack")
        web.allow_to_any_ipv4(ec2.Port.tcp(settings.application.smtp_port), "Mail")
        if data.proxy:
            web.allow_to(data.proxy.connections, DATABASE_PORT, "Carmen to RDS Proxy (DATABASE_URL)")
        web.allow_to(data.database.connections, DATABASE_PORT, "Carmen to PostgreSQL (DIRECT_URL)")
        web.allow_to(data.cache.connections, REDIS_PORT, "Carmen to Redis")
        self.migration.connections.allow_to(data.database.connections, DATABASE_PORT, "Migrations to PostgreSQL")
        self.operations.connections.allow_to(data.database.connections, DATABASE_PORT, "Operations to PostgreSQL")
        self.operations.connections.allow_to(data.cache.connections, REDIS_PORT, "Operations to Redis")
