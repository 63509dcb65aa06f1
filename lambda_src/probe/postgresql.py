"""PostgreSQL's statistics, read as carmen_monitor with a few small queries."""

from __future__ import annotations

from common.backup_access import UNREADABLE_TABLES
from pg8000.native import Connection

from probe.metric import Metric

_WRAP_AROUND = 2_147_483_647
_REPLAY_LAG = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
_REPLICA_LAG = "SELECT CASE WHEN count(*) > 0 THEN extract(epoch FROM coalesce(max(replay_lag), '0'))::float END FROM pg_stat_replication"
_SLOT_BYTES = """SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint FROM pg_replication_slots
                  WHERE restart_lsn IS NOT NULL"""


def statistics(connection: Connection) -> tuple[list[Metric], int]:
    """The instance's metrics, including this session, and its deadlocks since the last reset. Replicas and slots only of a primary."""
    maximum, age, deadlocks, in_recovery = connection.run(
        """SELECT current_setting('max_connections')::int, (SELECT max(age(datfrozenxid)) FROM pg_database),
                  (SELECT sum(deadlocks)::bigint FROM pg_stat_database), pg_is_in_recovery()"""
    )[0]
    by_role = connection.run(
        """SELECT coalesce(usename, 'none'), coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float, count(*),
                  count(*) FILTER (WHERE state IN ('active', 'fastpath function call')), count(*) FILTER (WHERE state = 'idle'),
                  count(*) FILTER (WHERE state LIKE 'idle in transaction%'), count(*) FILTER (WHERE wait_event_type = 'Lock')
             FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1 ORDER BY 1"""
    )
    total, active, idle, idle_in_transaction, waiting = (sum(counts) for counts in list(zip(*by_role, strict=True))[2:])
    metrics = [
        Metric("DatabaseConnections", "Count", total),
        Metric("DatabaseConnectionsActive", "Count", active),
        Metric("DatabaseConnectionsIdle", "Count", idle),
        Metric("DatabaseConnectionsIdleInTransaction", "Count", idle_in_transaction),
        Metric("DatabaseConnectionsWaiting", "Count", waiting),
        Metric("DatabaseConnectionsMaximum", "Count", maximum),
        Metric("DatabaseConnectionsUsed", "Percent", 100 * total / maximum),
        Metric("DatabaseLongestTransaction", "Seconds", max(row[1] for row in by_role)),
        Metric("DatabaseTransactionIdAge", "Count", age),
        Metric("DatabaseTransactionIdsUsed", "Percent", 100 * age / _WRAP_AROUND),
        Metric("TablesBackupCannotRead", "Count", len(connection.run(UNREADABLE_TABLES))),
        *(Metric(f"DatabaseConnectionsOf_{row[0]}", "Count", row[2]) for row in by_role),
    ]
    lag = "DatabaseReplicationLag", "Seconds"
    optional = {lag: _REPLAY_LAG} if in_recovery else {lag: _REPLICA_LAG, ("DatabaseReplicationSlotBytes", "Bytes"): _SLOT_BYTES}
    values = {name: connection.run(query)[0][0] for name, query in optional.items()}
    return metrics + [Metric(*name, value) for name, value in values.items() if value is not None], deadlocks
