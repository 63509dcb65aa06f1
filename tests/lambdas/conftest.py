"""PostgreSQL servers set up as RDS is: one a major version and test run, a database of its own where a test needs one."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from pg8000.native import Connection

from local.postgres import MAJORS, RdsLookAlike, install
from tests.conftest import ROOT

INSTALLATIONS = ROOT / ".local" / "postgresql"


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"postgresql{major}")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RdsLookAlike]:
    with RdsLookAlike(
        install(request.param, INSTALLATIONS),
        tmp_path_factory.mktemp(f"a cluster {request.param}"),
        master="carmen_master",
        password="it's: master%/?",
        database="carmen",
        parameters={
            "log_statement": "ddl",
            "shared_buffers": "16384",
            "max_connections": "{DBInstanceClassMemory/9531392}",
            "rds.force_ssl": "1",
            "shared_preload_libraries": "pg_stat_statements,rdsutils",
            "no_such": "1",
        },
        durable=False,
    ) as running:
        yield running


def connect(server: RdsLookAlike, user: str, password: str, database: str | None = None) -> closing[Connection]:
    context = ssl.create_default_context(cafile=server.ca_file)
    return closing(
        Connection(user, password=password, host="localhost", port=server.port, database=database or server.database, ssl_context=context)
    )


@pytest.fixture
def master(server: RdsLookAlike) -> Iterator[Connection]:
    """The master, in a fresh database."""
    name = f"carmen_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
        with connect(server, server.master, server.password, name) as connection:
            yield connection
    server.as_rdsadmin(f"DROP DATABASE {name} WITH (FORCE)")  # autovacuum may be in it, which only a superuser can end
