"""Load a backup into a database: `pg_restore -j` from an archive, psql from SQL text.

Both write into a database that nothing uses yet (`target`), which is dropped after a failure. psql is also killed before the
end of its input after any error, because it would commit at the end.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from common import client_tools
from common.backup_manifest import BackupDamaged, Manifest
from common.client_tools import ClientProcess

from restore import LoadFailed, failures, plain_sql, table_of_contents
from restore.failures import Failure

_EXTENSION_COMMENT = re.compile(r"^\d+; \d+ \d+ COMMENT - EXTENSION ")
_LAST_ENTRIES = re.compile(r"^\d+; \d+ \d+ (TRIGGER|FK CONSTRAINT) ")
_POLL_SECONDS = 0.1
_MORE_THAN_OWNER = (
    "The backup has objects of a role with more privileges than the owner of a schema, which a restore does not take (ADR 0031): "
    "give them to carmen_owner in the original, or create that role without attributes and memberships on the target"
)

Tick = Callable[[], None]


class Server(Protocol):
    """The server to load into: RDS over TLS, or a drill's own server over its socket."""

    def variables(self, database: str) -> dict[str, str]:
        """libpq's variables, for client programs."""

    def connect(self, database: str) -> Any:
        """A pg8000 connection as a context manager."""


@dataclass(frozen=True)
class Contents:
    """The headers of an archive or SQL text, read before it is loaded."""

    server_version: str
    client_version: str
    owners: frozenset[str]
    roles: frozenset[str]  # owners and grantees
    extensions: frozenset[str] = frozenset()  # of schema public
    # GRANT, REVOKE, ALTER DATABASE … SET: the text before and after its name. Text of the dump: only the loader may run it.
    database_statements: tuple[tuple[str, str], ...] = ()


def archive_contents(archive: Path, backup: Manifest) -> Contents:
    """Read the archive's table of contents, which must agree with the manifest."""
    _output("pg_restore", "--list", str(archive))  # the program that will load it can read it
    table = table_of_contents.of_file(archive)
    if table.database != backup.database:
        raise BackupDamaged(f"The archive is of database {table.database!r}, its manifest says {backup.database!r}: use another backup")
    privileges = [entry for entry in table.entries if entry.kind in ("ACL", "DEFAULT ACL")]
    of_database = [entry for entry in table.entries if f"{entry.kind} {entry.name}".startswith(("ACL DATABASE ", "DATABASE PROPERTIES "))]
    owners = {entry.owner for entry in table.entries} - {""}
    grantees = {name for entry in privileges for name in plain_sql.grantees(entry.definition.encode())}
    statements = [found for entry in of_database for found in plain_sql.database_statements(entry.definition.encode())]
    extensions = {name for entry in table.entries if entry.kind == "EXTENSION" for name in plain_sql.extensions(entry.definition.encode())}
    contents = Contents(
        server_version=table.server_version,
        client_version=table.client_version,
        owners=frozenset(owners),
        roles=frozenset(owners | grantees),
        extensions=frozenset(extensions),
        database_statements=tuple(statements),
    )
    _agree(contents, backup)
    return contents


def sql_contents(head: bytes, backup: Manifest) -> Contents:
    """Read the head of SQL text, which holds no grants on the database itself."""
    server, client, key = plain_sql.versions(head)
    if key != backup.restrict_key:
        raise BackupDamaged("The SQL has another restrict key than its manifest: use another backup")
    owners = plain_sql.owners(head)
    extensions = frozenset(plain_sql.extensions(head))
    contents = Contents(server, client, frozenset(owners), frozenset(owners | plain_sql.grantees(head)), extensions)
    _agree(contents, backup)
    return contents


def _agree(contents: Contents, backup: Manifest) -> None:
    for what, dumped, expected in (
        ("database version", contents.server_version, backup.server_version.split()[0]),
        ("pg_dump version", contents.client_version, backup.client_version),
    ):
        if dumped != expected:
            raise BackupDamaged(f"The dump has {what} {dumped}, its manifest says {expected}: use another backup")


def parallel_possible(server_major: int) -> bool:
    """Whether pg_restore can load an archive: 17 and later send `SET transaction_timeout`, which an older server refuses."""
    return server_major >= 17 or client_tools.major() < 17


def load_archive(
    archive: Path, server: Server, database: str, *, jobs: int, folder: Path, tick: Tick, schema_only: bool = False
) -> list[Failure]:
    """Run `pg_restore -j`; stops when `tick` raises. Returns the objects that the server refused: the others are loaded.

    A second run loads the entries from the first trigger or foreign key on, because pg_restore does not make these wait for
    others that they disturb: triggers of a partitioned table would fire for every row of partitions that are filled later, and a
    foreign key of a table whose partitions are partitioned locks them all, which deadlocks with the attachment of their indexes.
    """
    lines = _output("pg_restore", "--list", str(archive)).decode().splitlines()
    entries = [line for line in lines if not line.startswith(";") and not _EXTENSION_COMMENT.match(line)]
    first = next((place for place, line in enumerate(entries) if _LAST_ENTRIES.match(line)), len(entries))
    messages = []
    for part in filter(None, (entries[:first], entries[first:])):
        chosen = folder / "contents.list"
        chosen.write_text("\n".join([*part, ""]), encoding="utf-8")
        arguments = [f"--jobs={jobs}", f"--use-list={chosen}", "--no-password", f"--dbname={database}", str(archive)]
        arguments += ["--schema-only"] if schema_only else []
        with closing(_client("pg_restore", *arguments, variables=server.variables(database), writes=False)) as process:
            while not process.has_ended:
                tick()
                time.sleep(_POLL_SECONDS)
            if process.failure():
                if not failures.is_complete(process.messages):
                    _check(process)
                messages.append(process.messages)
    return failures.of_pg_restore(messages, table_of_contents.of_file(archive).entries if messages else ())


def archive_as_sql(archive: Path, restrict_key: str, *options: str) -> Iterator[bytes]:
    """Convert an archive to the SQL text that `pg_dump -Fp` writes."""
    return _client("pg_restore", f"--restrict-key={restrict_key}", "--file=-", *options, str(archive)).output(LoadFailed)


def load_sql(blocks: Iterable[bytes], server: Server, database: str, *, tick: Tick) -> None:
    """Run psql, which sees the end of its input only after all of it was verified.

    `\\restrict` with a key that the blocks cannot know: psql then refuses every command of its own, such as `\\!` (PostgreSQL, "psql").
    A psql without it stops at this line.
    """
    arguments = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", "--file=-"]
    with closing(_client("psql", *arguments, variables=server.variables(database), reads=True, writes=False)) as process:
        try:
            process.stdin.write(f"\\restrict {secrets.token_hex(16)}\n".encode())
            for block in blocks:
                process.stdin.write(block)
                tick()
            process.stdin.close()
        except BrokenPipeError:
            _check(process)
            raise LoadFailed("psql exited before the end of the SQL") from None
        _wait(process, tick)


def _client(name: str, *arguments: str, variables: Mapping[str, str] = MappingProxyType({}), **streams: bool) -> ClientProcess:
    return ClientProcess(name, *arguments, variables=client_tools.environment(**variables), **streams)


def _wait(process: ClientProcess, tick: Tick) -> None:
    while not process.has_ended:
        tick()
        time.sleep(_POLL_SECONDS)
    _check(process)


def _check(process: ClientProcess) -> None:
    if failure := process.failure():
        advice = f". {_MORE_THAN_OWNER}" if re.search("must be able to SET ROLE|must be member of role", failure) else ""
        raise LoadFailed(" | ".join(failure.splitlines()[:6]) + advice)


def _output(name: str, *arguments: str) -> bytes:
    damaged = "{} cannot read the archive ({}): use another backup"
    return b"".join(_client(name, *arguments).output(lambda failure: BackupDamaged(damaged.format(name, failure))))
