"""CarmenProd: the stack that people deploy; it depends on all others."""

from __future__ import annotations

from aws_cdk import CfnOutput, CfnWaitConditionHandle, Stack
from constructs import Construct

from constructs_lib.alerting.notifier import WEBHOOK
from constructs_lib.compute.python_function import libraries_layer
from constructs_lib.foundation.acknowledgements import opt_out_name
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.foundation.removal_policy import destroy_on_removal
from constructs_lib.monitoring.dashboard import Dashboard
from constructs_lib.monitoring.edge_alarms import CrossRegionReceiver
from constructs_lib.monitoring.slo import Slo
from constructs_lib.monitoring.staleness_alarms import StalenessAlarms
from constructs_lib.monitoring.uptime import Uptime
from constructs_lib.monitoring.uptime_alarms import UptimeAlarms
from settings.constants import EDGE_REGION, PREVIEW_ENDS_TAG
from settings.model import Settings
from stacks.account import AccountStack
from stacks.alerts import AlertsStack
from stacks.backup_copies import BackupCopiesStack
from stacks.base import CarmenStack, set_role_path
from stacks.budget import BudgetStack
from stacks.data import DataStack
from stacks.edge import EdgeStack
from stacks.edge_alarms import EdgeAlarmsStack
from stacks.edge_global import EdgeGlobalStack
from stacks.network import NetworkStack
from stacks.operations import OperationsStack
from stacks.service import ServiceStack
from stacks.storage import StorageStack


class CarmenTopStack(CarmenStack):
    """Uptime checks, dashboard and outputs. Depends on every other stack, so that `cdk deploy CarmenProd` deploys all.

    Except `later`: those whose failure must not roll back this one. They depend on it, and `./carmen deploy` includes them.
    """

    later: tuple[Stack, ...] = ()

    @property
    def all_stacks(self) -> list[Stack]:
        """All stacks of the environment, in deployment order."""
        return [*self.dependencies, self, *self.later]

    def __init__(
        self,
        scope: Construct,
        settings: Settings,
        *,
        alerts: AlertsStack,
        alerting: Alerting,
        storage: StorageStack,
        data: DataStack,
        edge: EdgeStack,
        service: ServiceStack,
        operations: OperationsStack,
        edge_alarms: EdgeAlarmsStack | None,
    ) -> None:
        super().__init__(scope, "", settings=settings, description="Uptime checks, dashboard and outputs; depends on all other stacks")
        dashboard = None
        if edge_alarms and operations.staleness_alarms:
            dashboard = self._define_monitoring(
                settings,
                alerts=alerts,
                alerting=alerting,
                data=data,
                edge=edge,
                service=service,
                operations=operations,
                edge_alarms=edge_alarms,
                staleness_alarms=operations.staleness_alarms,
            )
        else:
            CfnWaitConditionHandle(self, "OutputsOnly")  # CloudFormation refuses a stack without resources; this one does nothing
        for key, reason in settings.budget.opt_outs().items():
            self.add_metadata(opt_out_name(key), reason)  # there is no stack of the budget
        self._define_outputs(alerts=alerts, storage=storage, data=data, edge=edge, service=service, dashboard=dashboard)

    def _define_monitoring(
        self,
        settings: Settings,
        *,
        alerts: AlertsStack,
        alerting: Alerting,
        data: DataStack,
        edge: EdgeStack,
        service: ServiceStack,
        operations: OperationsStack,
        edge_alarms: EdgeAlarmsStack,
        staleness_alarms: StalenessAlarms,
    ) -> Dashboard:
        """Define uptime checks, objectives and the dashboard."""
        self.uptime = Uptime(
            self,
            "Uptime",
            settings=settings.uptime,
            alerting=alerting,
            environment=settings.name,
            url=edge.distribution.url,
            libraries=libraries_layer(self),
        )
        origin_down = service.alarms.origin_down
        self.uptime_alarms = UptimeAlarms(self, "UptimeAlarms", alerting=alerting, origin_down=origin_down)
        self.slo = Slo(self, "Slo", alerting=alerting, settings=settings.slo, balancer=edge.balancer, origin_down=origin_down)
        if settings.region != EDGE_REGION:
            CrossRegionReceiver(
                self,
                "AlarmReceiver",
                from_region=EDGE_REGION,
                from_stack=edge_alarms.stack_name,
                target_arn=alerts.notifier.queue.queue_arn,
            )
        return Dashboard(
            self,
            "Overview",
            alerting=alerting,
            repository=settings.tags.repository,
            edge_region=EDGE_REGION,
            balancer=edge.balancer,
            uptime=self.uptime_alarms,
            slo=self.slo,
            edge=edge_alarms.alarms,
            service=service.alarms,
            database=data.database_alarms,
            cache=data.cache_alarms,
            staleness=staleness_alarms,
            functions=[
                operations.functions_failing,
                data.roles.function.failure_alarm,
                self.uptime.function.failure_alarm,
                alerts.notifier.function.failure_alarm,
                alerts.notifier.undelivered,
                *([data.working_hours.missed_alarm] if data.working_hours else []),
            ],
        )

    def _define_outputs(
        self,
        *,
        alerts: AlertsStack,
        storage: StorageStack,
        data: DataStack,
        edge: EdgeStack,
        service: ServiceStack,
        dashboard: Dashboard | None,
    ) -> None:
        secrets = {**service.environment_contract.operator_secrets, WEBHOOK: alerts.notifier.webhook}
        outputs = {
            "Url": (edge.distribution.url, "URL of the application"),
            "ImageParameter": (storage.images.parameter_name, "SSM parameter with the image; a release writes it"),
            "ImageRepository": (storage.images.repository.repository_uri, "ECR repository to which the pipeline pushes images"),
            "SecretsToFill": (
                ", ".join(f"{name}: {secret.secret_arn}" for name, secret in secrets.items()),
                "Secrets whose values operators supply; `./carmen secrets` lists the missing ones and how to set them",
            ),
            "UploadBucket": (storage.uploads.bucket_name, "Users' files"),
            "BackupBucket": (storage.backups.bucket_name, "Database dumps"),
            "DatabaseEndpoint": (data.database.instance.db_instance_endpoint_address, "PostgreSQL instance (DIRECT_URL)"),
            **({"DatabaseProxyEndpoint": (data.proxy.proxy.endpoint, "RDS Proxy (DATABASE_URL)")} if data.proxy else {}),
            "RedisEndpoint": (data.cache.endpoint, "Redis, TLS"),
            "ConnectionSecret": (
                data.roles.connection.secret_arn,
                "The application's connection URLs, written by the database-roles function",
            ),
            "Cluster": (service.cluster.cluster_name, "ECS cluster"),
            "Service": (service.web.service.service_name, "ECS service"),
            "MigrationTask": (service.migration.task_definition.family, "Task definition (family) that migrates the database"),
            "ReleaseFilesTask": (
                service.release_files.task_definition.family,
                "Task definition (family) that copies the static files of a release to the bucket",
            ),
            "ReleaseFilesBucket": (edge.release_files.bucket_name, "Static files of releases"),
            "OperationsTask": (
                service.operations.task_definition.family,
                "Task definition (family) for a shell with psql and redis-cli",
            ),
            **({"Dashboard": (dashboard.name, "CloudWatch dashboard")} if dashboard else {}),
        }
        for name, (value, description) in outputs.items():
            CfnOutput(self, name, value=value, description=description)


def build_environment(scope: Construct, settings: Settings, preview_ends: str | None = None) -> CarmenTopStack:
    """Define all stacks of one environment in deployment order; return the top one.

    `preview_ends` is the last day of a preview. It tags only the stacks without dependencies, of which one is always deployed
    first; on other stacks, a later day would update every resource.
    """
    network = NetworkStack(scope, settings)
    alerts = AlertsStack(scope, settings)
    storage = StorageStack(scope, settings)
    copies = BackupCopiesStack(scope, settings) if settings.storage.backup_copy_region else None
    alerting = Alerting(settings.name, settings.alarms, alerts.topic.topic_arn, enabled=settings.alarms.watched)
    data = DataStack(scope, settings, alerting=alerting, network=network, storage=storage)
    edge_global = EdgeGlobalStack(scope, settings)
    edge = EdgeStack(scope, settings, network=network, storage=storage, edge_global=edge_global)
    service = ServiceStack(scope, settings, alerting=alerting, alerts=alerts, network=network, storage=storage, data=data, edge=edge)
    operations = OperationsStack(
        scope, settings, alerting=alerting, network=network, storage=storage, copies=copies, data=data, service=service
    )
    edge_alarms = None
    if settings.alarms.watched:
        edge_alarms = EdgeAlarmsStack(scope, settings, alerting=alerting, edge_global=edge_global, edge=edge, service=service)
    top = CarmenTopStack(
        scope,
        settings,
        alerts=alerts,
        alerting=alerting,
        storage=storage,
        data=data,
        edge=edge,
        service=service,
        operations=operations,
        edge_alarms=edge_alarms,
    )
    for stack in (network, alerts, storage, copies, data, edge_global, edge, service, operations, edge_alarms):
        if stack:
            top.add_stack_dependency(stack, reason="deploying this stack deploys all others")
    top.later = _define_later_stacks(scope, settings, alerts)
    for later in top.later:
        later.add_stack_dependency(top, reason="its failure must not roll back the others")
    for recorded in (network, edge_global):  # settings.changes.RECORDED_IN
        recorded.record_settings(settings)
    if preview_ends:
        for first in (network, alerts, storage):
            first.tags.set_tag(PREVIEW_ENDS_TAG, preview_ends)
    set_role_path(top.all_stacks)
    if not settings.keep_data:
        destroy_on_removal(top.all_stacks, settings)
    return top


def _define_later_stacks(scope: Construct, settings: Settings, alerts: AlertsStack) -> tuple[Stack, ...]:
    """Budget and anomaly detection: an account may refuse both, as a member account whose owner gives no access to billing."""
    stacks: list[Stack] = []
    if settings.budget.monthly_usd:
        stacks.append(BudgetStack(scope, settings, alerts=alerts))
    if settings.anomaly_detection:
        stacks.append(AccountStack(scope, settings, settings.anomaly_detection, alerts=alerts))
    return tuple(stacks)
