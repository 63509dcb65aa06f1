"""What a drill found, as JSON beside the backups: `reports/drill/<stamp>.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from drill.settings import Settings

VERSION = 1


@dataclass(kw_only=True)
class Report:
    """`passed` says it all; `problems` say why not. `recovery_seconds` is from the first byte read to a database that answers."""

    stamp: str
    backup: str = ""  # its manifest's key
    backup_age_hours: float = 0
    database: str = ""
    server_version: str = ""
    database_bytes: int = 0
    archive_bytes: int = 0
    passed: bool = False
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0
    recovery_seconds: float = 0
    steps: dict[str, float] = field(default_factory=dict)  # seconds of each
    compared: dict[str, Any] = field(default_factory=dict)  # what was, and how much of it
    version: int = VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def folder(settings: Settings) -> str:
    return f"{settings.report_prefix}/drill/"


def write(s3: Any, settings: Settings, report: Report) -> str:
    """Puts the report where none is yet, and returns its key: an earlier try of the same time keeps its own."""
    from botocore.exceptions import ClientError

    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.key_arn} if settings.key_arn else {}
    number = 1
    while True:
        key = f"{folder(settings)}{report.stamp}{'' if number == 1 else f'-{number}'}.json"
        try:
            s3.put_object(
                Bucket=settings.bucket,
                Key=key,
                Body=report.to_json().encode(),
                ContentType="application/json",
                IfNoneMatch="*",
                **encryption,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed" or number >= 100:
                raise
            number += 1
        else:
            return key


def last_passed(s3: Any, settings: Settings) -> dict[str, Any] | None:
    """The newest report of a drill that passed, of the last few: what the next one's duration is predicted from."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=folder(settings))
    keys = sorted((entry["Key"] for page in pages for entry in page.get("Contents", [])), reverse=True)
    for key in keys[:5]:
        found: dict[str, Any] = json.loads(s3.get_object(Bucket=settings.bucket, Key=key)["Body"].read())
        if found.get("passed"):
            return found
    return None
