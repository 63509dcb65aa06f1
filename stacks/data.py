"""CarmenProdData: PostgreSQL with its proxy and roles, and Redis."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.cache.redis import Cache
from constructs_lib.compute.python_function import libraries_layer
from constructs_lib.database.instance import Database
from constructs_lib.database.proxy import DatabaseProxy, ProxySecurityGroup
from constructs_lib.database.roles import DatabaseRoles
from constructs_lib.database.snapshots import DatabaseSnapshots
from constructs_lib.database.working_hours import DatabaseWorkingHours
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.foundation.secret import GeneratedSecret
from constructs_lib.monitoring.cache_alarms import CacheAlarms
from constructs_lib.monitoring.database_alarms import DatabaseAlarms
from settings.model import Settings
from stacks.base import CarmenStack
from stacks.network import NetworkStack
from stacks.storage import StorageStack

APPLICATION_USERS = ("carmen_app_a", "carmen_app_b")
PROXY_MONITOR = "carmen_monitor_proxy"


class DataStack(CarmenStack):
    """The databases, their users and their alarms."""

    def __init__(self, scope: Construct, settings: Settings, *, alerting: Alerting, network: NetworkStack, storage: StorageStack) -> None:
        super().__init__(scope, "Data", settings=settings, description="PostgreSQL with RDS Proxy and roles, Redis", stateful=True)
        self.users = {user: self._user_secret(user) for user in (*APPLICATION_USERS, PROXY_MONITOR)}
        self.database = Database(self, "Database", settings=settings.database, network=network.network, key=storage.key)
        if settings.database.aws_backup_days:
            DatabaseSnapshots(self, "Snapshots", settings=settings.database, database=self.database, key=storage.key)
        self.working_hours: DatabaseWorkingHours | None = None
        if settings.working_hours:
            self.working_hours = DatabaseWorkingHours(
                self, "WorkingHours", settings=settings.working_hours, database=self.database, alerting=alerting
            )
        self.proxy = self._define_proxy(settings, network) if settings.database.proxy else None
        proxy_group = (
            self.proxy.security_group if self.proxy else ProxySecurityGroup(Construct(self, "DatabaseProxy"), network=network.network)
        )
        self.cache = Cache(self, "Cache", settings=settings.cache, network=network.network, key=storage.key)
        self.roles = DatabaseRoles(
            self,
            "DatabaseRoles",
            settings=settings.database,
            network=network.network,
            database=self.database,
            proxy=self.proxy,
            cache=self.cache,
            users=self.users,
            libraries=libraries_layer(self),
            alerting=alerting,
        )
        if self.proxy:
            # The proxy logs in immediately; without the roles, it would report its target as unavailable.
            self.proxy.target_group.node.add_dependency(self.roles.applied)
        self._define_alarms(settings, alerting)
        self.always_export(proxy_group.security_group_id, self.users[PROXY_MONITOR].secret_arn, self.database.instance.instance_identifier)

    def _define_proxy(self, settings: Settings, network: NetworkStack) -> DatabaseProxy:
        return DatabaseProxy(
            self,
            "DatabaseProxy",
            settings=settings.database.pool,
            network=network.network,
            database=self.database,
            users=list(self.users.values()),
        )

    def _define_alarms(self, settings: Settings, alerting: Alerting) -> None:
        self.database_alarms = DatabaseAlarms(
            self,
            "DatabaseAlarms",
            alerting=alerting,
            settings=settings.database,
            max_tasks=settings.service.max_tasks,
            database=self.database,
            proxy=self.proxy,
        )
        self.cache_alarms = CacheAlarms(self, "CacheAlarms", alerting=alerting, settings=settings.cache, cache=self.cache)
        self.data_stores_down = alerting.composite(
            self,
            "DataStoresDown",
            description="The database or Redis is down. Suppresses the alarms of the application that this causes.",
            runbook="database-down",
            severity="page",
            alarms=[self.database_alarms.down, self.cache_alarms.down],
            actions_enabled=False,
        )

    def _user_secret(self, user: str) -> GeneratedSecret:
        return GeneratedSecret(
            self,
            "".join(part.capitalize() for part in user.split("_")),
            description=f"Password of {user}, known to RDS Proxy",
            username=user,
            no_rotation_reason=(
                "Secrets Manager's rotation breaks RDS Proxy (aws/aws-cdk#25568); constructs_lib/operations/credential_rotation.py "
                "alternates the application's two users, and the monitor can only log in."
            ),
        )
