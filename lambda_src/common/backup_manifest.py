"""The backup's manifest. Written last: without it a backup is incomplete.

Restore and drill read manifests only, never a listing of dumps: a dump that a killed process left behind can look
complete to `pg_restore --list`.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

VERSION = 1
TIERS = ("daily", "weekly", "monthly")
FILE_NAME = "manifest.json"
_STAMP = "%Y%m%dT%H%M%SZ"


class BackupError(Exception):
    """A backup or restore failed. The message names the resource, the cause and the next step."""


class BackupDamaged(BackupError):
    """The backup is missing, incomplete or different from its manifest."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One object. `raw_*` describe the content of a compressed one; `crc32` is S3's full-object checksum, base64."""

    key: str
    bytes: int
    sha256: str
    crc32: str
    raw_sha256: str | None = None
    raw_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A complete backup. `tables`, `sequences` and the other facts come from the snapshot that was dumped.

    `files` holds `sql_gz`, `archive` (either may be switched off) and `roles`. `bytes_per_second` is the database's size
    divided by the backup's duration; it predicts the duration of the next run. `raw_sha256` is the hash of the complete plain SQL.
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
    extensions: dict[str, str]
    large_objects: int
    invalid_indexes: list[str] = field(default_factory=list)
    version: int = VERSION

    @property
    def name(self) -> str:
        """`tier/stamp`, as people type it."""
        return f"{self.tier}/{self.stamp}"

    @property
    def key(self) -> str:
        return f"{self.name}/{FILE_NAME}"

    @property
    def taken_at(self) -> datetime:
        """The scheduled time of the backup."""
        return parse_stamp(self.stamp)

    def in_tier(self, tier: str) -> Manifest:
        """The manifest of a copy in another tier: same content, other keys."""
        moved = {name: replace(file, key=f"{tier}/{file.key.partition('/')[2]}") for name, file in self.files.items()}
        return replace(self, tier=tier, files=moved)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Manifest:
        """Raises BackupDamaged that names `source` and the error."""
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise BackupDamaged(
                    f"{source} has version {values['version']}, this code reads version {VERSION}: "
                    "use the commit that wrote it, or another backup"
                )
            values.pop("schema_sha256", None)  # of older manifests: a definition's text is not stable over a restore (ADR 0034)
            files = {name: File(**file) for name, file in values.pop("files").items()}
            manifest = cls(files=files, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackupDamaged(f"{source} is not a backup manifest ({type(error).__name__}: {error}): use another backup") from error
        if manifest.tier not in TIERS or not {"sql_gz", "archive"} & files.keys():
            raise BackupDamaged(f"{source} is not a backup manifest (tier {manifest.tier!r}, files {sorted(files)}): use another backup")
        return manifest

    def contradictions(self) -> list[str]:
        """Fields that cannot be right. Restore and drill compare the data itself later."""
        wrong = []
        for name, file in self.files.items():
            if not file.key.startswith(f"{self.name}/"):
                wrong.append(f"files.{name}.key = {file.key} is in another folder")
            if not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.bytes <= 0:
                wrong.append(f"files.{name} has no size or SHA-256")
        if (sql := self.files.get("sql_gz")) and not (sql.raw_sha256 and sql.raw_bytes):
            wrong.append("files.sql_gz has no size or SHA-256 of its content")
        if not re.fullmatch(r"[A-Za-z0-9]+", self.restrict_key):
            wrong.append(f"restrict_key = {self.restrict_key!r}")
        try:
            lasted = (datetime.fromisoformat(self.finished_at) - datetime.fromisoformat(self.started_at)).total_seconds()
        except ValueError:
            lasted = -1
        if lasted < 0 or abs(lasted - self.seconds) > 2:
            wrong.append(f"started_at = {self.started_at}, finished_at = {self.finished_at}, seconds = {self.seconds}")
        rate = self.database_bytes / max(self.seconds, 0.001)
        if self.database_bytes <= 0 or abs(self.bytes_per_second - rate) > 0.05 * rate:
            wrong.append(f"database_bytes = {self.database_bytes}, bytes_per_second = {self.bytes_per_second}")
        if any(not isinstance(rows, int) or rows < 0 for rows in self.tables.values()) or self.large_objects < 0:
            wrong.append("tables or large_objects holds a value that is not a count")
        return wrong


def stamp_of(time: datetime) -> str:
    return time.astimezone(UTC).strftime(_STAMP)


def parse_stamp(stamp: str) -> datetime:
    return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)


def scheduled_time(text: str | None) -> datetime:
    """The time in an event, UTC unless it names another zone; the current time if the event has none."""
    if text is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"The scheduled time {text!r} is not a valid time ({error}): write it as 2026-11-24T01:00:00Z") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
