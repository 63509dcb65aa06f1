"""The drill's settings, from environment variables; the same in Lambda, in a Fargate task and on a laptop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.fargate import Task
from common.variables import whole_number

SERVER_HOME = "/opt/postgresql-server"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """BACKUP_BUCKET and DRILL_…; nothing that names a database, because a drill never connects to production."""

    bucket: str
    key_arn: str
    server_home: Path
    folder: Path
    jobs: int
    memory_mb: int
    task: Task | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises ValueError that names the variable, its value and the allowed values."""
        if environment.get("DATABASE_HOST"):
            raise ValueError("DATABASE_HOST is set, but a drill uses only its own server: remove the variable")
        if not environment.get("BACKUP_BUCKET"):
            raise ValueError("BACKUP_BUCKET is not set: the name of the bucket whose newest backup to restore")
        if not environment.get("BACKUP_KEY_ARN"):
            raise ValueError("BACKUP_KEY_ARN is not set: the ARN of the KMS key that encrypts backups and signs their manifests")
        memory_mb = int(environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"))
        return cls(
            bucket=environment["BACKUP_BUCKET"],
            key_arn=environment["BACKUP_KEY_ARN"],
            server_home=Path(environment.get("POSTGRESQL_SERVER_HOME", SERVER_HOME)),
            folder=Path(environment.get("DRILL_FOLDER", "/tmp/carmen-drill")),  # noqa: S108 (Lambda has no other; locked, and 0700 inside)
            jobs=whole_number(environment, "DRILL_JOBS", 2, 1, 32),
            memory_mb=whole_number(environment, "DRILL_MEMORY_MB", memory_mb, 128, 10**6),
            task=Task.from_environment("drill", environment),
        )
