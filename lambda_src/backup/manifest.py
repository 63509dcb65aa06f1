"""What a backup says about itself: written last, so that a backup without one is none.

Restore and drill read manifests only, never a listing of dumps: a dump that a killed process left behind can look
whole to `pg_restore --list`, but nothing vouches for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

VERSION = 1
TIERS = ("daily", "weekly", "monthly")
NAME = "manifest.json"
_STAMP = "%Y%m%dT%H%M%SZ"
_KEY = re.compile(rf"(?P<tier>{'|'.join(TIERS)})/(?P<stamp>\d{{8}}T\d{{6}}Z)/{re.escape(NAME)}")


class ManifestError(Exception):
    """A manifest that is not there, or that cannot be right."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One object. `raw_*` say what is inside a compressed one; `crc32` is S3's full-object checksum, base64."""

    key: str
    bytes: int
    sha256: str
    crc32: str
    raw_sha256: str | None = None
    raw_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole backup. `tables`, `sequences` and the rest come from the very snapshot that was dumped.

    `files` holds `sql_gz`, `archive` (either may be switched off) and `roles`. `bytes_per_second` is the database's size
    over the time it took: what the next run's duration is predicted from. `schema_sha256` is the hash of
    `pg_dump --schema-only` with the same client and restrict key, `raw_sha256` that of the whole plain SQL.
    """

    stamp: str
    tier: str
    database: str
    server_version: str
    client_version: str
    pg_dump_options: list[str]
    restrict_key: str
    started_at: str
    finished_at: str
    seconds: float
    database_bytes: int
    bytes_per_second: float
    files: dict[str, File]
    tables: dict[str, int]
    sequences: dict[str, list[Any]]
    schema_sha256: str
    extensions: dict[str, str]
    large_objects: int
    invalid_indexes: list[str] = field(default_factory=list)
    version: int = VERSION

    @property
    def key(self) -> str:
        return key_of(self.tier, self.stamp)

    @property
    def taken_at(self) -> datetime:
        """The time the backup was scheduled for."""
        return parse_stamp(self.stamp)

    def in_tier(self, tier: str) -> Manifest:
        """The manifest of a copy in another tier: same contents, other keys."""
        moved = {name: replace(file, key=f"{tier}/{file.key.partition('/')[2]}") for name, file in self.files.items()}
        return replace(self, tier=tier, files=moved)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Manifest:
        """Raises ManifestError that names `source` and what is wrong with it."""
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise ManifestError(f"{source} has version {values['version']}, this code reads {VERSION}: use the code of its time")
            files = {name: File(**file) for name, file in values.pop("files").items()}
            manifest = cls(files=files, **values)
        except ManifestError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ManifestError(
                f"{source} is no manifest of a backup ({type(error).__name__}: {error}): do not use what lies beside it"
            ) from error
        if manifest.tier not in TIERS or not {"sql_gz", "archive"} & files.keys():
            raise ManifestError(f"{source} names tier {manifest.tier!r} and files {sorted(files)}: that is no backup")
        return manifest


def stamp_of(time: datetime) -> str:
    return time.astimezone(UTC).strftime(_STAMP)


def parse_stamp(stamp: str) -> datetime:
    return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)


def key_of(tier: str, stamp: str) -> str:
    return f"{tier}/{stamp}/{NAME}"


def write(s3: Any, bucket: str, manifest: Manifest, **encryption: str) -> None:
    """The last act of a backup. Refused when there is one already: a backup is never replaced."""
    s3.put_object(
        Bucket=bucket,
        Key=manifest.key,
        Body=manifest.to_json().encode(),
        ContentType="application/json",
        IfNoneMatch="*",
        ChecksumAlgorithm="CRC32",
        **encryption,
    )


def read(s3: Any, bucket: str, key: str) -> Manifest:
    """The manifest at this key, which must be the place it says it belongs to."""
    source = f"s3://{bucket}/{key}"
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey as error:
        raise ManifestError(f"{source} is not there: there is no finished backup of that time") from error
    manifest = Manifest.from_json(body, source)
    if manifest.key != key:
        raise ManifestError(f"{source} says it is {manifest.key}: somebody moved it")
    return manifest


def keys(s3: Any, bucket: str, tier: str) -> list[str]:
    """The keys of all manifests of a tier, newest first, without reading one."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{tier}/")
    found = [entry["Key"] for page in pages for entry in page.get("Contents", []) if _KEY.fullmatch(entry["Key"])]
    return sorted(found, reverse=True)


def newest(s3: Any, bucket: str, tier: str = "daily") -> Manifest | None:
    """The newest backup of a tier; None when there is none yet."""
    found = keys(s3, bucket, tier)
    return read(s3, bucket, found[0]) if found else None
