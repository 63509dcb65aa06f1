"""One restore, from the first check to the last: load next to the existing databases, verify, and only then rename."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.backup_manifest import BackupDamaged, Manifest
from common.backup_store import BackupStore
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from restore import Differs, LoadFailed, Refused, failures, loading, objects, plain_sql, target, verification
from restore.failures import Failure
from restore.source import Source
from restore.target import Target

Report = Callable[[str], None]
_PROGRESS_SECONDS = 15
_MOST_TIMES, _MOST_MORE = 3, 2 * 2**30  # of the original's size; a dump that grows beyond would fill the instance's storage
_NO_DATABASE_GRANTS = "a .sql.gz holds no grants on the database itself: run the database-roles function"


@dataclass(frozen=True, kw_only=True)
class Done:
    """The facts of the closing summary."""

    database: str
    kept: str | None  # the new name of the database that had the name before
    seconds: float
    method: str
    remarks: tuple[str, ...] = ()


def restore(
    store: BackupStore,
    backup: Manifest,
    to: Target,
    *,
    report: Report,
    allowed: Collection[str] = (),
    jobs: int = 2,
    folder: Path | None = None,
    rds: Any = None,
) -> Done:
    """Restore `backup` into `to.database`. Raises BackupError; then `to.database` is unchanged."""
    start = time.monotonic()
    store.verify(backup)
    report(f"backup {backup.name}: sizes and checksums of all objects match the manifest")
    if rds is not None:
        target.refuse_production(to, allowed, rds)
    folder = folder or Path(tempfile.gettempdir())
    needed = backup.files["archive"].bytes if "archive" in backup.files else 0
    try:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise Refused(f"The archive has {needed:,} bytes, but {folder} has only {free:,} free: use another --folder")
        with target.administration(to) as connection, _scratch(folder) as scratch:
            return _restore(store, backup, to, connection, Path(scratch), report=report, allowed=allowed, jobs=jobs, start=start)
    except (DatabaseError, InterfaceError) as error:
        raise LoadFailed(f"The server reported an error or closed the connection: {target.reason(error)}") from error
    except OSError as error:
        raise LoadFailed(f"{error.strerror or error}: {error.filename or to.host}") from error


def _scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="carmen-restore-", dir=folder, ignore_cleanup_errors=True)


def _restore(
    store: BackupStore,
    backup: Manifest,
    to: Target,
    connection: Connection,
    folder: Path,
    *,
    report: Report,
    allowed: Collection[str],
    jobs: int,
    start: float,
) -> Done:
    major = target.server_major(connection)
    source = Source(store, backup, folder, major)
    replaces = target.refuse_unfit(connection, to, source.contents, major, allowed)
    place = f"replacing database {to.database}" if replaces else f"new database {to.database}"
    report(f"{to.host}: PostgreSQL {major}, {place}, with {source.method}")
    roles = plain_sql.created_roles(plain_sql.checked_roles(objects.text(store, backup.files["roles"])))
    with target.staging(connection, to, backup, source.contents, roles) as (staged, take_over):
        # Reading runs code of the dump too, in views and policies: everything happens as the role that loads.
        name = staged.database
        failed = source.load(staged, name, jobs=jobs, tick=_progress(connection, name, backup, report))
        report(f"loaded after {time.monotonic() - start:.0f} s; comparing with the backup")
        with staged.connect(name) as restored:
            wrong = verification.facts(restored, backup)
        if wrong and not failed:
            raise BackupDamaged(f"The restored database differs from the manifest: {'; '.join(wrong)}. It was dropped; use another backup")
        wrong += verification.content(staged, name, source, lambda: None)
        scratch = partial(target.scratch, connection, to, staged, source.contents, backup)
        wrong += verification.definition_differences(staged, name, source, scratch, jobs=jobs, tick=lambda: None)
        if failed:
            take_over()
            raise _incomplete(to, target.keep(connection, to.database, name, backup.stamp, incomplete=True), failed, wrong)
        if wrong:
            take_over()
            raise _differs(to, target.keep(connection, to.database, name, backup.stamp), wrong)
        with staged.connect(name) as restored:
            report("rows, sequences, large objects and definitions match; gathering statistics for the query planner")
            restored.run("ANALYZE")
        take_over()
        kept = target.swap(connection, to.database, name, backup.stamp if replaces else None)
    remarks = () if source.contents.database_statements else (_NO_DATABASE_GRANTS,)
    return Done(database=to.database, kept=kept, seconds=time.monotonic() - start, method=source.method, remarks=remarks)


def _differs(to: Target, kept: str, wrong: list[str]) -> Differs:
    return Differs(f"The restore is complete, but the database differs from the backup:\n{verification.shown(wrong)}\n{_choice(to, kept)}")


def _incomplete(to: Target, kept: str, failed: list[Failure], wrong: list[str]) -> Differs:
    rest = failures.unexplained(wrong, failed)
    also = f"The rest differs from the backup too:\n{verification.shown(rest)}\n" if rest else "Everything else equals the backup.\n"
    return Differs(
        f"The backup can be read, but {len(failed)} of its objects cannot be restored as they are:\n"
        f"{verification.shown([str(failure) for failure in failed])}\n{also}{_choice(to, kept)}"
    )


def _choice(to: Target, kept: str) -> str:
    return (
        f"It is kept as {kept}, and database {to.database} is unchanged. To use it nevertheless: "
        f"`./carmen backup accept --host {to.host} --database {to.database} --restored {kept}`. "
        f'Otherwise, as {to.user}: DROP DATABASE "{kept}"'
    )


def accept(to: Target, kept: str, *, allowed: Collection[str] = (), rds: Any = None) -> str | None:
    """Give the database that a restore kept its name; returns the new name of the previous one."""
    if rds is not None:
        target.refuse_production(to, allowed, rds)
    with target.administration(to) as connection:
        return target.accept(connection, to, kept, allowed)


def _progress(connection: Connection, name: str, backup: Manifest, report: Report) -> loading.Tick:
    """Report the size of the loaded data every few seconds."""
    start = last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if (now := time.monotonic()) - last < _PROGRESS_SECONDS:
            return
        last = now
        (size,) = connection.run("SELECT pg_database_size(:name)", name=name)[0]
        if size > _MOST_TIMES * backup.database_bytes + _MOST_MORE:
            raise LoadFailed(
                f"{size / 1e6:,.0f} MB were loaded, but the original had {backup.database_bytes / 1e6:,.0f} MB: it may be forged"
            )
        report(f"{now - start:.0f} s: {size / 1e6:,.0f} MB loaded; the original has {backup.database_bytes / 1e6:,.0f} MB with indexes")

    return tick
