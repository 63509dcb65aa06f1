"""Locks for what must not meet: a backup and maintenance; and two who change logins and the secrets that hold them.

A session holds a lock, so it ends with the session, however that ends. `REINDEX CONCURRENTLY` would otherwise wait for the
snapshot of a running backup, and leave an invalid index when its time is over; and the daily run of database_roles could
put back a password that it read before a rotation changed it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pg8000.native import Connection

# "carmen", and a 1. One lock each a database, and all of ours connect to the same one.
KEY = 0x6361726D656E01
LOGINS = 0x6361726D656E  # held from reading secrets until the database and every secret agree again


class Busy(Exception):
    """Somebody else holds the lock; trying again later is right."""


@contextmanager
def exclusive(connection: Connection, purpose: str, *, wait_seconds: float = 0, key: int = KEY) -> Iterator[None]:
    """Holds the lock while the block runs, or raises Busy that names its holder; `purpose` is what others are then told."""
    connection.run("SELECT set_config('application_name', :purpose, false)", purpose=purpose[:63])
    deadline = time.monotonic() + wait_seconds
    while not connection.run("SELECT pg_try_advisory_lock(:key)", key=key)[0][0]:
        if time.monotonic() >= deadline:
            raise Busy(f"{purpose} did not start: {holder(connection, key)}. Run it again when that has ended.")
        time.sleep(min(1, max(0, deadline - time.monotonic())))
    try:
        yield
    finally:
        _release(connection, key)


def holder(connection: Connection, key: int = KEY) -> str:
    """Who holds the lock, in words: what it says it does and since when its session is there."""
    rows = connection.run(
        """SELECT a.application_name, a.usename, l.pid, to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
             FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::bigint << 32 | l.objid::bigint) = :key""",
        key=key,
    )
    if not rows:
        return "the lock was held and has just been released"
    name, user, pid, since = rows[0]
    who = f"{name or 'a session'!r} ({user or 'unknown user'}, process {pid})"
    return f"{who} holds the lock" + (f" since {since} UTC" if since else "")


def _release(connection: Connection, key: int) -> None:
    """Nothing to do when the session is gone: the lock went with it. The error that ended it is the one to be seen."""
    from pg8000.exceptions import DatabaseError, InterfaceError

    try:
        connection.run("ROLLBACK")  # an aborted transaction would refuse the next statement
        connection.run("SELECT pg_advisory_unlock(:key)", key=key)
    except (DatabaseError, InterfaceError, OSError):
        return
