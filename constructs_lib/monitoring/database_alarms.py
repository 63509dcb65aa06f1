"""Alarms of PostgreSQL and RDS Proxy, on metrics of RDS and of the probe, which queries PostgreSQL."""

from __future__ import annotations

from functools import partial

from constructs import Construct

from constructs_lib.database.instance import Database
from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.foundation.alarm import DAY, FIVE_MINUTES, HOUR, MINUTE, Alarm, Alerting, Expression, Metric
from settings import sections
from settings.types import instance_memory_gib

GIB = 1024**3


class DatabaseAlarms(Construct):
    """`down`: Carmen has no database. `overloaded`: it works at its limit. Alarms on storage and the like notify themselves.

    While the probe publishes nothing, its own alarm notifies, and alarms on its metrics keep their state.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        settings: sections.Database,
        max_tasks: int,
        database: Database,
        proxy: DatabaseProxy | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, self._limits, self._settings = alerting, alerting.settings, settings
        self._instance = {"DBInstanceIdentifier": database.instance.instance_identifier}
        self._proxy = {"ProxyName": proxy.proxy.db_proxy_name} if proxy else {}
        self.unreachable = self._define_unreachable("Database", "PostgreSQL does not answer the probe. Carmen cannot work.")
        self.proxy_unreachable: Alarm | None = None
        if proxy:
            self.proxy_unreachable = self._define_unreachable(
                "Proxy", "RDS Proxy does not answer the probe. Carmen cannot reach the database."
            )
        self.down = self._define_down()
        self.cpu, self.credits, self.free_memory = self._define_instance_load()
        self.read_latency, self.write_latency = (self._define_disk_latency(operation) for operation in ("Read", "Write"))
        self.connections, self.transaction = self._define_session_alarms()
        self.pool = self._define_pool_alarms(max_tasks) if proxy else ()
        self.overloaded = self._define_overloaded()
        self.storage, self.days_until_full = self._define_storage_alarms()
        self.transaction_ids, self.deadlocks, self.replication_lag, self.unreadable = self._define_internal_alarms()

    @property
    def notifying(self) -> list[Alarm]:
        """The alarms that notify people."""
        internal = self.transaction_ids, self.deadlocks, self.replication_lag, self.unreadable
        return [self.down, self.overloaded, self.storage, self.days_until_full, *internal]

    def _rds(self, name: str, *, statistic: str = "Average", period_seconds: int = FIVE_MINUTES, label: str = "") -> Metric:
        return Metric("AWS/RDS", name, self._instance, statistic, period_seconds, label)

    def _sum_over_hosts(self, name: str, label: str) -> Metric:
        """A current number of RDS Proxy, whose hosts publish their share each minute: over a longer period, Sum counts it repeatedly.

        Source: RDS User Guide, "Monitoring RDS Proxy metrics with Amazon CloudWatch": valid period "1 minute", most useful statistic Sum.
        """
        return Metric("AWS/RDS", name, self._proxy, "Sum", MINUTE, label)

    def _define_unreachable(self, part: str, description: str) -> Alarm:
        return self._alerting.alarm(
            self,
            f"{part}Unreachable",
            description=description,
            runbook="database-down",
            severity="page",
            metric=self._alerting.function_metric(f"{part}Up", statistic="Minimum", label=f"{part.lower()} answers"),
            below=1,
            periods=3,
            missing="ignore",
            actions_enabled=False,
        )

    def _define_down(self) -> Alarm:
        return self._alerting.composite(
            self,
            "Down",
            description="Carmen has no database: PostgreSQL or RDS Proxy does not answer.",
            runbook="database-down",
            severity="page",
            alarms=[alarm for alarm in (self.unreachable, self.proxy_unreachable) if alarm],
        )

    def _define_instance_load(self) -> tuple[Alarm, Alarm | None, Alarm]:
        watch = partial(self._alerting.alarm, self, severity="ticket", missing="notBreaching", actions_enabled=False, periods=3)
        cpu = watch(
            "Cpu",
            description="PostgreSQL's CPU has been fully used for 15 minutes. Queries take longer.",
            runbook="database-overloaded",
            metric=self._rds("CPUUtilization", label="CPU (%)"),
            at_least=self._limits.database_cpu_percent,
        )
        credits = None
        if self._settings.instance_class.startswith("t"):
            credits = watch(
                "CpuCredits",
                description="The database instance has almost no CPU credits left. AWS will then charge for more, or throttle it.",
                runbook="database-overloaded",
                metric=self._rds("CPUCreditBalance", statistic="Minimum", label="CPU credits"),
                below=self._limits.database_cpu_credits,
            )
        memory = watch(
            "FreeMemory",
            description="The database instance is low on memory. It will swap, then drop connections.",
            runbook="high-memory",
            metric=self._rds("FreeableMemory", label="free memory (bytes)"),
            below=instance_memory_gib(self._settings.instance_class) * GIB * self._limits.database_free_memory_percent / 100,
        )
        return cpu, credits, memory

    def _define_disk_latency(self, operation: str) -> Alarm:
        return self._alerting.alarm(
            self,
            f"{operation}Latency",
            description=f"PostgreSQL waits for its disk: {operation.lower()} latency is too high.",
            runbook="database-overloaded",
            severity="ticket",
            metric=self._rds(f"{operation}Latency", label=f"{operation.lower()} (s)"),
            at_least=self._limits.database_disk_latency_ms / 1000,
            periods=3,
            missing="notBreaching",
            actions_enabled=False,
        )

    def _define_session_alarms(self) -> tuple[Alarm, Alarm]:
        most, percent = self._settings.parameters.max_connections, self._limits.database_connections_percent
        connections = self._alerting.alarm(
            self,
            "Connections",
            description="PostgreSQL is running out of connections. At the maximum, requests fail.",
            runbook="database-connections",
            severity="ticket",
            metric=self._rds("DatabaseConnections", statistic="Maximum", period_seconds=60, label="connections"),
            at_least=most * percent // 100,
            periods=5,
            missing="notBreaching",
            actions_enabled=False,
        )
        transaction = self._alerting.alarm(
            self,
            "LongTransaction",
            description="A transaction has been open for too long. It holds locks and blocks VACUUM.",
            runbook="long-transaction",
            severity="ticket",
            metric=self._alerting.function_metric("DatabaseLongestTransaction", label="longest transaction (s)"),
            at_least=self._limits.database_transaction_seconds,
            periods=5,
            missing="ignore",
            actions_enabled=False,
        )
        return connections, transaction

    def _define_pool_alarms(self, max_tasks: int) -> tuple[Alarm, Alarm, Alarm]:
        """RDS Proxy's pool: time to get a connection, pinned connections, clients."""
        watch = partial(
            self._alerting.alarm, self, severity="ticket", runbook="database-connections", missing="notBreaching", actions_enabled=False
        )
        borrow = watch(
            "BorrowLatency",
            description="Requests wait for a connection from RDS Proxy's pool.",
            metric=Metric(
                "AWS/RDS", "DatabaseConnectionsBorrowLatency", self._proxy, "Average", FIVE_MINUTES, "wait for a connection (µs)"
            ),
            at_least=self._limits.proxy_borrow_ms * 1000,
            periods=3,
        )
        pinned = watch(
            "Pinned",
            description="Almost all of RDS Proxy's connections are pinned. The next task would get none.",
            metric=Expression(
                "100 * pinned / most",
                {
                    "pinned": self._sum_over_hosts("DatabaseConnectionsCurrentlySessionPinned", "pinned"),
                    "most": self._sum_over_hosts("MaxDatabaseConnectionsAllowed", "maximum"),
                },
                label="pinned (% of maximum)",
            ),
            at_least=self._limits.proxy_pinned_percent,
            periods=15,
        )
        clients = watch(
            "ClientConnections",
            description=(
                "RDS Proxy has more clients than twice the maximum number of tasks opens. Connections leak, or another client uses it."
            ),
            metric=self._sum_over_hosts("ClientConnections", "clients of the proxy"),
            at_least=max_tasks * 2 * self._settings.pool.connections_per_task + self._settings.pool.reserve,
            periods=15,
        )
        return borrow, pinned, clients

    def _define_overloaded(self) -> Alarm:
        parts = (
            self.cpu, self.credits, self.free_memory, self.read_latency, self.write_latency, self.connections, self.transaction,
            *self.pool,
        )  # fmt: skip
        return self._alerting.composite(
            self,
            "Overloaded",
            description="The database works at its limit. Users may soon notice.",
            runbook="database-overloaded",
            severity="ticket",
            alarms=[alarm for alarm in parts if alarm],
            suppressor=self.down,
        )

    def _define_storage_alarms(self) -> tuple[Alarm, Alarm]:
        free = self._alerting.alarm(
            self,
            "FreeStorage",
            description="The database's disk is almost full and has not grown. When it is full, PostgreSQL stops.",
            runbook="database-storage",
            severity="page",
            metric=self._rds("FreeStorageSpace", statistic="Minimum", label="free storage (bytes)"),
            below=self._limits.database_free_storage_gib * GIB,
            periods=6,  # RDS storage autoscaling starts after five minutes of low storage
            missing="notBreaching",
        )
        days = self._alerting.alarm(
            self,
            "DaysUntilFull",
            description="The database's disk fills faster than it can grow.",
            runbook="database-storage",
            severity="ticket",
            metric=Expression(
                f"IF(RATE(free) < 0, free / (0 - RATE(free)) / {DAY}, 365)",
                {"free": self._rds("FreeStorageSpace", period_seconds=6 * HOUR, label="free")},
                label="days until full",
            ),
            below=self._limits.database_days_until_full,
            periods=4,
            missing="notBreaching",
        )
        return free, days

    def _define_internal_alarms(self) -> tuple[Alarm, Alarm, Alarm, Alarm]:
        watch = partial(self._alerting.alarm, self, severity="ticket")
        ids = watch(
            "TransactionIds",
            description="PostgreSQL is running out of transaction ids. When none is left, it refuses writes.",
            runbook="transaction-ids",
            metric=self._alerting.function_metric("DatabaseTransactionIdsUsed", period_seconds=HOUR, label="transaction ids (%)"),
            at_least=self._limits.database_transaction_ids_percent,
            periods=2,
            missing="ignore",
        )
        deadlocks = watch(
            "Deadlocks",
            description="Deadlocks: PostgreSQL aborts one transaction of each, and its user sees an error.",
            runbook="deadlocks",
            metric=self._alerting.function_metric("DatabaseDeadlocks", statistic="Sum", period_seconds=FIVE_MINUTES, label="deadlocks"),
            at_least=self._limits.database_deadlocks,
            missing="notBreaching",
        )
        lag = watch(
            "ReplicationLag",
            description="A read replica lags behind. Reads from it return old data.",
            runbook="replication-lag",
            metric=self._alerting.function_metric("DatabaseReplicationLag", label="replication lag (s)"),
            at_least=self._limits.database_replication_lag_seconds,
            periods=5,
            missing="notBreaching",  # usually there is no replica
        )
        unreadable = watch(
            "TablesBackupCannotRead",
            description="Row-level security hides a table from the backup role. Every backup fails until this is corrected.",
            runbook="backup",
            metric=self._alerting.function_metric("TablesBackupCannotRead", period_seconds=HOUR, label="tables a backup cannot read"),
            at_least=1,
            missing="ignore",
        )
        return ids, deadlocks, lag, unreadable
