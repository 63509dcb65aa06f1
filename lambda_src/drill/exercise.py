"""One drill: restore the newest backup into a temporary server and compare the result with the backup, as a restore does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Expired
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.backup_manifest import BackupDamaged, BackupError, Manifest
from common.backup_store import BackupStore
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import identifier
from restore import LoadFailed, failures, loader, objects, plain_sql, verification
from restore.source import Source

from drill import report as reports
from drill.report import Report
from drill.server import SUPERUSER, EphemeralServer, ServerAs, ServerFailed
from drill.settings import Settings

SecondsLeft = Callable[[], float | None]  # None: no limit

MARGIN_SECONDS = 60  # for cleaning up
ASSUMED_BYTES_PER_SECOND = 10_000_000  # until a drill has passed

_DATABASE, _SCRATCH = "drill", "drill_definitions"
_CAUTION = 1.5  # start only if this multiple of the predicted duration is left
_SIGNIFICANT_SECONDS = 30  # a shorter drill mostly starts and stops the server: its rate predicts nothing
_DISK_FACTOR = 1.5  # of the database's size: tables, and indexes while they are sorted
_WAL_BYTES = 600_000_000


class TooLarge(Exception):
    """The drill does not fit here, in time or on disk: run it where there is more."""


def drill(store: BackupStore, settings: Settings, stamp: str, seconds_left: SecondsLeft) -> Report:
    """Return the report, passed or not. Raises TooLarge if the drill should run elsewhere. Leaves nothing behind."""
    report = Report(stamp=stamp)
    start = time.monotonic()
    try:
        backup = store.find()
        report.remarks += store.refused
        _describe(report, backup)
        with EphemeralServer(settings.server_home, below=settings.folder, memory_mb=settings.memory_mb, jobs=settings.jobs) as server:
            if not Path("/usr/share/zoneinfo/UTC").exists():
                report.remarks.append("this machine has no time zone data: views and indexes that name a time zone cannot be built")
            report.remarks += [f"the remains of a killed drill were removed: {name}" for name in server.removed]
            _must_fit(store, settings, backup, seconds_left())  # after the remains are gone
            report.steps["server"] = round(time.monotonic() - start, 3)
            try:
                _Exercise(store, settings, backup, server, report, seconds_left, start).run()
            except (BackupError, DatabaseError, InterfaceError, OSError) as error:
                raise _explained(error, server, settings) from error
    except (BackupError, ServerFailed) as error:
        report.result = reports.BROKEN if isinstance(error, BackupDamaged) else reports.FAILED
        report.problems.append(str(error))
    report.seconds = round(time.monotonic() - start, 3)
    report.passed = report.result == reports.PASSED
    return report


def _describe(report: Report, backup: Manifest) -> None:
    report.backup, report.database = backup.key, backup.database
    report.backup_age_hours = round((datetime.now(UTC) - backup.taken_at).total_seconds() / 3600, 2)
    report.server_version, report.database_bytes = backup.server_version, backup.database_bytes
    report.archive_bytes = backup.files["archive"].bytes if "archive" in backup.files else 0


def _must_fit(store: BackupStore, settings: Settings, backup: Manifest, left: float | None) -> None:
    archive = backup.files["archive"].bytes if "archive" in backup.files else 0
    needed, free = archive + int(backup.database_bytes * _DISK_FACTOR) + _WAL_BYTES, shutil.disk_usage(settings.folder).free
    if free < needed:
        raise TooLarge(f"about {needed / 1e9:.1f} GB of disk are needed, {settings.folder} has {free / 1e9:.1f} GB")
    if left is None:
        return
    last = reports.last_passed(store)
    rate = last["database_bytes"] / last["seconds"] if last and last["seconds"] >= _SIGNIFICANT_SECONDS else ASSUMED_BYTES_PER_SECOND
    predicted = backup.database_bytes / max(rate, 1)
    if predicted * _CAUTION > left - MARGIN_SECONDS:
        raise TooLarge(f"{backup.database_bytes / 1e9:.1f} GB would take about {predicted:.0f} s, but only {max(0, left):.0f} s are left")


def _explained(error: Exception, server: EphemeralServer, settings: Settings) -> Exception:
    """Add the server's last log lines if it is gone, and the remedy for a full disk or a missing extension."""
    text = str(error)
    for _ in range(10):  # a killed server refuses connections shortly before it has ended
        if "connection" in text and server.is_running():
            time.sleep(0.1)
    if not server.is_running():
        text += f"; the drill's own server has stopped: {server.last_words()}"
    if "No space left" in text or "File too large" in text:
        free = shutil.disk_usage(settings.folder).free
        text += (
            f". The disk of {settings.folder} is full ({free / 1e6:,.0f} MB free): give the function more ephemeral storage, "
            "or run the drill in the task (DRILL_TASK_DEFINITION)"
        )
    if "is not available" in text or "could not load library" in text:
        text += ". The drill's server lacks an extension that production has: tools/build/drill_server.py lists those it leaves out"
    return type(error)(text) if isinstance(error, BackupError) else LoadFailed(text)


class _Exercise:
    """The steps on a running server."""

    def __init__(
        self,
        store: BackupStore,
        settings: Settings,
        backup: Manifest,
        server: EphemeralServer,
        report: Report,
        seconds_left: SecondsLeft,
        start: float,
    ) -> None:
        self._store, self._settings, self._backup, self._server = store, settings, backup, server
        self._report, self._seconds_left, self._start = report, seconds_left, start

    def run(self) -> None:
        self._same_major()
        with self._step("objects"):
            self._store.verify(self._backup)
        with self._step("download"):
            major = int(self._server.version.split(".")[0])
            self._source = Source(self._store, self._backup, self._server.folder, major)
        with self._step("roles"):
            self._loader = ServerAs(self._server, self._create_roles())
            self._create(_DATABASE)
            self._create(_SCRATCH)
        with self._step("restore"):  # with the method that a restore would use
            self._failed = self._source.load(self._loader, _DATABASE, jobs=self._settings.jobs, tick=self._tick)
        self._report.compared["method"] = self._source.method
        self._report.recovery_seconds = round(time.monotonic() - self._start, 3)
        with self._step("compare"):
            self._compare()

    def _same_major(self) -> None:
        mine, its = self._server.version, self._backup.server_version
        if mine.split(".")[0] != its.split(".")[0]:
            raise LoadFailed(
                f"The drill's server is PostgreSQL {mine}, the backup is of {its}: a drill needs the same major version. "
                "Build the server's layer for it (tools/build/drill_server.py)"
            )

    def _create_roles(self) -> str:
        """Create the roles of roles.sql by statements of our own, without attributes, and the role that loads; return that role."""
        sql = plain_sql.checked_roles(objects.text(self._store, self._backup.files["roles"]))
        wanted = plain_sql.created_roles(sql, of_rds=True) - {SUPERUSER}
        with self._server.connect() as administration:
            for name in sorted(wanted):
                administration.run(f"CREATE ROLE {identifier(name)}")
            for group, member in plain_sql.memberships(sql, wanted):
                administration.run(f"GRANT {identifier(group)} TO {identifier(member)}")
            role = loader.create(administration, wanted).name
            administration.run(f"ALTER ROLE {role} BYPASSRLS")  # reads tables with FORCE ROW LEVEL SECURITY, and runs no policy
        self._report.compared["roles"] = len(wanted)
        return role

    def _create(self, name: str) -> None:
        """Create a database of the loader. From the loading on, all sessions in it are the loader's, none is the superuser's."""
        contents = self._source.contents
        with self._server.connect() as administration:
            administration.run(f"CREATE DATABASE {name}")
            with self._server.connect(name) as empty:
                loader.prepare(empty, sorted(contents.extensions & self._backup.extensions.keys()))
            administration.run(f"ALTER DATABASE {name} OWNER TO {self._loader.user}")
            existing = {role for (role,) in administration.run("SELECT rolname FROM pg_roles")}
            for owner in sorted(contents.owners & existing):
                administration.run(f"GRANT CREATE ON DATABASE {name} TO {identifier(owner)}")

    def _compare(self) -> None:
        """Read the restored data on one processor and the backup's on the other; then compare definitions."""
        workers = ThreadPoolExecutor(2)
        running: list[Future[Any]] = [workers.submit(part) for part in (self._content, self._facts_and_definitions)]
        try:
            wrong = [problem for future in running for problem in self._result(future)]
        finally:
            if not all(future.done() for future in running):
                self._server.stop()  # ends both
            workers.shutdown()
        self._judge(wrong)

    def _judge(self, wrong: list[str]) -> None:
        """Tell a broken backup from one with objects that do not restore as they are, and from a server that lacks something."""
        rest = failures.unexplained(wrong, self._failed)
        self._report.problems += [*map(str, self._failed), *rest]
        if rest:
            self._report.result = reports.BROKEN
        elif not self._failed:
            self._report.result = reports.PASSED
        elif all(failure.here for failure in self._failed):
            self._report.result = reports.NOT_VERIFIABLE
        else:
            self._report.result = reports.REMEDY

    def _content(self) -> list[str]:
        """Compare the rows. With both formats in the backup, what one restored is compared with the other."""
        return verification.content(self._loader, _DATABASE, self._source, self._tick, both=True)

    def _facts_and_definitions(self) -> list[str]:
        with self._loader.connect(_DATABASE) as restored:
            wrong = verification.facts(restored, self._backup)
            versions = dict(restored.run("SELECT extname, extversion FROM pg_extension"))
        self._report.remarks += [
            f"extension {name} has version {versions[name]} in the drill, {version} in the backup"
            for name, version in self._backup.extensions.items()
            if versions.get(name, version) != version
        ]
        self._report.compared |= {
            "tables": len(self._backup.tables),
            "rows": sum(self._backup.tables.values()),
            "sequences": len(self._backup.sequences),
            "large_objects": self._backup.large_objects,
        }
        return wrong + verification.definition_differences(
            self._loader, _DATABASE, self._source, self._scratch, jobs=self._settings.jobs, tick=self._tick
        )

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        yield _SCRATCH

    def _result(self, future: Future[Any]) -> Any:
        while True:
            try:
                return future.result(timeout=1)
            except Expired:
                self._tick()

    def _tick(self) -> None:
        left = self._seconds_left()
        if left is not None and left < MARGIN_SECONDS:
            raise TooLarge(f"it did not finish within {time.monotonic() - self._start:.0f} s, and only {left:.0f} s are left")
        if not self._server.is_running():
            raise LoadFailed("The drill's own server stopped")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self._report.steps[name] = round(time.monotonic() - start, 3)
