"""Compare a restored database with its manifest: rows of every table, sequences, definitions, and the complete dump.

The last is the strongest: with the backup's restrict key, a dump of the restored database equals the original dump byte for
byte. Row counts miss a changed cell, this misses nothing.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from backup import snapshot
from common import client_tools
from common.backup_manifest import Manifest
from pg8000.native import Connection

from restore import LoadFailed
from restore.loading import Server

_HEAD_BYTES = 4096  # where pg_dump names versions
_SHOWN = 5


class Digest(NamedTuple):
    """Hash, checksum and size of a text."""

    sha256: str
    crc32: int
    size: int


def differences(connection: Connection, backup: Manifest) -> list[str]:
    """Describe what differs between the restored database and the manifest; empty if nothing does."""
    facts = snapshot.facts(connection)
    wrong = _compare("table", "rows", backup.tables, snapshot.count(connection))
    wrong += _compare("sequence", "value", backup.sequences, snapshot.sequences(connection))
    missing = sorted(backup.extensions.keys() ^ facts.extensions.keys())
    wrong += [f"extension {name} is {'missing' if name in backup.extensions else 'not in the backup'}" for name in missing]
    if facts.large_objects != backup.large_objects:
        wrong.append(f"{facts.large_objects} large objects instead of {backup.large_objects}")
    wrong += [f"index {name} is invalid" for name in facts.invalid_indexes]
    return wrong


def schema_difference(server: Server, database: str, backup: Manifest) -> list[str]:
    """Compare definitions by hash. Valid only for the same major version, because pg_dump's text depends on it."""
    text = dump(server, database, backup, ["--schema-only"], snapshot.SCHEMA_KEY)
    return [] if text.sha256 == backup.schema_sha256 else ["definitions differ: pg_dump --schema-only has another SHA-256"]


def dump(server: Server, database: str, backup: Manifest, options: Iterable[str], key: str) -> Digest:
    """Digest a new plain dump, with the versions of the backup's server and client in its head."""
    arguments = ["--no-password", f"--restrict-key={key}", *options]
    process = client_tools.ClientProcess("pg_dump", *arguments, variables=client_tools.environment(**server.variables(database)))
    output = process.output(lambda failure: LoadFailed(f"The restored database cannot be dumped: {failure}"))
    return digest(with_versions_of(output, backup))


def digest(blocks: Iterable[bytes]) -> Digest:
    """Digest a text that comes in blocks."""
    sha256, crc32, size = hashlib.sha256(), 0, 0
    for block in blocks:
        sha256.update(block)
        crc32 = zlib.crc32(block, crc32)
        size += len(block)
    return Digest(sha256.hexdigest(), crc32, size)


def with_versions_of(blocks: Iterator[bytes], backup: Manifest) -> Iterator[bytes]:
    """Replace the versions in the head with the backup's: a minor update changes nothing else."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= _HEAD_BYTES:
            break
    for what, version in (
        (b"Dumped from database version ", backup.server_version),
        (b"Dumped by pg_dump version ", backup.client_version),
    ):
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
