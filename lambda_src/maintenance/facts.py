"""The figures of a report, read as carmen_monitor. Each part is read separately, so that one failure does not affect the others.

The manual's queries, corrected for PostgreSQL 13 and later, and figures for which AWS has no dashboard.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from maintenance.catalog import BLOCK, LEFTOVER, SCHEMAS, Index, extension_schema, measure, require_extension
from maintenance.runner import Deadline

Rows = list[dict[str, Any]]

_SHOWN_SQL = 2_000  # characters of a statement's text
_MEASURED = 50  # the largest, above a megabyte
_MEASURED_PAGES = 128
_STATEMENTS = (
    "s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND coalesce(r.rolname, '') NOT IN"
    " ('carmen_backup', 'carmen_maintenance', 'carmen_monitor', 'carmen_monitor_proxy')"
)
_HOLDS = {"int2": 32_767, "int4": 2_147_483_647, "int8": 9_223_372_036_854_775_807}


def collect(reader: Connection, before: dict[str, Any] | None, measured: dict[str, dict[str, float]], deadline: Deadline) -> dict[str, Any]:
    """All parts. `before` is the previous report of this kind; `measured` contains this cycle's index measurements."""
    parts: dict[str, Callable[[], Any]] = {
        "database": lambda: database(reader),
        "tables": lambda: tables(reader),
        "unused_indexes": lambda: unused_indexes(reader),
        "invalid_indexes": lambda: invalid_indexes(reader),
        "index_bloat": lambda: index_bloat(reader, measured, deadline),
        "table_bloat": lambda: table_bloat(reader, deadline),
        "slowest_statements": lambda: statements(reader, "mean_exec_time", before),
        "costliest_statements": lambda: statements(reader, "total_exec_time", before),
        "sequences": lambda: sequences(reader),
        "transaction_ids": lambda: transaction_ids(reader),
        "baseline": lambda: baseline(reader, before),
    }
    collected: dict[str, Any] = {}
    for name, read in parts.items():
        reader.run(f"SET statement_timeout = {max(1_000, int(deadline.left() * 500))}")
        reader.run("SET lock_timeout = 1000")
        try:
            collected[name] = read()
        except (DatabaseError, LookupError) as error:
            reason = error.args[0].get("M") if error.args and isinstance(error.args[0], dict) else str(error)
            collected[name] = {"unavailable": str(reason)}
    return collected


def database(reader: Connection) -> dict[str, Any]:
    return _rows(
        reader,
        """SELECT current_database() AS name, current_setting('server_version') AS server_version,
                  pg_database_size(current_database()) AS bytes,
                  to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS taken_at,
                  (SELECT to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM pg_stat_database
                    WHERE datname = current_database()) AS counted_since,
                  (SELECT to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS started_at""",
    )[0]


def tables(reader: Connection) -> Rows:
    """Sizes, use and age of statistics, largest first. Partitions name their table."""
    return _rows(
        reader,
        f"""SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_partition_root(c.oid)::regclass::text AS part_of,
                   greatest(c.reltuples, 0)::bigint AS rows,
                   c.relpages * {BLOCK} AS heap_bytes, coalesce(t.relpages, 0) * {BLOCK} AS toast_bytes,
                   coalesce((SELECT sum(x.relpages) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                              WHERE i.indrelid = c.oid), 0)::bigint * {BLOCK} AS index_bytes,
                   s.n_dead_tup AS dead_rows, s.n_mod_since_analyze AS changed_since_analyze, s.seq_scan, s.idx_scan,
                   round(extract(epoch FROM clock_timestamp() - greatest(s.last_analyze, s.last_autoanalyze)) / 3600, 1)::float
                     AS analyzed_hours_ago,
                   round(extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum)) / 3600, 1)::float
                     AS vacuumed_hours_ago
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
              LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
             WHERE c.relkind IN ('r', 'm') AND {SCHEMAS}
             ORDER BY c.relpages + coalesce(t.relpages, 0) DESC, 1""",
    )


def unused_indexes(reader: Connection) -> Rows:
    """Indexes without scans since statistics began and without dependents. Partitions count for the whole index."""
    unused = _rows(
        reader,
        f"""SELECT r.oid, min(format('%I.%I', rn.nspname, r.relname)) AS name, min(i.indrelid::regclass::text) AS of_table,
                   sum(c.relpages)::bigint * {BLOCK} AS bytes
              FROM pg_stat_all_indexes s JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_index i ON i.indexrelid = c.oid
              JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid), c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
             WHERE {SCHEMAS} AND i.indisvalid
             GROUP BY r.oid
            HAVING sum(s.idx_scan) = 0 AND NOT bool_or(i.indisunique OR i.indisexclusion OR i.indisreplident OR i.indisclustered)
               AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = r.oid)
             ORDER BY sum(c.relpages) DESC, 2""",
    )
    for row in unused:
        definition = _unless_locked(partial(reader.run, f"SELECT pg_get_indexdef({row.pop('oid')})"))
        row["definition"] = definition[0][0] if definition else None
    return unused


def invalid_indexes(reader: Connection) -> Rows:
    return _rows(
        reader,
        f"""SELECT format('%I.%I', n.nspname, c.relname) AS name, i.indrelid::regclass::text AS of_table,
                   c.relname ~ '{LEFTOVER}' AS left_over
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT i.indisvalid AND c.relkind = 'i' AND {SCHEMAS} ORDER BY 1""",
    )


def index_bloat(reader: Connection, measured: dict[str, dict[str, float]], deadline: Deadline) -> Rows:
    """The run's measurements. A monthly run measures the largest indexes here."""
    known = dict(measured)
    if not known:
        schema = require_extension(reader, "pgstattuple")
        for oid, name, size, fill in reader.run(
            f"""SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relpages * {BLOCK},
                       coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 90)
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                  JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
                 WHERE c.relkind = 'i' AND i.indisvalid AND c.relpages >= {_MEASURED_PAGES} AND {SCHEMAS}
                 ORDER BY c.relpages DESC, 2 LIMIT {_MEASURED}"""
        ):
            if deadline.left() < 10:
                break
            found = _unless_locked(partial(measure, reader, schema, Index(oid, name, size, True, True, fill)))
            if found:
                known[name] = found
    rows = [
        {"name": name, "bytes": int(m["bytes"]), "wasted_bytes": int(m["bytes"] * m["wasted"] / 100), "wasted_percent": m["wasted"]}
        for name, m in known.items()
    ]
    return sorted(rows, key=lambda row: (-row["wasted_bytes"], row["name"]))


def table_bloat(reader: Connection, deadline: Deadline) -> Rows:
    """Free and dead space by pgstattuple's approximation, which skips all-visible pages."""
    schema = require_extension(reader, "pgstattuple")
    rows: Rows = []
    for oid, name in reader.run(
        f"""SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'm') AND c.relpages >= {_MEASURED_PAGES} AND {SCHEMAS}
             ORDER BY c.relpages DESC, 2 LIMIT {_MEASURED}"""
    ):
        if deadline.left() < 5:
            break
        sizes = f"SELECT table_len, dead_tuple_len, approx_free_space FROM {schema}.pgstattuple_approx({oid}::oid::regclass)"
        if found := _unless_locked(partial(reader.run, sizes)):
            size, dead, free = (int(value) for value in found[0])
            rows.append(
                {
                    "name": name,
                    "bytes": size,
                    "wasted_bytes": dead + free,
                    "wasted_percent": round(100 * (dead + free) / size, 1) if size else 0.0,
                }
            )
    return sorted(rows, key=lambda row: (-row["wasted_bytes"], row["name"]))


def statements(reader: Connection, order: str, before: dict[str, Any] | None, limit: int = 10) -> Rows:
    """Statements of the application and of operators, without backups and maintenance, which always take long."""
    schema = require_extension(reader, "pg_stat_statements")
    found = _rows(
        reader,
        f"""SELECT s.queryid::text AS id, r.rolname AS role, left(s.query, {_SHOWN_SQL}) AS statement, s.calls, s.rows,
                   s.total_exec_time AS total_ms, s.mean_exec_time AS mean_ms, s.max_exec_time AS max_ms, s.stddev_exec_time AS stddev_ms,
                   round(100.0 * s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 1)::float AS cache_hit_percent
              FROM {schema}.pg_stat_statements s LEFT JOIN pg_roles r ON r.oid = s.userid
             WHERE {_STATEMENTS}
             ORDER BY s.{order} DESC, 1 LIMIT {limit}""",
    )
    then: dict[str, float] = {}
    for part in ("slowest_statements", "costliest_statements"):
        rows = (before or {}).get(part)
        then |= {row["id"]: row["mean_ms"] for row in rows} if isinstance(rows, list) else {}
    return [row | {"statement": _shown(row["statement"]), "mean_ms_before": then.get(row["id"])} for row in found]


def _shown(statement: str) -> str:
    """Hide utility statements with passwords: PostgreSQL normalizes constants of queries only."""
    words = statement.lower()
    if "password" in words and not words.lstrip(" (\n\t").startswith(("select", "insert", "update", "delete", "merge", "with")):
        return f"({statement.split(None, 1)[0].upper()} …: hidden, because it contains a password)"
    return statement


def sequences(reader: Connection) -> Rows:
    """How much of their range sequences and their columns have used, most first. Without cycling sequences."""
    rows = reader.run(
        f"""SELECT format('%I.%I', n.nspname, c.relname), s.seqincrement, s.seqmin, s.seqmax,
                   CASE WHEN has_sequence_privilege(c.oid, 'SELECT') THEN pg_sequence_last_value(c.oid) END,
                   array_agg(DISTINCT y.typname::text) FILTER (WHERE y.typname IN ('int2', 'int4', 'int8')),
                   string_agg(DISTINCT a.attrelid::regclass::text || '.' || quote_ident(a.attname), ', ')
              FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN LATERAL (
                   SELECT refobjid AS relid, refobjsubid AS num FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND objid = c.oid AND refclassid = 'pg_class'::regclass AND refobjsubid > 0
                      AND deptype IN ('a', 'i')
                   UNION
                   SELECT e.adrelid, e.adnum FROM pg_depend d JOIN pg_attrdef e ON e.oid = d.objid
                    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
              ) fed ON true
              LEFT JOIN pg_attribute a ON a.attrelid = fed.relid AND a.attnum = fed.num LEFT JOIN pg_type y ON y.oid = a.atttypid
             WHERE NOT s.seqcycle AND {SCHEMAS}
             GROUP BY 1, 2, 3, 4, c.oid"""
    )
    found: Rows = []
    for name, step, least, most, last, types, columns in rows:
        fits = min((_HOLDS[kind] for kind in types or ()), default=_HOLDS["int8"])
        first, end = (least, min(most, fits)) if step > 0 else (most, max(least, -fits - 1))
        used = 0.0 if last is None else 100 * (last - first) / (end - first or 1)
        found.append({"name": name, "feeds": columns, "last_value": last, "limit": end, "used_percent": round(used, 2)})
    return sorted(found, key=lambda row: (-row["used_percent"], row["name"]))


def transaction_ids(reader: Connection) -> dict[str, Any]:
    """Age of the oldest transaction ids, which wrap around at 2 billion, of databases and of the oldest tables."""
    return {
        "freeze_max_age": int(reader.run("SELECT current_setting('autovacuum_freeze_max_age')")[0][0]),
        "databases": _rows(
            reader,
            """SELECT datname AS name, age(datfrozenxid) AS age, mxid_age(datminmxid) AS multixact_age,
                      round(100.0 * age(datfrozenxid) / 2147483647, 2)::float AS used_percent FROM pg_database ORDER BY 2 DESC, 1""",
        ),
        "tables": _rows(
            reader,
            f"""SELECT format('%I.%I', n.nspname, c.relname) AS name, age(c.relfrozenxid) AS age FROM pg_class c
                  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND {SCHEMAS} ORDER BY 2 DESC, 1 LIMIT 10""",
        ),
    }


def baseline(reader: Connection, before: dict[str, Any] | None) -> dict[str, Any]:
    """Performance since the previous report, or since the counters were reset."""
    counters = _rows(
        reader,
        """SELECT xact_commit, xact_rollback, blks_read, blks_hit, temp_bytes, deadlocks,
                  coalesce(extract(epoch FROM stats_reset), 0)::float AS reset, extract(epoch FROM clock_timestamp())::float AS at
             FROM pg_stat_database WHERE datname = current_database()""",
    )[0]
    schema = extension_schema(reader, "pg_stat_statements")
    if schema:
        counters |= _rows(
            reader,
            f"""SELECT coalesce(sum(s.calls), 0)::bigint AS calls, coalesce(sum(s.total_exec_time), 0)::float AS exec_ms
                  FROM {schema}.pg_stat_statements s LEFT JOIN pg_roles r ON r.oid = s.userid
                 WHERE {_STATEMENTS}""",
        )[0]
    earlier = (before or {}).get("baseline") or {}
    then = earlier.get("counters") or {}
    running = then and then["reset"] == counters["reset"] and all(counters[key] >= then[key] for key in then if key in counters)
    start = then if running else dict.fromkeys(counters, 0) | {"at": counters["reset"] or _server_start(reader)}
    grown = {key: counters[key] - start.get(key, 0) for key in counters}
    seconds = max(1.0, grown["at"])
    transactions = grown["xact_commit"] + grown["xact_rollback"]
    values = {
        "transactions_per_second": transactions / seconds,
        "rollback_percent": 100 * grown["xact_rollback"] / transactions if transactions else 0.0,
        "cache_hit_percent": 100 * grown["blks_hit"] / max(1, grown["blks_hit"] + grown["blks_read"]),
        "temporary_bytes_per_day": grown["temp_bytes"] / seconds * 86_400,
        "deadlocks": float(grown["deadlocks"]),
        "database_bytes": float(reader.run("SELECT pg_database_size(current_database())")[0][0]),
    }
    if "calls" in grown:
        values["mean_statement_ms"] = grown["exec_ms"] / grown["calls"] if grown["calls"] else 0.0
        values["statements_per_second"] = grown["calls"] / seconds
    values = {name: round(value, 4) for name, value in values.items()}
    previous: dict[str, float] = earlier.get("values") or {}
    change = {name: round(100 * (value / previous[name] - 1), 1) for name, value in values.items() if previous.get(name)}
    return {
        "counters": counters,
        "days": round(seconds / 86_400, 2),
        "values": values,
        "before": previous or None,
        "change_percent": change,
    }


def _server_start(reader: Connection) -> float:
    """The start of counters that were never reset."""
    return float(reader.run("SELECT extract(epoch FROM pg_postmaster_start_time())::float")[0][0])


def _unless_locked(read: Callable[[], Any]) -> Any:
    """Return None for an object that is locked, dropped or slow."""
    try:
        return read()
    except DatabaseError:
        return None


def _rows(reader: Connection, sql: str) -> Rows:
    rows = reader.run(sql)
    names = [column["name"] for column in reader.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]
