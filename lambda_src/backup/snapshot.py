"""The database's content, in the snapshot that pg_dump reads.

Sequences are not part of a snapshot; their values come from the dump itself (`dump.py`). The restore drill asks the restored
database the same questions with these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pg8000.native import Connection

# The tables whose rows the dump holds. An extension's own tables come with the extension, a partitioned table's rows are in
# its partitions, and a restore computes materialised views again.
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1"""
_SEQUENCES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1"""


@dataclass(kw_only=True)
class Facts:
    """The manifest's facts about the content."""

    database: str
    server_version: str
    database_bytes: int
    extensions: dict[str, str]
    large_objects: int
    invalid_indexes: list[str]
    tables: dict[str, int] = field(default_factory=dict)
    sequences: dict[str, list[Any]] = field(default_factory=dict)


def export(connection: Connection) -> str:
    """Open the snapshot and return its name, with which pg_dump joins it. It lasts as long as the transaction."""
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
        connection.run(f"SET {setting} = 0")
    connection.run("SELECT set_config('transaction_timeout', '0', false) FROM pg_settings WHERE name = 'transaction_timeout'")  # 17+
    connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.run("SET LOCAL row_security = off")  # a policy that hides rows is an error, not a smaller count
    name: str = connection.run("SELECT pg_export_snapshot()")[0][0]
    return name


def facts(connection: Connection) -> Facts:
    """The facts that are read at once; `count` and the others take longer."""
    database, version, size = connection.run(
        "SELECT current_database(), current_setting('server_version'), pg_database_size(current_database())"
    )[0]
    return Facts(
        database=database,
        server_version=version.split(" ")[0],
        database_bytes=size,
        extensions=dict(connection.run("SELECT extname, extversion FROM pg_extension ORDER BY 1")),
        large_objects=connection.run("SELECT count(*) FROM pg_largeobject_metadata")[0][0],
        invalid_indexes=invalid_indexes(connection),
    )


def count(connection: Connection, go_on: Callable[[], bool] = lambda: True) -> dict[str, int]:
    """Rows of every table; stops between two tables when `go_on` returns False."""
    _refuse_views(connection)
    rows = {}
    for (table,) in connection.run(_TABLES):
        if not go_on():
            break
        rows[table] = connection.run(f"SELECT count(*) FROM ONLY {table}")[0][0]  # noqa: S608 (format %I quoted it)
    return rows


def sequences(connection: Connection) -> dict[str, list[Any]]:
    """The live value of every sequence, which may be ahead of the dump's."""
    _refuse_views(connection)
    return {
        name: list(connection.run(f"SELECT last_value, is_called FROM {name}")[0])  # noqa: S608 (format %I quoted it)
        for (name,) in connection.run(_SEQUENCES)
    }


def _refuse_views(connection: Connection) -> None:
    """Make the server refuse views, as pg_dump does (CVE-2024-7348).

    The owner may replace a table by a view after its name was read; the view's functions would run as this role.
    """
    connection.run("SELECT set_config(name, 'view,foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'")


def invalid_indexes(connection: Connection) -> list[str]:
    """What a failed REINDEX CONCURRENTLY leaves behind; a restore builds valid ones."""
    rows = connection.run(
        """SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1"""
    )
    return [name for (name,) in rows]
