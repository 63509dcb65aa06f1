"""The objects to maintain, from PostgreSQL's catalog and statistics.

Sizes are `relpages`, which VACUUM has just updated: pg_relation_size would wait for table locks.
"""

from __future__ import annotations

from dataclasses import dataclass

from pg8000.native import Connection

# Excludes system schemas and temporary tables.
SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'"
LEFTOVER = "_cc(new|old)[0-9]*$"
BLOCK = "current_setting('block_size')::bigint"


@dataclass(frozen=True)
class Table:
    """A table, materialised view, partition, or (kind "p") a whole partitioned table."""

    name: str  # quoted and qualified
    kind: str
    statement: str


@dataclass(frozen=True)
class Index:
    oid: int
    name: str  # quoted and qualified
    bytes: int
    valid: bool
    measurable: bool  # a B-tree
    fill_factor: int


def major(connection: Connection) -> int:
    return int(connection.run("SELECT current_setting('server_version_num')::int / 10000")[0][0])


def tables_due(connection: Connection, since: str, *, vacuum: bool) -> list[Table]:
    """Tables that were not vacuumed and analyzed (or only analyzed) since the cycle began, most urgent first.

    ANALYZE of a partitioned table includes its partitions, which are then only vacuumed. If a partition is a foreign table, ANALYZE
    would read from another server: then each partition is analyzed separately.
    """
    version = major(connection)
    may = "pg_has_role(c.relowner, 'USAGE')" + (" OR has_table_privilege(c.oid, 'MAINTAIN')" if version >= 17 else "")
    rows = connection.run(
        f"""SELECT format('%I.%I', n.nspname, c.relname), c.relkind::text, c.relispartition, foreign_part.there,
                   s.last_vacuum >= :since::timestamptz, s.last_analyze >= :since::timestamptz
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
             CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_partition_tree(pg_partition_root(c.oid)) p JOIN pg_class f ON f.oid = p.relid
                                                 WHERE f.relkind = 'f')) AS foreign_part (there)
             WHERE c.relkind IN ('r', 'm', 'p') AND {SCHEMAS} AND ({may})
             ORDER BY age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::int / 2 DESC NULLS LAST,
                      coalesce(s.n_dead_tup, 0) + coalesce(s.n_mod_since_analyze, 0) DESC, s.last_vacuum NULLS FIRST, 1""",
        since=since,
    )
    due = []
    for name, kind, is_partition, has_foreign, vacuumed, analyzed in rows:
        only = "ONLY " if version >= 18 and kind == "r" else ""  # from 18 on, the command includes inheritance children
        with_parent = is_partition and not has_foreign
        if kind == "p":
            if not is_partition and not has_foreign and not analyzed:
                due.append(Table(name, kind, f"ANALYZE (SKIP_LOCKED) {name}"))
        elif vacuum and not (vacuumed and (analyzed or with_parent)):
            due.append(Table(name, kind, f"VACUUM ({'' if with_parent else 'ANALYZE, '}SKIP_LOCKED) {only}{name}"))
        elif not vacuum and not with_parent and not analyzed:
            due.append(Table(name, kind, f"ANALYZE (SKIP_LOCKED) {only}{name}"))
    return sorted(due, key=lambda table: table.kind == "p")  # stable: partitioned tables after their partitions


def indexes(connection: Connection) -> list[Index]:
    """Indexes that can be rebuilt online, largest first. Without exclusion constraints' indexes, and without leftovers."""
    may = "pg_has_role(t.relowner, 'USAGE')" + (" OR has_table_privilege(t.oid, 'MAINTAIN')" if major(connection) >= 17 else "")
    rows = connection.run(
        f"""SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relpages * {BLOCK}, i.indisvalid, m.amname = 'btree',
                   coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 90)
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am m ON m.oid = c.relam
             WHERE c.relkind = 'i' AND {SCHEMAS} AND ({may}) AND NOT i.indisexclusion AND (i.indisvalid OR c.relname !~ '{LEFTOVER}')
             ORDER BY c.relpages DESC, 2"""
    )
    return [Index(*row) for row in rows]


def leftover_indexes(connection: Connection) -> list[tuple[str, str]]:
    """Indexes that interrupted rebuilds left behind, and the statement that drops each. They slow down every write.

    The owner drops them concurrently. Other roles call the owner's function (database_roles), which locks the table briefly and fails
    after lock_timeout, for example while a rebuild still runs.
    """
    rows = connection.run(
        f"""SELECT format('%I.%I', n.nspname, c.relname), c.oid, pg_has_role(c.relowner, 'USAGE')
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname ~ '{LEFTOVER}' AND {SCHEMAS} ORDER BY 1"""
    )
    return [
        (name, f"DROP INDEX CONCURRENTLY IF EXISTS {name}" if owned else f"SELECT carmen_operations.drop_left_over_index({oid})")
        for name, oid, owned in rows
    ]


def measure(reader: Connection, schema: str, index: Index) -> dict[str, float] | None:
    """Bytes, and percent wasted compared with the fill factor; None for an empty index."""
    size, leaf, empty, deleted, density = reader.run(
        f"SELECT index_size, leaf_pages, empty_pages, deleted_pages, avg_leaf_density FROM {schema}.pgstatindex({index.oid}::oid::regclass)"
    )[0]
    pages = leaf + empty + deleted
    if not pages or density != density:  # NaN: no leaf
        return None
    return {"bytes": float(size), "wasted": round(100 * max(0.0, 1 - leaf * density / index.fill_factor / pages), 1)}


def extension_schema(connection: Connection, name: str) -> str | None:
    """The extension's schema, quoted; None if it is not installed."""
    rows = connection.run(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = :name", name=name
    )
    return str(rows[0][0]) if rows else None


def require_extension(connection: Connection, name: str) -> str:
    """The extension's schema, quoted. Raises LookupError if it is not installed."""
    if schema := extension_schema(connection, name):
        return schema
    raise LookupError(f"extension {name} is not installed")
