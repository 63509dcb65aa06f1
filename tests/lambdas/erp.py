"""An ERP-like database with everything that a dump could get wrong (local/services/erp.sql), its roles made as the product makes them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from database_roles import roles

from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tests.lambdas.backups import connect

SQL = ROOT / "local" / "services" / "erp.sql"
PASSWORDS = {name: f"password of {name}" for name in (roles.OWNER, roles.MONITOR_PROXY, *roles.APPLICATION_LOGINS)}  # IAM logins have none


@contextmanager
def erp_database(server: LocalRds, rows: int = 1000) -> Iterator[str]:
    """A database filled with `rows` rows in each large table; gone afterwards."""
    name = f"erp_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
    try:
        fill(server, name, rows)
        yield name
    finally:
        server.as_rdsadmin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def fill(server: LocalRds, database: str, rows: int = 1000) -> None:
    """The roles, everything in erp.sql as their owner, a large object of the application's, and the roles once more."""
    apply_roles(server, database)
    with connect(server, roles.OWNER, PASSWORDS[roles.OWNER], database) as owner:
        owner.run(SQL.read_text(encoding="utf-8").replace(":rows", str(rows)))
    application = roles.APPLICATION_LOGINS[0]
    with connect(server, application, PASSWORDS[application], database) as connection:
        connection.run("SELECT lo_from_bytea(4711, '\\x00ff00'::bytea)")
    apply_roles(server, database)
    # Whether RDS's master may give this is not documented; the look-alike's may not, and without it there is no dump.
    server.as_rdsadmin(f"ALTER ROLE {roles.BACKUP} BYPASSRLS")


def apply_roles(server: LocalRds, database: str) -> None:
    """What the daily run of the database-roles function does."""
    with connect(server, server.master, server.password, database) as master:
        outcome = roles.apply(master, PASSWORDS)
    assert [refusal for refusal in outcome.refused if not refusal.startswith(roles.TOLERATED)] == []
