"""Compare the rows of every table, and every large object, by a hash of their content.

The expected hashes come from the backup's own SQL. The restored database writes each table with the COPY statement that the backup
has for it, in the same session settings, so the bytes are equal if the rows are. The statement names the columns: after a restore,
the columns of an inherited table may have another order.

A table's owner is not subject to its row-level security unless FORCEd (PostgreSQL, "Row Security Policies"). The restoring role holds
the owners' roles and no BYPASSRLS, which RDS cannot give, so it lifts FORCE in a transaction that is rolled back.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from common import client_tools
from common.client_tools import ClientProcess
from pg8000.native import Connection

from restore import LoadFailed, plain_sql
from restore.loading import Server, Tick
from restore.table_of_contents import TableOfContents

_ENCODING = re.compile(rb"\s*SET client_encoding = '([\w-]+)';")
_OPEN = re.compile(rb"\s*SELECT pg_catalog\.lo_open\('(\d+)', ")
_WRITE = re.compile(rb"\s*SELECT pg_catalog\.lowrite\(0, '\\x([0-9a-f]*)'\);")
_COPY = re.compile(r"\s*(COPY .*) FROM stdin;\s*", re.DOTALL)
_END = b"\\.\n"
_LARGE_OBJECT_BYTES = 1 << 22
_FORCED = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relrowsecurity AND c.relforcerowsecurity AND c.relpersistence <> 't' ORDER BY 1"""


class Digest(NamedTuple):
    """Number of rows and SHA-256 of a table's content."""

    rows: int
    sha256: str


class _Rows:
    """The digest of rows that come in parts."""

    def __init__(self) -> None:
        self._rows, self._sha256 = 0, hashlib.sha256()

    def add(self, text: bytes) -> None:
        self._rows += text.count(b"\n")
        self._sha256.update(text)

    def digest(self) -> Digest:
        return Digest(self._rows, self._sha256.hexdigest())


_NONE = Digest(0, hashlib.sha256().hexdigest())


@dataclass
class Content:
    """The content of a database: COPY statement without its direction → digest; number of a large object → SHA-256."""

    tables: dict[str, Digest] = field(default_factory=dict)
    large_objects: dict[int, str] = field(default_factory=dict)
    encoding: str = "UTF8"


def of_table_of_contents(found: TableOfContents) -> Content:
    """The tables of an archive, before their rows are read."""
    copies = [copy[1] for entry in found.entries if (copy := _COPY.fullmatch(entry.copy))]
    encodings = [
        match[1].decode() for entry in found.entries if (match := _ENCODING.match(entry.definition.encode(errors="surrogateescape")))
    ]
    return Content(dict.fromkeys(copies, Digest(0, "")), {}, encodings[0] if encodings else "UTF8")


def of_sql(blocks: Iterable[bytes], tick: Tick = lambda: None) -> Content:
    """The content of a dump in SQL."""
    found = Content()
    table, rows = "", _Rows()
    number, large = 0, hashlib.sha256()
    for kind, text in plain_sql.pieces(blocks):
        tick()
        if kind is plain_sql.Piece.ROWS:
            rows.add(text)
        elif kind is plain_sql.Piece.END:
            digest = rows.digest()
            if before := found.tables.get(table):  # two parts of one table: keep both
                both = hashlib.sha256(f"{before.sha256} {digest.sha256}".encode())
                digest = Digest(before.rows + digest.rows, both.hexdigest())
            found.tables[table] = digest
        elif copy := _COPY.fullmatch(plain_sql.without_comments(text).decode(errors="surrogateescape")):
            table, rows = copy[1], _Rows()
        else:
            statement = plain_sql.without_comments(text)
            if opened := _OPEN.match(statement):
                number, large = int(opened[1]), hashlib.sha256()
                found.large_objects[number] = large.hexdigest()
            elif written := _WRITE.match(statement):
                large.update(bytes.fromhex(written[1].decode()))
                found.large_objects[number] = large.hexdigest()
            elif encoding := _ENCODING.match(statement):
                found.encoding = encoding[1].decode()
    return found


def of_database(server: Server, database: str, like: Content, tick: Tick = lambda: None) -> Content:
    """The content of a restored database, of the tables and large objects in `like`."""
    with server.connect(database) as connection:
        forced = [name for (name,) in connection.run(_FORCED)]
        large_objects = {number: _large_object(connection, number) for number in _numbers(connection)}
    with tempfile.NamedTemporaryFile(prefix="carmen-compare-", suffix=".sql") as script:
        script.write(_script(like, forced).encode(errors="surrogateescape"))
        script.flush()
        arguments = ["--no-psqlrc", "--quiet", "--no-password", f"--file={script.name}"]
        process = ClientProcess("psql", *arguments, variables=client_tools.environment(**server.variables(database)))
        output = process.output(lambda failure: LoadFailed(f"The restored data cannot be read: {failure}"))
        digests = list(_digests(output, tick))
    return Content(dict(zip(like.tables, digests, strict=True)), large_objects, like.encoding)


def differences(wanted: Content, actual: Content) -> list[str]:
    """Name each table and large object whose content differs."""
    wrong = []
    for copy in sorted(wanted.tables.keys() | actual.tables.keys()):
        found, digest = actual.tables.get(copy, _NONE), wanted.tables.get(copy, _NONE)
        if found != digest:
            how = f"{found.rows} rows instead of {digest.rows}" if found.rows != digest.rows else f"other content in its {digest.rows} rows"
            wrong.append(f"table {_table(copy)} has {how}")
    for number in sorted(wanted.large_objects.keys() | actual.large_objects.keys()):
        if number not in actual.large_objects:
            wrong.append(f"large object {number} is missing")
        elif number not in wanted.large_objects:
            wrong.append(f"large object {number} is not in the backup")
        elif wanted.large_objects[number] != actual.large_objects[number]:
            wrong.append(f"large object {number} has other content")
    return wrong


@contextmanager
def unforced(connection: Connection) -> Iterator[None]:
    """Let owners read their own tables for a while; nothing of it stays."""
    connection.run("BEGIN")
    try:
        connection.run("SET LOCAL row_security = off")  # a hidden row is an error
        for (name,) in connection.run(_FORCED):
            connection.run(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
        yield
    finally:
        connection.run("ROLLBACK")


def _script(like: Content, forced: list[str]) -> str:
    """The statements for psql: the settings of pg_dump's session, then each table and the line that ends it."""
    lines = [
        "SELECT pg_catalog.set_config('search_path', '', false) \\g /dev/null",
        f"SET client_encoding = '{like.encoding}';",
        "SET datestyle = ISO; SET intervalstyle = postgres; SET extra_float_digits = 3; SET row_security = off;",
        "SET statement_timeout = 0; SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0;",
        "SET synchronize_seqscans = off;",  # as pg_dump: otherwise a scan of a large table begins where another one stopped
    ]
    if forced:
        lines += ["BEGIN;", *(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY;" for name in forced)]
    for copy in like.tables:
        statement = f"{copy} TO STDOUT;"
        lines.append(f"SAVEPOINT one; {statement} ROLLBACK TO SAVEPOINT one;" if forced else statement)  # a rollback returns the locks
        lines.append("\\echo '\\\\.'")
    return "\n".join([*lines, *(["ROLLBACK;"] if forced else []), ""])


def _digests(output: Iterable[bytes], tick: Tick) -> Iterator[Digest]:
    rows = _Rows()
    for kind, text in plain_sql.tables(output):
        tick()
        if kind is plain_sql.Piece.ROWS:
            rows.add(text)
        else:
            yield rows.digest()
            rows = _Rows()


def _numbers(connection: Connection) -> list[int]:
    return [number for (number,) in connection.run("SELECT oid::bigint FROM pg_catalog.pg_largeobject_metadata ORDER BY 1")]


def _large_object(connection: Connection, number: int) -> str:
    sha256, at = hashlib.sha256(), 0
    while True:
        (block,) = connection.run(
            "SELECT pg_catalog.lo_get(CAST(:number AS bigint)::oid, CAST(:at AS bigint), CAST(:size AS int))",
            number=number,
            at=at,
            size=_LARGE_OBJECT_BYTES,
        )[0]
        sha256.update(block)
        at += len(block)
        if len(block) < _LARGE_OBJECT_BYTES:
            return sha256.hexdigest()


def _table(copy: str) -> str:
    """The table in `COPY sales.orders (id, state)`."""
    found = re.match(r'COPY ((?:"(?:[^"]|"")*"|[^"\s.])+(?:\.(?:"(?:[^"]|"")*"|[^"\s(])+)?)', copy)
    return found[1] if found else copy
