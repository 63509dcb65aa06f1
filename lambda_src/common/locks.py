"""Advisory locks: one excludes backup and maintenance, one excludes changes of logins and their secrets.

A lock belongs to a session and always ends with it. Without the locks, `REINDEX CONCURRENTLY` would wait for the snapshot of a
running backup and leave an invalid index at its time-out, and the daily run of database_roles could restore a password that it
read before a rotation.

Every role that may connect to a database can take any advisory lock there. So the locks are in a database that the application and the
owner of the schema cannot connect to; database_roles/roles.py sees to that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pg8000.native import Connection

DATABASE = "postgres"  # on every server, and empty; locks are per database
# "carmen", and a 1.
KEY = 0x6361726D656E01
LOGINS = 0x6361726D656E  # held from reading the secrets until database and secrets agree again
POLL_SECONDS = 1.0


class Busy(Exception):
    """Another session holds the lock. Try again later."""


@contextmanager
def exclusive(connection: Connection, purpose: str, *, wait_seconds: float = 0, key: int = KEY) -> Iterator[None]:
    """Hold the lock during the block. Raises Busy, which names the holder. `purpose` names this session to others."""
    connection.run("SELECT set_config('application_name', :purpose, false)", purpose=purpose[:63])
    deadline = time.monotonic() + wait_seconds
    while not connection.run("SELECT pg_try_advisory_lock(:key)", key=key)[0][0]:
        if time.monotonic() >= deadline:
            raise Busy(f"{purpose} did not start: {holder(connection, key)}. Run it again when that session has ended.")
        time.sleep(min(POLL_SECONDS, max(0, deadline - time.monotonic())))
    try:
        yield
    finally:
        _release(connection, key)


def holder(connection: Connection, key: int = KEY) -> str:
    """Describe the session that holds the lock, and since when it is connected."""
    rows = connection.run(
        """SELECT a.application_name, a.usename, l.pid, to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
             FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::bigint << 32 | l.objid::bigint) = :key""",
        key=key,
    )
    if not rows:
        return "the lock was held, but is free now"
    name, user, pid, since = rows[0]
    who = f"{name or 'a session'!r} ({user or 'unknown user'}, process {pid})"
    return f"{who} holds the lock" + (f" since {since} UTC" if since else "")


def _release(connection: Connection, key: int) -> None:
    """Release the lock. A lost session has released it already, and its own error must stay visible."""
    from pg8000.exceptions import DatabaseError, InterfaceError

    try:
        connection.run("ROLLBACK")  # an aborted transaction would refuse the next statement
        connection.run("SELECT pg_advisory_unlock(:key)", key=key)
    except (DatabaseError, InterfaceError, OSError):
        return
