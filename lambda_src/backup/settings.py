"""The backup's settings, from environment variables; the same in Lambda, in a Fargate task and on a laptop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from common import aws
from common.backup_signature import KmsSignatures
from common.backup_store import WEEKDAYS, BackupStore
from common.fargate import Task
from common.variables import whole_number

FORMATS = ("archive", "sql_gz")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket, its region, the KMS key that encrypts its objects, and the key that signs manifests: that of the first bucket."""

    name: str
    region: str
    key_arn: str | None
    signing_key_arn: str

    def store(self) -> BackupStore:
        """The bucket's backups, through a client whose time-outs leave time to clean up."""
        s3 = aws.client("s3", self.region, short_timeouts=True)
        return BackupStore(s3, self.name, self.key_arn, signatures=KmsSignatures(self.signing_key_arn))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """BACKUP_…; DATABASE_… and ENVIRONMENT are read where they are used."""

    bucket: Bucket
    copy: Bucket | None
    formats: tuple[str, ...]
    weekly_day: str
    monthly_day: int
    task: Task | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises ValueError that names the variable, its value and the allowed values."""

        if not environment.get("BACKUP_BUCKET"):
            raise ValueError("BACKUP_BUCKET is not set: the name of the bucket for backups")
        if not (key := environment.get("BACKUP_KEY_ARN")):
            raise ValueError("BACKUP_KEY_ARN is not set: the ARN of the KMS key that encrypts backups and signs their manifests")
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "us-east-1")
        copy = None
        if name := environment.get("BACKUP_COPY_BUCKET"):
            copy_region = environment.get("BACKUP_COPY_REGION", region)
            copy = Bucket(name=name, region=copy_region, key_arn=environment.get("BACKUP_COPY_KEY_ARN"), signing_key_arn=key)
        return cls(
            bucket=Bucket(name=environment["BACKUP_BUCKET"], region=region, key_arn=key, signing_key_arn=key),
            copy=copy,
            formats=_chosen(environment, "BACKUP_FORMATS", ",".join(FORMATS), FORMATS),
            weekly_day=_chosen(environment, "BACKUP_WEEKLY_DAY", "SUN", WEEKDAYS)[0],
            monthly_day=whole_number(environment, "BACKUP_MONTHLY_DAY", 1, 1, 28),
            task=Task.from_environment("backup", environment),
        )


def _chosen(environment: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(part.strip() for part in environment.get(name, default).split(","))
    if set(found) - set(allowed):
        raise ValueError(f"{name}={environment[name]!r}: one or more of {', '.join(allowed)}")
    return found
