"""CarmenProdOperations: backup, restore drill, maintenance, rotation and probe."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.compute.python_function import client_tools_layer, drill_server_layer, libraries_layer
from constructs_lib.database.backup import DatabaseBackup
from constructs_lib.database.instance import DATABASE_NAME
from constructs_lib.database.maintenance import DatabaseMaintenance
from constructs_lib.database.restore_drill import RestoreDrill
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.monitoring.saved_queries import FUNCTIONS, SavedQueries
from constructs_lib.monitoring.staleness_alarms import StalenessAlarms
from constructs_lib.operations.credential_rotation import CredentialRotation
from constructs_lib.operations.probe import Probe
from settings.model import Settings
from stacks.backup_copies import BackupCopiesStack
from stacks.base import CarmenStack
from stacks.data import APPLICATION_USERS, PROXY_MONITOR, DataStack
from stacks.network import NetworkStack
from stacks.service import ServiceStack
from stacks.storage import StorageStack


class OperationsStack(CarmenStack):
    """Scheduled jobs. Comes after the service, which rotation restarts."""

    def __init__(
        self,
        scope: Construct,
        settings: Settings,
        *,
        alerting: Alerting,
        network: NetworkStack,
        storage: StorageStack,
        copies: BackupCopiesStack | None,
        data: DataStack,
        service: ServiceStack,
    ) -> None:
        super().__init__(scope, "Operations", settings=settings, description="Backup, restore drill, maintenance, rotation, probe")
        if copies:
            self.add_stack_dependency(copies, reason="reading an output at deployment creates no dependency")
        libraries, tools = libraries_layer(self), client_tools_layer(self)
        environment = {
            "ENVIRONMENT": settings.name,
            "DATABASE_HOST": data.database.instance.db_instance_endpoint_address,
            "DATABASE_PORT": data.database.instance.db_instance_endpoint_port,
            "DATABASE_NAME": DATABASE_NAME,
        }
        self.backup = DatabaseBackup(
            self,
            "Backup",
            settings=settings,
            network=network.network,
            cluster=service.cluster,
            database=data.database,
            bucket=storage.backups,
            key=storage.key,
            copies=copies.destination if copies else None,
            environment=environment,
            alerting=alerting,
            layers=[libraries, tools],
        )
        self.drill = RestoreDrill(
            self,
            "Drill",
            settings=settings,
            network=network.network,
            cluster=service.cluster,
            bucket=storage.backups,
            key=storage.key,
            alerting=alerting,
            layers=[libraries, tools, drill_server_layer(self, settings.database.engine_major)],
        )
        self.maintenance = DatabaseMaintenance(
            self,
            "Maintenance",
            settings=settings.operations,
            network=network.network,
            database=data.database,
            bucket=storage.backups,
            key=storage.key,
            environment=environment,
            alerting=alerting,
            layers=[libraries],
        )
        self.rotation = CredentialRotation(
            self,
            "Rotation",
            settings=settings.operations,
            network=network.network,
            database=data.database,
            proxy=data.proxy,
            cache=data.cache,
            roles=data.roles,
            application_users={name: data.users[name] for name in APPLICATION_USERS},
            cluster=service.cluster,
            service=service.web.service,
            migration=service.migration.task_definition,
            environment=environment,
            alerting=alerting,
            libraries=libraries,
        )
        self.probe: Probe | None = None
        self.staleness_alarms: StalenessAlarms | None = None
        if settings.alarms.watched:
            self.probe = Probe(
                self,
                "Probe",
                network=network.network,
                database=data.database,
                proxy=data.proxy,
                cache=data.cache,
                monitor=data.users[PROXY_MONITOR],
                bucket=storage.backups,
                key=storage.key,
                environment=environment,
                alerting=alerting,
                libraries=libraries,
            )
            self.staleness_alarms = StalenessAlarms(
                self, "StalenessAlarms", alerting=alerting, settings=settings.operations, probe_failing=self.probe.function.failure_alarm
            )
        self._define_monitoring(settings, alerting)

    def _define_monitoring(self, settings: Settings, alerting: Alerting) -> None:
        functions = [part.function for part in (self.backup, self.drill, self.maintenance, self.rotation)]
        if self.probe:
            functions.append(self.probe.function)
        self.functions_failing = alerting.composite(
            self,
            "FunctionsFailing",
            description="A scheduled function fails; its own alarm reports that. One state for the dashboard.",
            runbook="function-failing",
            severity="ticket",
            alarms=[function.failure_alarm for function in functions],
            actions_enabled=False,
        )
        SavedQueries(
            self,
            "Queries",
            environment=settings.stack_prefix,
            folder="Functions",
            log_groups=[*(function.log_group for function in functions), self.backup.task.log_group, self.drill.task.log_group],
            queries=FUNCTIONS,
        )
