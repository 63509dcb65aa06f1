"""One restore from beginning to end: everything is looked at first, loaded beside what is there, verified, and only then named."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup.manifest import Manifest
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from restore import BackupDamaged, LoadFailed, Refused, loading, objects, plain_sql, target, verification
from restore.source import Source
from restore.target import Target

Say = Callable[[str], None]
_SAY_EVERY_SECONDS = 15


@dataclass(frozen=True, kw_only=True)
class Done:
    """What the closing summary tells."""

    database: str
    kept: str | None  # the name of the database that had the name before
    seconds: float
    way: str
    remarks: tuple[str, ...] = ()


def restore(
    s3: Any,
    bucket: str,
    found: Manifest,
    to: Target,
    *,
    say: Say,
    allowed: frozenset[str] = frozenset(),
    jobs: int = 2,
    below: Path | None = None,
    rds: Any = None,
) -> Done:
    """Raises RestoreError with what happened; then nothing half restored is in use, and `to.database` is as it was."""
    start = time.monotonic()
    objects.check(s3, bucket, found)
    say(f"backup {found.tier}/{found.stamp}: all objects have the size and checksum that its manifest says")
    if rds is not None:
        target.refuse_production(to, allowed, rds)
    try:
        with target.administration(to) as connection, _folder(below, found) as folder:
            return _restore(s3, bucket, found, to, connection, folder, say=say, allowed=allowed, jobs=jobs, start=start)
    except (DatabaseError, InterfaceError) as error:
        raise LoadFailed(f"the server refused or went away: {target.reason(error)}") from error
    except OSError as error:
        raise LoadFailed(f"{error.strerror or error}: {error.filename or to.host}") from error


def _restore(
    s3: Any,
    bucket: str,
    found: Manifest,
    to: Target,
    connection: Connection,
    folder: Path,
    *,
    say: Say,
    allowed: frozenset[str],
    jobs: int,
    start: float,
) -> Done:
    major = target.server_major(connection)
    source = Source(s3, bucket, found, folder, major)
    replaces = target.refuse_unfit(connection, to, source.contents, major, allowed)
    say(f"{to.host}: PostgreSQL {major}, {'database ' + to.database + ' will be replaced' if replaces else 'a new database'}; {source.way}")
    roles = plain_sql.created_roles(objects.text(s3, bucket, found.files["roles"]))
    with target.staging(connection, to, source.contents, roles, found.stamp) as (name, take_the_name):
        source.load(to, name, jobs=jobs, tick=_progress(connection, name, found, say))
        say(f"loaded after {time.monotonic() - start:.0f} s; comparing it with the manifest")
        remarks = _verify(to, name, found, major)
        with to.connect(name) as restored:
            say("the same rows, sequences, large objects and definitions; gathering statistics for the planner")
            restored.run("ANALYZE")
        kept = take_the_name(replaces)
    remarks += () if source.contents.database_statements else (
        "what is granted on the database itself is not in a .sql.gz: run the database-roles function",
    )  # fmt: skip
    return Done(database=to.database, kept=kept, seconds=time.monotonic() - start, way=source.way, remarks=remarks)


def _verify(to: Target, name: str, found: Manifest, major: int) -> tuple[str, ...]:
    with to.connect(name) as restored:
        wrong = verification.differences(restored, found)
    same = int(found.server_version.split(".")[0]) == major
    if same:
        wrong += verification.schema_difference(to, name, found)
    if wrong:
        raise BackupDamaged(f"what was restored is not what the manifest says: {'; '.join(wrong)}. It was dropped; use another backup")
    return () if same else (f"definitions were not compared by hash: the backup is of PostgreSQL {found.server_version}",)


def _progress(connection: Connection, name: str, found: Manifest, say: Say) -> loading.Tick:
    """A line now and then, with the size of what is there: a silent terminal at night is a question."""
    start = last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if (now := time.monotonic()) - last < _SAY_EVERY_SECONDS:
            return
        last = now
        (size,) = connection.run("SELECT pg_database_size(:name)", name=name)[0]
        say(f"{now - start:.0f} s: {size / 1e6:,.0f} MB are there, the original had {found.database_bytes / 1e6:,.0f} MB, indexes included")

    return tick


@contextmanager
def _folder(below: Path | None, found: Manifest) -> Iterator[Path]:
    """A folder for the archive, gone afterwards; refuses to begin when the archive does not fit."""
    below = below or Path(tempfile.gettempdir())
    needed = found.files["archive"].bytes if "archive" in found.files else 0
    free = shutil.disk_usage(below).free
    if free < needed:
        raise Refused(f"the archive has {needed:,} bytes, {below} has room for {free:,}: give another FOLDER")
    path = Path(tempfile.mkdtemp(prefix="carmen-restore-", dir=below))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
