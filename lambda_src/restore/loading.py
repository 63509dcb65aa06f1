"""Getting a backup's contents into a database: `pg_restore -j` from an archive, psql from SQL text.

Both write into a database that nobody uses yet (`target`), so what fails half-way is dropped. psql is nevertheless killed
before it sees the end of its input whenever anything is wrong: an end would mean "commit what you have".
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from backup.manifest import Manifest
from common import client_tools

from restore import BackupDamaged, LoadFailed, plain_sql

_EXTENSION_COMMENT = re.compile(r"^\d+; \d+ \d+ COMMENT - EXTENSION ")
_AFTERWARDS = re.compile(r"^\d+; \d+ \d+ (TRIGGER|FK CONSTRAINT) ")
_OF_DATABASE = re.compile(
    rb'^((?:GRANT|REVOKE) [A-Z, ]+ ON DATABASE |ALTER DATABASE )("(?:[^"]|"")+"|[^\s"]+)( (?:TO|FROM|SET) .*;)$', re.MULTILINE
)
_PATIENCE_SECONDS = 0.1

Tick = Callable[[], None]


class Server(Protocol):
    """Where to load into: RDS over TLS, or a drill's own server over its socket."""

    def variables(self, database: str) -> dict[str, str]:
        """libpq's variables, for client programs."""

    def connect(self, database: str) -> Any:
        """A pg8000 connection as a context manager."""


@dataclass(frozen=True)
class Contents:
    """What an archive or SQL text says of itself before it is loaded."""

    server_version: str
    client_version: str
    owners: frozenset[str]
    roles: frozenset[str]  # owners, and whoever is granted something
    database_statements: tuple[tuple[str, str], ...] = ()  # GRANT, REVOKE, ALTER DATABASE … SET: what is before and behind its name


def archive_contents(archive: Path, found: Manifest) -> Contents:
    """From the archive's own table of contents, which must agree with the manifest."""
    listed = _output("pg_restore", "--list", str(archive)).decode()
    fields = dict(re.findall(r"^;\s+([\w ]+): (.*)$", listed, re.MULTILINE))
    database = fields.get("dbname", "")
    schema = _output("pg_restore", "--create", "--schema-only", "--restrict-key=restore", "--file=-", str(archive))
    server, client = (fields.get(name, "?").split()[0] for name in ("Dumped from database version", "Dumped by pg_dump version"))
    if database != found.database:
        raise BackupDamaged(f"the archive is of database {database!r}, its manifest says {found.database!r}: use another backup")
    contents = _contents(server, client, schema)
    _agree(contents, found)
    return contents


def sql_contents(head: bytes, found: Manifest) -> Contents:
    """From the head of SQL text; what is granted on the database itself is not in it."""
    server, client, key = plain_sql.versions(head)
    if key != found.restrict_key:
        raise BackupDamaged("the SQL was written with another restrict key than its manifest says: use another backup")
    contents = _contents(server, client, head)
    _agree(contents, found)
    return contents


def _contents(server: str, client: str, sql: bytes) -> Contents:
    owners = plain_sql.owners(sql)
    statements = tuple((before.decode(), behind.decode()) for before, _, behind in _OF_DATABASE.findall(sql))
    return Contents(server, client, frozenset(owners), frozenset(owners | plain_sql.grantees(sql)), statements)


def _agree(contents: Contents, found: Manifest) -> None:
    for what, dumped, said in (
        ("database version", contents.server_version, found.server_version.split()[0]),
        ("pg_dump version", contents.client_version, found.client_version),
    ):
        if dumped != said:
            raise BackupDamaged(f"the dump has {what} {dumped}, its manifest says {said}: use another backup")


def parallel_possible(server_major: int) -> bool:
    """pg_restore 17 and later send `SET transaction_timeout` themselves, which an older server refuses."""
    return server_major >= 17 or client_tools.major() < 17


def load_archive(archive: Path, server: Server, database: str, *, jobs: int, folder: Path, tick: Tick) -> None:
    """`pg_restore -j`; stops at the first error, and with everything it started when `tick` raises.

    What the archive lists from its first trigger or foreign key on has a run of its own: nothing in it makes these wait for others
    that they disturb. Triggers of a partitioned table would fire for every row of partitions that are filled later. And a foreign key
    of a table whose partitions are partitioned locks them all, which ends in a deadlock with the attachment of their indexes.
    """
    lines = _output("pg_restore", "--list", str(archive)).decode().splitlines()
    entries = [line for line in lines if not line.startswith(";") and not _EXTENSION_COMMENT.match(line)]
    first = next((place for place, line in enumerate(entries) if _AFTERWARDS.match(line)), len(entries))
    for part in (entries[:first], entries[first:]):
        if not part:
            continue
        chosen = folder / "contents.list"
        chosen.write_text("\n".join([*part, ""]), encoding="utf-8")
        command = [client_tools.program("pg_restore"), "--exit-on-error", f"--jobs={jobs}", f"--use-list={chosen}", "--no-password"]
        with _program([*command, f"--dbname={database}", str(archive)], server.variables(database), stdin=subprocess.DEVNULL) as program:
            while not program.ended():
                tick()
                time.sleep(_PATIENCE_SECONDS)
            program.must_have_succeeded()


def archive_as_sql(archive: Path, restrict_key: str) -> Iterator[bytes]:
    """The same SQL text as `pg_dump -Fp` writes."""
    command = [client_tools.program("pg_restore"), f"--restrict-key={restrict_key}", "--file=-", str(archive)]
    with _program(command, {}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as program:
        assert program.process.stdout
        while block := program.process.stdout.read(1 << 20):
            yield block
        program.process.wait()
        program.must_have_succeeded()


def load_sql(blocks: Iterable[bytes], server: Server, database: str, *, tick: Tick) -> None:
    """psql, which sees the end of its input only after all of it proved right."""
    command = [client_tools.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", "--file=-"]
    with _program(command, server.variables(database), stdin=subprocess.PIPE) as program:
        stdin = program.process.stdin
        assert stdin
        try:
            for block in blocks:
                stdin.write(block)
                tick()
        except BrokenPipeError:
            program.process.wait(10)
            program.must_have_succeeded()
            raise LoadFailed("psql ended before the SQL did") from None
        stdin.close()
        while not program.ended():
            tick()
            time.sleep(_PATIENCE_SECONDS)
        program.must_have_succeeded()


def load_roles(sql: str, server: Server) -> list[str]:
    """`roles.sql` into an empty server; what was refused, which may be settings that exist on RDS only."""
    command = [client_tools.program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--file=-"]
    done = subprocess.run(
        command, input=sql.encode(), env=client_tools.environment(**server.variables("postgres")), capture_output=True, check=False
    )
    if done.returncode:
        raise LoadFailed(f"psql gave up on roles.sql: {done.stderr.decode(errors='replace').strip()[-1000:]}")
    return [line for line in done.stderr.decode(errors="replace").splitlines() if "ERROR" in line]


class _Running:
    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes], name: str) -> None:
        self.process, self._said, self._name = process, said, name

    def ended(self) -> bool:
        return self.process.poll() is not None

    def must_have_succeeded(self) -> None:
        if self.process.returncode:
            self._said.seek(0)
            lines = [line for line in self._said.read()[-4000:].decode(errors="replace").splitlines() if line.strip()]
            raise LoadFailed(f"{self._name} gave up: {' | '.join(lines[:6]) or f'exit code {self.process.returncode}'}")


@contextmanager
def _program(command: list[str], variables: dict[str, str], **streams: Any) -> Iterator[_Running]:
    """A client program in a process group of its own, all of which is killed unless the block ends well."""
    with tempfile.TemporaryFile() as said:
        streams = {"stdout": subprocess.DEVNULL, **streams}
        process = subprocess.Popen(command, stderr=said, env=client_tools.environment(**variables), start_new_session=True, **streams)
        try:
            yield _Running(process, said, Path(command[0]).name)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    _close(stream)


def _close(stream: IO[bytes]) -> None:
    """Without an end of input having reached anybody: the process is gone by now."""
    try:
        stream.close()
    except BrokenPipeError:
        return


def _output(name: str, *arguments: str) -> bytes:
    done = subprocess.run([client_tools.program(name), *arguments], env=client_tools.environment(), capture_output=True, check=False)
    if done.returncode:
        raise BackupDamaged(f"{name} cannot read the archive ({done.stderr.decode(errors='replace').strip()[:500]}): use another backup")
    return done.stdout
