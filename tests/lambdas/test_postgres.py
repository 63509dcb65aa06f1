"""The local RDS server behaves like RDS and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from local.services.postgres import LocalRds, stop_left_over
from tests.lambdas.backups import INSTALLATIONS, connect
from tools.build.postgres_wheels import install


def test_master_is_not_superuser(server: LocalRds) -> None:
    with connect(server, server.master, server.password) as connection:
        attributes = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        assert connection.run(f"SELECT {attributes} FROM pg_roles WHERE rolname = current_user") == [[False, True, True, False, False]]
        assert connection.run("SELECT pg_has_role('rds_superuser', 'USAGE'), pg_has_role('rds_iam', 'USAGE')") == [[True, False]]
        connection.run("CREATE EXTENSION pg_stat_statements; SELECT count(*) FROM pg_stat_statements; DROP EXTENSION pg_stat_statements")
        for statement in ("COPY (SELECT 1) TO '/tmp/x'", "CREATE EXTENSION file_fdw", "CREATE ROLE r SUPERUSER"):
            with pytest.raises(DatabaseError, match="42501"):
                connection.run(statement)


def test_only_tls_on_loopback(server: LocalRds) -> None:
    with pytest.raises((DatabaseError, InterfaceError), match="no encryption"):
        Connection(server.master, password=server.password, host=server.host, port=server.port, database=server.database, ssl_context=False)
    assert server.as_rdsadmin("SHOW listen_addresses") == "127.0.0.1"


@pytest.mark.parametrize(("user", "database"), [("rdsadmin", "postgres"), ("carmen_master", "rdsadmin")])
def test_rdsadmin_is_unreachable(server: LocalRds, user: str, database: str) -> None:
    with pytest.raises(DatabaseError, match=r"pg_hba\.conf rejects"), connect(server, user, server.password, database):
        pass


def test_parameters_are_applied(server: LocalRds) -> None:
    assert server.as_rdsadmin("SHOW shared_buffers") == "128MB"  # 16384 pages of 8 kB
    assert server.as_rdsadmin("SHOW shared_preload_libraries") == "pg_stat_statements"
    assert sorted(server.skipped_parameters) == ["max_connections", "no_such", "rds.force_ssl"]


def _new(directory: Path) -> LocalRds:
    installation = install(17, INSTALLATIONS)
    return LocalRds(installation, directory, master="m", password="p", database="carmen", durable=False)


def test_data_survives_restart_in_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 25)
    server = _new(directory)
    with server, connect(server, "m", "p") as connection:
        connection.run("CREATE TABLE kept ()")
    with server, connect(server, "m", "p") as connection:
        connection.run("SELECT FROM kept")
    assert not (server.data / "postmaster.pid").exists()


def test_server_stops_with_its_starter(tmp_path: Path) -> None:
    script = """if True:
        import sys, time; from pathlib import Path; sys.path.insert(0, ".")
        from local.services.postgres import LocalRds
        server = LocalRds(Path(sys.argv[2]), Path(sys.argv[1]), master="m", password="p", database="carmen", durable=False); server.start(); print(server._process.pid, flush=True); time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path, install(17, INSTALLATIONS)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
    _gone(pid)


def test_remaining_server_is_stopped_by_directory(tmp_path: Path) -> None:
    server = _new(tmp_path)
    with server:
        os.kill(server._watcher.pid, signal.SIGKILL)
        stop_left_over(server.data)
        assert server._process.wait(5) == 0


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
