"""Damage to a backup in a bucket, and wrong values in a manifest."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from common.backup_manifest import Manifest
from common.backup_signature import with_signature

from tests.lambdas.backups import store

Damage = Callable[[bytes], bytes]


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def cut_member(body: bytes) -> bytes:
    """Valid gzip of half of the SQL, cut between two statements: psql alone would commit it."""
    sql = gzip.decompress(body)
    return gzip.compress(sql[: sql.index(b"\n-- Data for Name: ", len(sql) // 4)])


DAMAGES: dict[str, Damage] = {"truncated": lambda body: body[: len(body) * 2 // 3], "bit-flipped": flip, "cut": cut_member}

# Field → wrong value, for each field of the manifest except invalid_indexes and pg_dump_options, which nothing reads later.
WRONG_VALUES: dict[str, Any] = {
    "version": 2,
    "stamp": "20261123T020000Z",
    "tier": "weekly",
    "database": "another",
    "server_version": "99.1",
    "client_version": "1.0",
    "restrict_key": "another",
    "started_at": "2036-01-01T00:00:00+00:00",
    "finished_at": "2016-01-01T00:00:00+00:00",
    "seconds": 99999,
    "database_bytes": 1,
    "bytes_per_second": 1,
    "files.sql_gz.key": "daily/20261123T020000Z/x.sql.gz",
    "files.sql_gz.bytes": 1,
    "files.sql_gz.sha256": "0" * 64,
    "files.sql_gz.crc32": "AAAAAA==",
    "files.sql_gz.raw_sha256": "0" * 64,
    "files.sql_gz.raw_bytes": 1,
    "files.archive.key": "daily/20261124T020000Z/roles.sql",
    "files.archive.bytes": 1,
    "files.archive.sha256": "0" * 64,
    "files.archive.crc32": "AAAAAA==",
    "files.roles.bytes": 1,
    "files.roles.sha256": "0" * 64,
    "files": {},
    "tables.core|tenant": 21,
    "tables.core|gone": 1,
    "sequences.sales|descending": [-10, True],
    "extensions.postgis": "3.5",
    "large_objects": 5,
    "no_such_field": 1,
}


def falsify(s3: Any, bucket: str, found: Manifest, where: str, what: Any) -> None:
    """Overwrite the manifest with a wrong value, signed: as if the backup itself had written it."""
    values = json.loads(found.to_json())
    *path, last = (part.replace("|", ".") for part in where.split("."))
    inner = values
    for part in path:
        inner = inner[part]
    assert inner.get(last) != what
    inner[last] = what
    body = json.dumps(values, indent=1, sort_keys=True).encode()
    s3.put_object(Bucket=bucket, Key=found.key, Body=with_signature(body, store(s3, bucket).signatures.sign(body)))


def damage(s3: Any, bucket: str, key: str, how: Damage) -> None:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=how(body), ChecksumAlgorithm="CRC32")
