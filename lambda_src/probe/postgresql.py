"""PostgreSQL's statistics, read as carmen_monitor with a few small queries."""

from __future__ import annotations

from dataclasses import dataclass, field

from pg8000.native import Connection

_WRAP_AROUND = 2_147_483_647


@dataclass
class Health:
    """Counters and current values. Without a replica or slot their values are None."""

    maximum: int = 0
    total: int = 0
    active: int = 0
    idle: int = 0
    idle_in_transaction: int = 0
    waiting: int = 0
    by_role: dict[str, int] = field(default_factory=dict)
    longest_transaction_seconds: float = 0
    replication_lag_seconds: float | None = None
    slot_bytes: int | None = None
    deadlocks: int = 0
    transaction_id_age: int = 0

    @property
    def used_percent(self) -> float:
        return 100 * self.total / self.maximum

    @property
    def transaction_id_percent(self) -> float:
        return 100 * self.transaction_id_age / _WRAP_AROUND


def health(connection: Connection) -> Health:
    """Read the statistics. The own session counts too. Replicas and slots are read from a primary only."""
    found = Health()
    found.maximum, found.transaction_id_age, found.deadlocks, in_recovery = connection.run(
        """SELECT current_setting('max_connections')::int, (SELECT max(age(datfrozenxid)) FROM pg_database),
                  (SELECT sum(deadlocks)::bigint FROM pg_stat_database), pg_is_in_recovery()"""
    )[0]
    for role, state, waits, count, longest in connection.run(
        """SELECT coalesce(usename, 'none'), coalesce(state, 'none'), coalesce(wait_event_type = 'Lock', false), count(*),
                  coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float
             FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2, 3"""
    ):
        found.total += count
        found.by_role[role] = found.by_role.get(role, 0) + count
        found.active += count if state in ("active", "fastpath function call") else 0
        found.idle += count if state == "idle" else 0
        found.idle_in_transaction += count if state.startswith("idle in transaction") else 0
        found.waiting += count if waits else 0
        found.longest_transaction_seconds = max(found.longest_transaction_seconds, longest)
    if in_recovery:
        lag = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
        found.replication_lag_seconds = connection.run(lag)[0][0]
    else:
        found.replication_lag_seconds = connection.run(
            "SELECT CASE WHEN count(*) > 0 THEN extract(epoch FROM coalesce(max(replay_lag), '0'))::float END FROM pg_stat_replication"
        )[0][0]
        found.slot_bytes = connection.run(
            "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"
        )[0][0]
    return found
