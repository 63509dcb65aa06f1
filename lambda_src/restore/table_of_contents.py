"""The table of contents of a PostgreSQL archive: each object with its owner, its definition and its privileges.

`pg_restore --list` prints one line for each entry: a name with a space or a line break makes it ambiguous, and definitions are
missing. Lines of SQL are ambiguous too, because bodies of functions, comments and literals may contain any line. So the table is
read as pg_restore reads it (ReadHead and ReadToc in src/bin/pg_dump/pg_backup_archiver.c): format 1.14 is of PostgreSQL 12 to 15,
1.15 of 16, 1.16 of 17 and 18. A test compares the result with `pg_restore --list`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.backup_manifest import BackupDamaged

_MAGIC = b"PGDMP"
_VERSIONS = ((1, 14), (1, 15), (1, 16))
_CUSTOM = 1
_BLOCK = 1 << 16


class Entry(NamedTuple):
    """One entry. `copy` is the COPY statement of a table's data; `owner` is empty for what has none."""

    kind: str
    schema: str
    name: str
    owner: str
    definition: str
    copy: str
    tablespace: str
    access_method: str

    @property
    def title(self) -> str:
        """The object as people call it: `TABLE sales.orders`."""
        return f"{self.kind} {self.schema}.{self.name}" if self.schema else f"{self.kind} {self.name}"


class TableOfContents(NamedTuple):
    """The head of an archive and its entries, in the order of loading."""

    database: str
    server_version: str
    client_version: str
    entries: tuple[Entry, ...]


def of_file(archive: Path) -> TableOfContents:
    """Read the table of contents of an archive in custom format. Raises BackupDamaged if it is none."""
    with archive.open("rb") as file:
        return of_stream(iter(lambda: file.read(_BLOCK), b""))


def of_stream(blocks: Iterable[bytes]) -> TableOfContents:
    """Read the table from the start of an archive; the rest is not read."""
    reader = _Reader(blocks)
    if reader.take(5) != _MAGIC:
        raise BackupDamaged("The archive does not begin with PGDMP, so pg_dump did not write it: use another backup")
    version = (reader.byte(), reader.byte())
    reader.byte()  # revision
    if version not in _VERSIONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in _VERSIONS)
        raise BackupDamaged(f"The archive has format {version[0]}.{version[1]}; this code reads {known} (PostgreSQL 12 to 18)")
    reader.integer_bytes, offset_bytes, form = reader.byte(), reader.byte(), reader.byte()
    if form != _CUSTOM:
        raise BackupDamaged(f"The archive has format number {form}; expected is {_CUSTOM}, pg_dump --format=custom")
    if version >= (1, 15):
        reader.byte()  # the compression's name
    else:
        reader.integer()  # its level
    for _ in range(7):  # the time of the dump
        reader.integer()
    database, server, client = (reader.text() for _ in range(3))
    entries = tuple(_entry(reader, version, offset_bytes) for _ in range(reader.integer()))
    return TableOfContents(database, server.split(" ")[0], client.split(" ")[0], entries)


def _entry(reader: _Reader, version: tuple[int, int], offset_bytes: int) -> Entry:
    reader.integer(), reader.integer()  # number, and whether it has data
    reader.text(), reader.text()  # oids of its catalogue and itself
    name, kind = reader.text(), reader.text()
    reader.integer()  # section
    definition, _, copy = reader.text(), reader.text(), reader.text()
    schema, tablespace, access_method = reader.text(), reader.text(), reader.text()
    if version >= (1, 16):
        reader.integer()  # relkind
    owner = reader.text()
    reader.text()  # WITH OIDS
    while reader.maybe_text() is not None:  # dependencies
        pass
    reader.take(1 + offset_bytes)  # place of the data
    return Entry(kind, schema, name, owner, definition, copy, tablespace, access_method)


class _Reader:
    """Integers and strings of the archive's format."""

    integer_bytes = 4

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks: Iterator[bytes] = iter(blocks)
        self._buffer, self._at = b"", 0

    def take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            block = next(self._blocks, b"")
            if not block:
                raise BackupDamaged("The archive ends within its table of contents: use another backup")
            self._buffer, self._at = self._buffer[self._at :] + block, 0
        self._at += size
        return self._buffer[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        negative = self.byte()
        value = int.from_bytes(self.take(self.integer_bytes), "little")
        return -value if negative else value

    def maybe_text(self) -> str | None:
        size = self.integer()
        return None if size < 0 else self.take(size).decode(errors="surrogateescape")

    def text(self) -> str:
        return self.maybe_text() or ""
