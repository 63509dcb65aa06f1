"""The report of a drill: JSON beside the backups, at `reports/drill/<stamp>.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from common.backup_store import BackupStore

VERSION = 1
# The results of a drill. Only the second says that the backup is damaged.
PASSED, BROKEN, REMEDY, NOT_VERIFIABLE, FAILED = (
    "passed",
    "broken backup",
    "does not restore as it is",
    "cannot be verified here",
    "drill failed",
)
FOLDER = "reports/drill/"


@dataclass(kw_only=True)
class Report:
    """`result` is one of five, of which only "passed" is `passed`; `problems` explain the others.

    `recovery_seconds`: from the first byte read to a usable database.
    """

    stamp: str
    backup: str = ""  # the key of its manifest
    backup_age_hours: float = 0
    database: str = ""
    server_version: str = ""
    database_bytes: int = 0
    archive_bytes: int = 0
    passed: bool = False
    result: str = FAILED
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0
    recovery_seconds: float = 0
    steps: dict[str, float] = field(default_factory=dict)  # seconds of each
    compared: dict[str, Any] = field(default_factory=dict)  # what was compared, and how much of it
    version: int = VERSION


def write(store: BackupStore, report: Report) -> str:
    """Store the report under a free key and return the key: a repeated drill keeps the earlier report."""
    body = json.dumps(asdict(report), indent=1, ensure_ascii=False).encode()
    for suffix in ("", *(f"-{number}" for number in range(2, 101))):
        key = f"{FOLDER}{report.stamp}{suffix}.json"
        try:
            store.s3.put_object(
                Bucket=store.bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*", **store.encryption
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
        else:
            return key
    raise FileExistsError(f"{store.address(key)} and 99 earlier reports of this time exist: run the drill with another --time")


def last_passed(store: BackupStore) -> dict[str, Any] | None:
    """The newest report of a drill that passed, among the last five; it predicts the next one's duration."""
    for key in sorted((key for key, _ in store.objects(FOLDER)), reverse=True)[:5]:
        found: dict[str, Any] = json.loads(store.s3.get_object(Bucket=store.bucket, Key=key)["Body"].read())
        if found.get("passed"):
            return found
    return None
