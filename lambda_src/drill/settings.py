"""What a drill is told by its environment; the same in Lambda, in a Fargate task and on a laptop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.fargate import Task
from common.variables import whole_number

SERVER_HOME = "/opt/postgresql-server"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """BACKUP_BUCKET, REPORT_PREFIX, DRILL_…; nothing that leads to a database: a drill never touches production."""

    bucket: str
    key_arn: str | None
    report_prefix: str
    server_home: Path
    folder: Path
    jobs: int
    memory_mb: int
    margin_seconds: int
    assumed_bytes_per_second: int
    task: Task | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises ValueError that names the variable, its value and what it may be."""

        number = partial(whole_number, environment)

        if environment.get("DATABASE_HOST"):
            raise ValueError("DATABASE_HOST is set: a drill has a server of its own and must not know another; remove the variable")
        if not environment.get("BACKUP_BUCKET"):
            raise ValueError("BACKUP_BUCKET is not set: the name of the bucket whose newest backup is tried")
        return cls(
            bucket=environment["BACKUP_BUCKET"],
            key_arn=environment.get("BACKUP_KEY_ARN") or None,
            report_prefix=environment.get("REPORT_PREFIX", "reports"),
            server_home=Path(environment.get("POSTGRESQL_SERVER_HOME", SERVER_HOME)),
            folder=Path(environment.get("DRILL_FOLDER", "/tmp/carmen-drill")),  # noqa: S108 (Lambda has no other; locked, and 0700 below)
            jobs=number("DRILL_JOBS", 2, 1, 32),
            memory_mb=number("DRILL_MEMORY_MB", int(environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")), 128, 10**6),
            margin_seconds=number("DRILL_MARGIN_SECONDS", 60, 1, 600),
            assumed_bytes_per_second=number("DRILL_ASSUMED_BYTES_PER_SECOND", 10_000_000, 1, 10**12),
            task=Task.from_environment("drill", environment),
        )
