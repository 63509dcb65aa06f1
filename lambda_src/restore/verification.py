"""Whether a restored database is what its manifest says: every table's rows, sequences, definitions, and the whole text.

The strongest proof is the last one: with the restrict key of then, a dump of the restored database is byte for byte the
dump that was taken. Row counts miss a changed cell, this misses nothing.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from backup import snapshot
from backup.manifest import Manifest
from common import client_tools
from pg8000.native import Connection

from restore import LoadFailed
from restore.loading import Server

_HEAD_BYTES = 4096  # where pg_dump names versions
_SHOWN = 5


class Digest(NamedTuple):
    """What is kept of a text that is too long to keep."""

    sha256: str
    crc32: int
    size: int


def differences(connection: Connection, found: Manifest) -> list[str]:
    """What the restored database holds otherwise than the manifest says, in words; empty when all is well."""
    facts = snapshot.facts(connection)
    wrong = _compare("table", "rows", found.tables, snapshot.count(connection))
    wrong += _compare("sequence", "value", found.sequences, snapshot.sequences(connection))
    missing = sorted(found.extensions.keys() ^ facts.extensions.keys())
    wrong += [f"extension {name} is {'missing' if name in found.extensions else 'not in the backup'}" for name in missing]
    if facts.large_objects != found.large_objects:
        wrong.append(f"{facts.large_objects} large objects instead of {found.large_objects}")
    wrong += [f"index {name} is invalid" for name in facts.invalid_indexes]
    return wrong


def schema_difference(server: Server, database: str, found: Manifest) -> list[str]:
    """Compares definitions by hash; for the same major version only, as pg_dump writes another text for others."""
    text = dump(server, database, found, ["--schema-only"], snapshot.SCHEMA_KEY)
    return [] if text.sha256 == found.schema_sha256 else ["definitions differ: pg_dump --schema-only has another SHA-256"]


def dump(server: Server, database: str, found: Manifest, options: Iterable[str], key: str) -> Digest:
    """A fresh plain dump, digested as the server and client of the backup would have signed it."""
    arguments = ["--no-password", f"--restrict-key={key}", *options]
    process = client_tools.ClientProcess("pg_dump", *arguments, variables=client_tools.environment(**server.variables(database)))
    try:
        digested = digest(as_signed(iter(lambda: process.stdout.read(1 << 18), b""), found))
        if failure := process.failure():
            raise LoadFailed(f"the restored database cannot be dumped: {failure}")
    finally:
        process.close()
    return digested


def digest(blocks: Iterable[bytes]) -> Digest:
    """Of a text that comes in blocks."""
    sha256, crc32, size = hashlib.sha256(), 0, 0
    for block in blocks:
        sha256.update(block)
        crc32 = zlib.crc32(block, crc32)
        size += len(block)
    return Digest(sha256.hexdigest(), crc32, size)


def as_signed(blocks: Iterator[bytes], found: Manifest) -> Iterator[bytes]:
    """The same text with the versions in its head that the backup's has: a minor update changes nothing else."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    for what, version in ((b"Dumped from database version ", found.server_version), (b"Dumped by pg_dump version ", found.client_version)):
        head = re.sub(rb"^-- " + what + rb"\S+", b"-- " + what + version.encode(), head, count=1, flags=re.MULTILINE)
    yield head
    yield from blocks


def _compare(kind: str, what: str, wanted: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    wrong = [f"{kind} {name} is missing" for name in sorted(wanted.keys() - actual.keys())]
    wrong += [f"{kind} {name} is not in the backup" for name in sorted(actual.keys() - wanted.keys())]
    wrong += [
        f"{kind} {name} has {what} {actual[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & actual.keys())
        if wanted[name] != actual[name]
    ]
    return wrong if len(wrong) <= _SHOWN else [*wrong[:_SHOWN], f"and {len(wrong) - _SHOWN} more {kind}s"]
