"""What a run is told by its environment; the same in Lambda, in a Fargate task and on a laptop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from common import aws
from common.fargate import Task
from common.variables import whole_number

FORMATS = ("archive", "sql_gz")
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket, its region and the KMS key its objects are written under (none: the bucket's default)."""

    name: str
    region: str
    key_arn: str | None = None

    @property
    def encryption(self) -> dict[str, str]:
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key_arn} if self.key_arn else {}

    def client(self) -> Any:
        """S3 in the bucket's region, with time-outs that leave room to tidy up."""
        return aws.client("s3", self.region, short_timeouts=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """BACKUP_… and what all functions are told (DATABASE_…, ENVIRONMENT)."""

    bucket: Bucket
    copy: Bucket | None
    formats: tuple[str, ...]
    weekly_day: str
    monthly_day: int
    copies_kept: int
    margin_seconds: int
    lock_wait_seconds: int
    assumed_bytes_per_second: int
    task: Task | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises ValueError that names the variable, its value and what it may be."""

        number = partial(whole_number, environment)

        def chosen(name: str, default: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
            found = tuple(part.strip() for part in environment.get(name, default).split(","))
            if set(found) - set(allowed):
                raise ValueError(f"{name}={environment[name]!r}: one or more of {', '.join(allowed)}")
            return found

        if not environment.get("BACKUP_BUCKET"):
            raise ValueError("BACKUP_BUCKET is not set: the name of the bucket that backups go to")
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "us-east-1")
        copy = None
        if name := environment.get("BACKUP_COPY_BUCKET"):
            where = environment.get("BACKUP_COPY_REGION", region)
            copy = Bucket(name=name, region=where, key_arn=environment.get("BACKUP_COPY_KEY_ARN") or None)
        return cls(
            bucket=Bucket(name=environment["BACKUP_BUCKET"], region=region, key_arn=environment.get("BACKUP_KEY_ARN") or None),
            copy=copy,
            formats=chosen("BACKUP_FORMATS", ",".join(FORMATS), FORMATS),
            weekly_day=chosen("BACKUP_WEEKLY_DAY", "SUN", WEEKDAYS)[0],
            monthly_day=number("BACKUP_MONTHLY_DAY", 1, 1, 28),
            copies_kept=number("BACKUP_COPIES_KEPT", 3, 1, 100),
            margin_seconds=number("BACKUP_MARGIN_SECONDS", 60, 1, 600),
            lock_wait_seconds=number("BACKUP_LOCK_WAIT_SECONDS", 60, 0, 3600),
            assumed_bytes_per_second=number("BACKUP_ASSUMED_BYTES_PER_SECOND", 10_000_000, 1, 10**12),
            task=Task.from_environment("backup", environment),
        )
