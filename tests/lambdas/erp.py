"""An ERP database with everything that is difficult to dump (local/services/erp.sql), with the product's roles."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from database_roles import roles

from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tests.lambdas.backups import connect

SQL = ROOT / "local" / "services" / "erp.sql"
PASSWORDS = {name: f"password of {name}" for name in (roles.OWNER, roles.MONITOR_PROXY, *roles.APPLICATION_LOGINS)}  # IAM logins have none


_shared: dict[Path, str] = {}


def shared_database(server: LocalRds) -> str:
    """The server's one such database for tests that only read it."""
    if server.data not in _shared:
        name = f"erp_{uuid.uuid4().hex[:8]}"
        with connect(server, server.master, server.password) as administration:
            administration.run(f"CREATE DATABASE {name}")
        fill(server, name)
        _shared[server.data] = name
    let_backup_read_all(server)
    return _shared[server.data]


def let_backup_read_all(server: LocalRds) -> None:
    """Grant BYPASSRLS, which dumps of tables with row-level security need. On RDS no role can: lambda_src/common/backup_access.py."""
    server.as_rdsadmin(f"ALTER ROLE {roles.BACKUP} BYPASSRLS")


@contextmanager
def erp_database(server: LocalRds, rows: int = 1000) -> Iterator[str]:
    """A temporary database with `rows` rows in each large table."""
    name = f"erp_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
    try:
        fill(server, name, rows)
        yield name
    finally:
        server.as_rdsadmin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def fill(server: LocalRds, database: str, rows: int = 1000) -> None:
    """Apply the roles, run erp.sql as the owner, create a large object as the application, and apply the roles again."""
    apply_roles(server, database)
    with connect(server, roles.OWNER, PASSWORDS[roles.OWNER], database) as owner:
        owner.run(SQL.read_text(encoding="utf-8").replace(":rows", str(rows)))
    application = roles.APPLICATION_LOGINS[0]
    with connect(server, application, PASSWORDS[application], database) as connection:
        connection.run("SELECT lo_from_bytea(4711, '\\x00ff00'::bytea)")
    apply_roles(server, database)
    let_backup_read_all(server)


def apply_roles(server: LocalRds, database: str) -> None:
    """Apply the roles, as the daily run of the database-roles function."""
    with connect(server, server.master, server.password, database) as master:
        outcome = roles.apply(master, PASSWORDS)
    assert outcome.refused == []
