"""One drill: the newest backup becomes a database again, and that database is what was backed up, or the drill has failed.

The proof is a dump of what was restored: with the restrict key of then it is, byte for byte, the dump that was taken.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Expired
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup.manifest import Manifest
from pg8000.exceptions import DatabaseError, InterfaceError
from restore import BackupDamaged, LoadFailed, RestoreError, loading, objects, plain_sql, verification
from restore.source import Source

from drill import report as reports
from drill.report import Report
from drill.server import EphemeralServer, ServerFailed
from drill.settings import Settings

SecondsLeft = Callable[[], float | None]  # None: no end

_DATABASE = "drill"
_CAUTION = 1.5  # how much longer than predicted a drill may take and still be begun here
_TELLING_SECONDS = 30  # a shorter drill was mostly starting and stopping
_ROOM = 1.5  # tables and indexes while they are sorted, over the database's own size
_WAL_BYTES = 600_000_000
_NOT_OF_THE_CONTENTS = ("--format", "--compress", "--no-password", "--lock-wait-timeout", "--snapshot")


class TooLarge(Exception):
    """It does not fit here, in time or on the disk: drill where there is more."""


def drill(s3: Any, settings: Settings, stamp: str, seconds_left: SecondsLeft) -> Report:
    """Returns the report, passed or not. Raises TooLarge when it should be tried elsewhere; nothing is left in either case."""
    report = Report(stamp=stamp)
    start = time.monotonic()
    try:
        found = objects.find(s3, settings.bucket)
        _describe(report, found)
        with EphemeralServer(settings.server_home, below=settings.folder, memory_mb=settings.memory_mb, jobs=settings.jobs) as server:
            if not Path("/usr/share/zoneinfo/UTC").exists():
                report.remarks.append("this machine has no time zones: views and indexes that name one cannot be built here")
            report.remarks += [f"what a killed drill had left was removed: {name}" for name in server.removed]
            _must_fit(s3, settings, found, seconds_left())  # now that what was left over takes no room any more
            report.steps["server"] = round(time.monotonic() - start, 3)
            try:
                _Exercise(s3, settings, found, server, report, seconds_left, start).run()
            except (RestoreError, DatabaseError, InterfaceError, OSError) as error:
                raise _explained(error, server, settings) from error
    except (RestoreError, ServerFailed) as error:
        report.problems.append(str(error))
    report.seconds = round(time.monotonic() - start, 3)
    report.passed = not report.problems
    return report


def _describe(report: Report, found: Manifest) -> None:
    report.backup, report.database = found.key, found.database
    report.backup_age_hours = round((datetime.now(UTC) - found.taken_at).total_seconds() / 3600, 2)
    report.server_version, report.database_bytes = found.server_version, found.database_bytes
    report.archive_bytes = found.files["archive"].bytes if "archive" in found.files else 0


def _must_fit(s3: Any, settings: Settings, found: Manifest, left: float | None) -> None:
    archive = found.files["archive"].bytes if "archive" in found.files else 0
    needed, free = archive + int(found.database_bytes * _ROOM) + _WAL_BYTES, shutil.disk_usage(settings.folder).free
    if free < needed:
        raise TooLarge(f"about {needed / 1e9:.1f} GB of disk are needed, {settings.folder} has {free / 1e9:.1f} GB")
    if left is None:
        return
    last = reports.last_passed(s3, settings)
    telling = last is not None and last["seconds"] >= _TELLING_SECONDS
    rate = last["database_bytes"] / last["seconds"] if last and telling else settings.assumed_bytes_per_second
    predicted = found.database_bytes / max(rate, 1)
    if predicted * _CAUTION > left - settings.margin_seconds:
        raise TooLarge(f"{found.database_bytes / 1e9:.1f} GB would take about {predicted:.0f} s, and {max(0, left):.0f} s are left here")


def _explained(error: Exception, server: EphemeralServer, settings: Settings) -> Exception:
    """The error in words, with what the server said last when it did not survive, and what a full disk wants."""
    text = str(error)
    if not server.is_running():
        text += f"; the drill's own server is gone: {server.last_words()}"
    if "No space left" in text or "File too large" in text:
        free = shutil.disk_usage(settings.folder).free
        text += (
            f". The disk of {settings.folder} is full ({free / 1e6:,.0f} MB free): give the function more ephemeral storage, "
            "or let the task do it (DRILL_TASK_DEFINITION)"
        )
    if "is not available" in text or "could not load library" in text:
        text += ". The drill's server lacks an extension that production has: tools/build_drill_server.py says which it leaves out"
    return type(error)(text) if isinstance(error, RestoreError) else LoadFailed(text)


class _Exercise:
    """The steps on a running server."""

    def __init__(
        self, s3: Any, settings: Settings, found: Manifest, server: EphemeralServer, report: Report, seconds_left: SecondsLeft, start: float
    ) -> None:
        self._s3, self._settings, self._found, self._server = s3, settings, found, server
        self._report, self._seconds_left, self._start = report, seconds_left, start

    def run(self) -> None:
        self._same_major()
        with self._step("objects"):
            objects.check(self._s3, self._settings.bucket, self._found)
        with self._step("roles"):
            self._roles()
        with self._server.connect() as administration:
            administration.run(f"CREATE DATABASE {_DATABASE}")
        self._load()
        self._report.recovery_seconds = round(time.monotonic() - self._start, 3)
        with self._step("compare"):
            self._compare()

    def _same_major(self) -> None:
        mine, its = self._server.version, self._found.server_version
        if mine.split(".")[0] != its.split(".")[0]:
            raise LoadFailed(
                f"the drill's server is PostgreSQL {mine}, the backup is of {its}: only the same major version proves anything. "
                "Build the server's layer for it (tools/build_drill_server.py)"
            )

    def _roles(self) -> None:
        sql = objects.text(self._s3, self._settings.bucket, self._found.files["roles"])
        refused = loading.load_roles(sql, self._server)
        self._report.remarks += [f"roles.sql: {line}" for line in refused[:10]]
        with self._server.connect() as administration:
            there = {name for (name,) in administration.run("SELECT rolname FROM pg_roles")}
        if missing := sorted(plain_sql.created_roles(sql) - there):
            raise BackupDamaged(f"roles.sql does not make its own roles: {', '.join(missing)}")
        self._report.compared["roles"] = len(plain_sql.created_roles(sql))

    def _load(self) -> None:
        """By the way that a restore would take."""
        with self._step("download"):
            major = int(self._server.version.split(".")[0])
            self._source = Source(self._s3, self._settings.bucket, self._found, self._server.folder, major)
        with self._step("restore"):
            self._source.load(self._server, _DATABASE, jobs=self._settings.jobs, tick=self._tick)
        self._report.compared["way"] = self._source.way

    def _compare(self) -> None:
        """The dump on one processor; on the other counts and definitions, then the form of the backup that was not restored."""
        workers = ThreadPoolExecutor(2)
        running: list[Future[Any]] = [workers.submit(part) for part in (self._fresh, self._contents_differ)]
        try:
            fresh, wrong = (self._result(future) for future in running)
        finally:
            if not all(future.done() for future in running):
                self._server.stop()  # or they would work on
            workers.shutdown()
        self._report.problems += wrong + self._dump_differs(fresh)

    def _contents_differ(self) -> list[str]:
        with self._server.connect(_DATABASE) as restored:
            wrong = verification.differences(restored, self._found)
            versions = dict(restored.run("SELECT extname, extversion FROM pg_extension"))
        self._report.remarks += [
            f"extension {name} is {versions[name]} here, {version} in the backup"
            for name, version in self._found.extensions.items()
            if versions.get(name, version) != version
        ]
        self._report.compared |= {
            "tables": len(self._found.tables),
            "rows": sum(self._found.tables.values()),
            "sequences": len(self._found.sequences),
            "large_objects": self._found.large_objects,
        }
        wrong += verification.schema_difference(self._server, _DATABASE, self._found)
        self._inside = self._inside_sql_gz()
        return wrong

    def _inside_sql_gz(self) -> int | None:
        """The CRC-32 of the SQL in the form that was not restored; its SHA-256 is not hashed twice, a fresh dump has it."""
        if not self._source.archive or not (sql := self._found.files.get("sql_gz")):
            return None
        crc32 = 0
        for block in objects.sql(self._s3, self._settings.bucket, sql, hashed=False):
            crc32 = zlib.crc32(block, crc32)
            self._tick()
        return crc32

    def _fresh(self) -> verification.Digest:
        options = [option for option in self._found.pg_dump_options if not option.startswith(_NOT_OF_THE_CONTENTS)]
        return verification.dump(self._server, _DATABASE, self._found, options, self._found.restrict_key)

    def _dump_differs(self, fresh: verification.Digest) -> list[str]:
        wrong = []
        if sql := self._found.files.get("sql_gz"):
            wanted = (sql.raw_sha256, sql.raw_bytes)
        else:
            assert self._source.archive
            text = verification.digest(loading.archive_as_sql(self._source.archive, self._found.restrict_key))
            wanted = (text.sha256, text.size)
        if (fresh.sha256, fresh.size) != wanted:
            said = "a dump of the restored database has SHA-256 {} and {} bytes, the backup has {} and {}"
            wrong.append(said.format(fresh.sha256, fresh.size, *wanted))
        if self._inside not in (None, fresh.crc32):
            wrong.append("the SQL inside the .sql.gz is not what a dump of the restored database is")
        self._report.compared |= {"dump_sha256": fresh.sha256, "dump_bytes": fresh.size}
        return wrong

    def _result(self, future: Future[Any]) -> Any:
        while True:
            try:
                return future.result(timeout=1)
            except Expired:
                self._tick()

    def _tick(self) -> None:
        left = self._seconds_left()
        if left is not None and left < self._settings.margin_seconds:
            raise TooLarge(f"it was not done after {time.monotonic() - self._start:.0f} s, and {left:.0f} s are left here")
        if not self._server.is_running():
            raise LoadFailed("the drill's own server ended")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self._report.steps[name] = round(time.monotonic() - start, 3)
