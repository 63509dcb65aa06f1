"""The login that loads a dump: a temporary role that owns only the staging database and acts as the owners of its objects (ADR 0031).

A dump runs code of its own: functions in CHECK constraints, indexes, materialised views. SET ROLE would be no boundary, because a dump can
RESET ROLE: the session itself must have no more privileges than the owner of the schema. The administration's connection only runs
statements that are composed here.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from common.logins import scram_verifier
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection, identifier, literal

PREFIX = "carmen_restore_"
# Roles with more privileges than the owner of a schema: attributes, or membership in a role of PostgreSQL or RDS.
_ORDINARY = """
WITH RECURSIVE above (member, role) AS (
    SELECT oid, oid FROM pg_roles WHERE rolname = ANY (:names)
     UNION SELECT above.member, m.roleid FROM above JOIN pg_auth_members m ON m.member = above.role)
SELECT n.rolname FROM pg_roles n WHERE n.rolname = ANY (:names) AND n.rolname <> current_user AND NOT EXISTS (
    SELECT FROM above JOIN pg_roles r ON r.oid = above.role
     WHERE above.member = n.oid AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
                                     OR starts_with(r.rolname, 'pg_') OR starts_with(r.rolname, 'rds')))
 ORDER BY 1"""


@dataclass(frozen=True)
class Loader:
    """The temporary role."""

    name: str
    password: str


def create(connection: Connection, roles: Collection[str]) -> Loader:
    """Create the role, and let it act as those of `roles` that are no more than owners of schemas. Give it the database afterwards.

    A refused grant is no error: loading fails if the role was necessary.
    """
    loader = Loader(f"{PREFIX}{secrets.token_hex(8)}", secrets.token_hex(24))
    name, new = loader.name, connection.run("SELECT current_setting('server_version_num')::int")[0][0] >= 160000
    connection.run(f"CREATE ROLE {name} LOGIN PASSWORD {literal(scram_verifier(loader.password))}")
    options = " WITH INHERIT TRUE, SET TRUE" if new else ""
    connection.run(f"GRANT {name} TO current_user{options}")  # to give it the database and to take that back
    for (role,) in connection.run(_ORDINARY, names=list(roles)):
        try:
            connection.run(f"GRANT {identifier(role)} TO {name}{options}")
        except DatabaseError:
            continue
    return loader


def prepare(inside: Connection, extensions: Iterable[str]) -> None:
    """Create the extensions of schema public in the empty database: on RDS only the master may create those that are not trusted."""
    for name in extensions:
        inside.run(f"CREATE EXTENSION IF NOT EXISTS {identifier(name)} SCHEMA public")


def retire(connection: Connection, loader: Loader) -> None:
    """End the login and its sessions, before a session with more privileges connects to what it loaded."""
    connection.run(f"ALTER ROLE {loader.name} NOLOGIN")
    connection.run("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :name", name=loader.name)


def take_over(inside: Connection, loader: Loader) -> None:
    """In the loaded database: what the retired role owns, also the database, becomes the current user's. Runs no code of the dump."""
    inside.run(f"REASSIGN OWNED BY {loader.name} TO current_user")
    inside.run(f"DROP OWNED BY {loader.name}")


def drop(connection: Connection, loader: Loader | None = None) -> None:
    """Drop the role; without one, those of restores that died and of which nothing remains."""
    names = (
        [loader.name]
        if loader
        else [name for (name,) in connection.run("SELECT rolname FROM pg_roles WHERE starts_with(rolname, :prefix)", prefix=PREFIX)]
    )
    for name in names:
        try:
            connection.run(f"DROP ROLE IF EXISTS {identifier(name)}")
        except DatabaseError:
            if loader:
                raise
