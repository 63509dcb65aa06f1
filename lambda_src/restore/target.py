"""The target server and database: what a restore may touch, and how the restored database gets its name at the end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from common import client_tools, database
from common.backup_manifest import Manifest
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection, identifier

from restore import LoadFailed, Refused, loader
from restore.loading import Contents

NON_EMPTY, PRODUCTION = "non-empty", "production"
MAJORS = range(15, 19)
ADMINISTRATION = "postgres"  # every server has this database, and nothing uses it
_LOCK = 0x6361726D656E02
_NAME_LIMIT = 63
DIFFERS, INCOMPLETE = "_differs_", "_incomplete_"  # in the names of restores that are kept
# Everything a person could have created; an untouched database has none.
_OBJECTS = """SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_temp'
                         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))
                   + (SELECT count(*) FROM pg_largeobject_metadata)
                   + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
                         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'))"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database on a server, and the login: a role that may create databases (on RDS the master)."""

    host: str
    port: int
    user: str
    password: str
    database: str

    def variables(self, database: str) -> dict[str, str]:
        return client_tools.connection(self.user, self.password, host=self.host, port=self.port, name=database)

    def connect(self, name: str) -> AbstractContextManager[Connection]:
        """A connection over verified TLS, without a statement timeout, because an index may take hours."""
        return database.open_session(
            database.connect(
                host=self.host,
                port=self.port,
                database=name,
                user=self.user,
                password=self.password,
                timeout_seconds=None,
                application_name="carmen-restore",
            )
        )


def refuse_production(target: Target, allowed: Collection[str], rds: Any) -> None:
    """Raise Refused if a CarmenProd stack deployed the instance. A copy restored from it is not production until it is swapped in.

    If RDS does not answer, every RDS host counts as production.
    """
    if PRODUCTION in allowed:
        return
    try:
        stack = _stack_of(target, rds)
    except Exception as error:
        if target.host.endswith(".rds.amazonaws.com"):
            raise Refused(
                f"{target.host} may be production: RDS did not answer DescribeDBInstances ({error}). "
                f"`--allow {PRODUCTION}` restores into it anyway"
            ) from error
        return
    if stack and stack.startswith("CarmenProd"):
        raise Refused(
            f"{target.host} is production: {stack} deployed it. Restore into another instance "
            f"(docs/runbooks/restore-a-backup.md), or add `--allow {PRODUCTION}`"
        )


def _stack_of(target: Target, rds: Any) -> str | None:
    addresses = _addresses(target.host)
    for page in rds.get_paginator("describe_db_instances").paginate():
        for instance in page["DBInstances"]:
            endpoint = instance.get("Endpoint", {})
            if endpoint.get("Port") != target.port:
                continue
            if endpoint["Address"].lower() == target.host.lower() or addresses & _addresses(endpoint["Address"]):
                tags = {tag["Key"]: tag["Value"] for tag in instance.get("TagList", [])}
                return tags.get("aws:cloudformation:stack-name")
    return None


def _addresses(host: str) -> set[str]:
    with suppress(OSError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    return set()


@contextmanager
def administration(target: Target) -> Iterator[Connection]:
    """A connection to the administration database; while it is open, it holds the lock against a second restore."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(target.connect(ADMINISTRATION))
        except (DatabaseError, InterfaceError, OSError) as error:
            raise Refused(f"{target.user} cannot log in to {target.host}:{target.port}: {reason(error)}") from error
        if not _value(connection, f"SELECT pg_try_advisory_lock({_LOCK})"):
            raise Refused(f"Another restore into {target.host}:{target.port} is running: wait until it ends")
        yield connection


def server_major(connection: Connection) -> int:
    """The server's major version. Raises Refused if this client cannot restore into it."""
    version: str = _value(connection, "SELECT current_setting('server_version')")
    major = int(version.split(".")[0].split()[0])
    if major not in MAJORS:
        raise Refused(f"The server is PostgreSQL {version}; a restore needs version {MAJORS[0]} to {MAJORS[-1]}")
    if client_tools.major() < major:
        raise Refused(
            f"The client programs are PostgreSQL {client_tools.version()}, older than the server's {version}: "
            "set POSTGRESQL_HOME to newer ones"
        )
    return major


def refuse_unfit(connection: Connection, target: Target, contents: Contents, major: int, allowed: Collection[str]) -> bool:
    """Raise Refused before anything changes; return whether the database exists already."""
    if int(contents.server_version.split(".")[0]) > major:
        raise Refused(
            f"The backup is of PostgreSQL {contents.server_version}, the server is older ({major}): restore into version "
            f"{contents.server_version.split('.')[0]} or newer"
        )
    if not _value(connection, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise Refused(f"{target.user} may not create databases: use the master's login")
    existing = {name for (name,) in connection.run("SELECT rolname FROM pg_roles")}
    if missing := sorted(contents.roles - existing):
        raise Refused(
            f"{target.host} lacks roles of the backup: {', '.join(missing)}. Run the database-roles function, or create them as in the "
            "backup's roles.sql"
        )
    return replaces(connection, target, allowed)


def replaces(connection: Connection, target: Target, allowed: Collection[str]) -> bool:
    """Whether the database exists already. Raises Refused if it holds objects and may not be renamed."""
    if not connection.run("SELECT FROM pg_database WHERE datname = :name", name=target.database):
        return False
    with target.connect(target.database) as inside:
        objects = _value(inside, _OBJECTS)
    if objects and NON_EMPTY not in allowed:
        raise Refused(
            f"Database {target.database} on {target.host} is not empty ({objects} objects). Use another --database, or add "
            f"`--allow {NON_EMPTY}`: the restored database then gets its name, and the old one is renamed and kept"
        )
    return True


@contextmanager
def staging(
    connection: Connection, target: Target, backup: Manifest, contents: Contents, roles: set[str]
) -> Iterator[tuple[Target, Callable[[], None]]]:
    """A new database for this restore, as its temporary owner reaches it, and the function that ends that role and takes the database over.

    The database is dropped if the block raises, or by the next restore if the server or this process dies.
    """
    prefix = f"{target.database[:30]}_restoring_"
    _drop_remains(connection, prefix)
    name = f"{prefix}{backup.stamp.lower()}_{os.getpid()}"[:_NAME_LIMIT]
    role: loader.Loader | None = None
    try:
        role = loader.create(connection, contents.owners | roles)
        place = replace(target, user=role.name, password=role.password, database=name)
        _create(connection, target, place, contents, backup)

        def take_over() -> None:
            assert role
            loader.retire(connection, role)
            with target.connect(name) as loaded:
                loader.take_over(loaded, role)

        yield place, take_over
    except BaseException as error:
        _drop_failed(connection, name, role, error)
        raise
    loader.drop(connection, role)


@contextmanager
def scratch(connection: Connection, target: Target, staged: Target, contents: Contents, backup: Manifest) -> Iterator[str]:
    """A database for definitions only, of the same temporary role, while `staging` is open."""
    place = replace(staged, database=f"{target.database[:30]}_restoring_definitions_{os.getpid()}"[:_NAME_LIMIT])
    try:
        _create(connection, target, place, contents, backup)
        yield place.database
    finally:
        with suppress(DatabaseError, InterfaceError, OSError):  # the next restore drops it
            _drop(connection, place.database)


def _create(connection: Connection, target: Target, place: Target, contents: Contents, backup: Manifest) -> None:
    """Create an empty database that belongs to the temporary role, with its extensions, settings and privileges."""
    name = place.database
    connection.run(f"CREATE DATABASE {identifier(name)} TEMPLATE template0 ENCODING 'UTF8'")
    with target.connect(name) as empty:
        loader.prepare(empty, sorted(contents.extensions & backup.extensions.keys()))
    connection.run(f"ALTER DATABASE {identifier(name)} OWNER TO {identifier(place.user)}")
    with place.connect(name) as own:
        for before, behind in contents.database_statements:
            own.run(f"{before}{identifier(name)}{behind}")
        if not contents.database_statements:  # owners of schemas need it, and SQL text lacks it
            for owner in sorted(contents.owners):
                own.run(f"GRANT CREATE ON DATABASE {identifier(name)} TO {identifier(owner)}")


def keep(connection: Connection, wanted: str, name: str, stamp: str, *, incomplete: bool = False) -> str:
    """Rename a staging database, so that neither this restore nor the next one drops it; returns the new name."""
    kept = f"{wanted[:30]}{INCOMPLETE if incomplete else DIFFERS}{stamp.lower()}_{os.getpid()}"
    _end_sessions(connection, name)
    connection.run(f"ALTER DATABASE {identifier(name)} RENAME TO {identifier(kept)}")
    return kept


def accept(connection: Connection, target: Target, kept: str, allowed: Collection[str]) -> str | None:
    """Give a kept database the target's name; returns the new name of the previous database."""
    prefixes = tuple(f"{target.database[:30]}{mark}" for mark in (DIFFERS, INCOMPLETE))
    names = [name for (name,) in connection.run("SELECT datname FROM pg_database ORDER BY 1") if name.startswith(prefixes)]
    if kept not in names:
        raise Refused(f"{target.host} has no database {kept} that a restore of {target.database} kept; it has {', '.join(names) or 'none'}")
    stamp = kept.rsplit("_", 2)[1]
    return swap(connection, target.database, kept, stamp if replaces(connection, target, allowed) else None)


def swap(connection: Connection, wanted: str, name: str, stamp: str | None) -> str | None:
    """Rename both databases in one transaction; returns the new name of the previous database."""
    renames, previous = {name: wanted}, None
    if stamp:
        previous = f"{wanted[:30]}_before_{stamp.lower()}_{os.getpid()}"
        renames = {wanted: previous, **renames}
    for old in renames:
        _end_sessions(connection, old)
    # The statements of one simple query are one transaction.
    connection.run("; ".join(f"ALTER DATABASE {identifier(old)} RENAME TO {identifier(new)}" for old, new in renames.items()))
    return previous


def _drop_remains(connection: Connection, prefix: str) -> None:
    """Drop the databases of restores that died. The lock proves that none is running."""
    for (name,) in connection.run("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)", prefix=prefix):
        _drop(connection, name)
    loader.drop(connection)


def _drop(connection: Connection, name: str) -> None:
    """Without WITH (FORCE), which may not end autovacuum; a plain DROP does."""
    _end_sessions(connection, name)
    connection.run(f"DROP DATABASE IF EXISTS {identifier(name)}")


def _end_sessions(connection: Connection, name: str) -> None:
    connection.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name AND backend_type = 'client backend'", name=name
    )


def _drop_failed(connection: Connection, name: str, role: loader.Loader | None, error: BaseException) -> None:
    try:
        _drop(connection, name)
        if role:
            loader.drop(connection, role)
    except (DatabaseError, InterfaceError, OSError) as second:
        raise LoadFailed(
            f"{error}; then the server stopped answering ({reason(second)}). The incomplete database {name} may remain: nothing uses it, "
            "and the next restore drops it"
        ) from error


def reason(error: BaseException) -> str:
    """The server's or the network's message, without the dictionary around it."""
    details = error.args[0] if error.args else error
    return str(details.get("M", details)) if isinstance(details, dict) else str(details)


def _value(connection: Connection, sql: str) -> Any:
    return connection.run(sql)[0][0]
