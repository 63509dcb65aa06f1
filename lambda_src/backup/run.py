"""One backup, from the lock to the manifest.

The order is what keeps a half-written dump from ever looking whole: the programs' exit codes, the SQL's last line, the
snapshot's session still there, the objects with their checksums compared, and the manifest last.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common import client_tools, database, locks
from common.scrubbed_logs import scrubbed_logger
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from backup import manifest, snapshot, tiers
from backup.dump import DeadlineExceeded, Dump, DumpError, Options, compression_of_client
from backup.manifest import File, Manifest
from backup.settings import Settings
from backup.upload import MultipartUpload, part_bytes_for, put

logger = scrubbed_logger(service="backup")

ROLE = "carmen_backup"
CAUTION = 1.5  # how much longer than predicted a run may take and still be begun here


class TooLong(Exception):
    """It would not be finished in the time left: begin it where there is more."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did. `written` are the keys of all manifests it wrote; none when the backup of that time was there."""

    manifest: Manifest
    new: bool
    written: list[str]
    retired: int


Clock = Callable[[], float | None]  # seconds left; None: no end


def back_up(settings: Settings, stamp: str, seconds_left: Clock) -> Outcome:
    """The backup of this time, unless it is there already; then whatever copies of it are missing.

    Raises locks.Busy, TooLong, DeadlineExceeded, DumpError or UploadError. Whatever it raises, no manifest was written
    that is not true, and the next run needs no tidying up.
    """
    s3 = settings.bucket.client()
    found = _existing(s3, settings, stamp)
    written: list[str] = []
    if found is None:
        found, written = _take(s3, settings, stamp, seconds_left)
    else:
        logger.info("this backup is there already", key=found.key)
    new = bool(written)
    written += tiers.spread(s3, found, settings)
    retired = tiers.retire(s3, settings.bucket.name, settings.copies_kept)
    if settings.copy:
        retired += tiers.retire(settings.copy.client(), settings.copy.name, settings.copies_kept)
    return Outcome(manifest=found, new=new, written=written, retired=retired)


def _existing(s3: Any, settings: Settings, stamp: str) -> Manifest | None:
    key = manifest.key_of("daily", stamp)
    return manifest.read(s3, settings.bucket.name, key) if key in manifest.keys(s3, settings.bucket.name, f"daily/{stamp}") else None


def _take(s3: Any, settings: Settings, stamp: str, seconds_left: Clock) -> tuple[Manifest, list[str]]:
    session = _log_in(seconds_left())
    try:
        with locks.exclusive(session, f"carmen-backup {stamp}", wait_seconds=settings.lock_wait_seconds):
            if found := _existing(s3, settings, stamp):  # somebody made it while we waited
                return found, []
            previous = manifest.newest(s3, settings.bucket.name)
            rate = previous.bytes_per_second if previous else settings.assumed_bytes_per_second
            facts = snapshot.facts(session)
            limit = _limit(settings, facts.database_bytes / rate, facts.database_bytes, seconds_left())
            made = _Backup(s3, settings, stamp, session, facts).make(limit)
            return made, [f"s3://{settings.bucket.name}/{made.key}"]
    finally:
        with suppress(InterfaceError, OSError):  # it may be gone, which was noticed before
            session.close()


def _limit(settings: Settings, predicted: float, size: int, left: float | None) -> float | None:
    """How many seconds the dump may take."""
    if left is None:
        return None
    limit = left - settings.margin_seconds
    if predicted * CAUTION > limit:
        raise TooLong(f"{size / 1e9:.1f} GB would take about {predicted:.0f} s, and {max(0, limit):.0f} s are left here")
    return limit


def _log_in(seconds: float | None) -> Connection:
    try:
        return database.connect_as(ROLE, timeout_seconds=seconds)
    except DatabaseError as error:
        reason = error.args[0]["M"] if error.args and isinstance(error.args[0], dict) else str(error)
        raise DumpError(
            f"{ROLE} was not let in: {reason}. The database-roles function makes this role, and the caller's IAM role needs "
            f"rds-db:connect for it."
        ) from error
    except (InterfaceError, OSError) as error:
        raise DumpError(f"the database could not be reached: {error}") from error


class _Backup:
    """The pass itself, under the lock."""

    def __init__(self, s3: Any, settings: Settings, stamp: str, session: Connection, facts: snapshot.Facts) -> None:
        self._s3, self._settings, self._stamp = s3, settings, stamp
        self._session, self._facts = session, facts
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._folder = f"daily/{stamp}/"
        self._suffix = self._free_suffix()

    def make(self, limit: float | None) -> Manifest:
        self._pid = self._session.run("SELECT pg_backend_pid()")[0][0]
        name = snapshot.export(self._session)
        options = Options(snapshot=name, restrict_key=secrets.token_hex(16), compression=compression_of_client())
        variables = client_tools.environment(**client_tools.connection_as(ROLE))
        self._dump = Dump(
            archive=self._upload("archive", "dump", "application/octet-stream"),
            sql_gz=self._upload("sql_gz", "sql.gz", "application/gzip"),
            options=options,
            variables=variables,
        )
        try:
            self._dump.run(lambda: self._look(variables, name), self._interrupt, limit)
            self._still_there()
            files = self._complete()
        except BaseException:
            for sentence in self._dump.abort():
                logger.warning(sentence)
            raise
        made = self._describe(options, files)
        manifest.write(self._s3, self._settings.bucket.name, made, **self._settings.bucket.encryption)
        return made

    def _upload(self, format_name: str, ending: str, content_type: str) -> MultipartUpload | None:
        if format_name not in self._settings.formats:
            return None
        return MultipartUpload(
            self._s3,
            self._settings.bucket.name,
            f"{self._folder}carmen_backup_{self._stamp}{self._suffix}.{ending}",
            content_type=content_type,
            part_bytes=part_bytes_for(self._facts.database_bytes),
            encryption=self._settings.bucket.encryption,
        )

    def _free_suffix(self) -> str:
        """An earlier try may have made an object and died before the manifest; it cannot be replaced, only passed by."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._settings.bucket.name, Prefix=self._folder)
        taken = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
        number = 1
        while any(key.endswith(f"{'' if number == 1 else f'-{number}'}{end}") for key in taken for end in (".dump", ".sql.gz", ".sql")):
            number += 1
        return "" if number == 1 else f"-{number}"

    def _look(self, variables: dict[str, str], name: str) -> None:
        """What the manifest says about the contents, while the dump runs. New logins come first: tokens age."""
        self._roles = _roles(variables, self._dump)
        self._facts.schema_sha256 = snapshot.schema_sha256(variables, name, self._dump.watch)
        self._facts.sequences = snapshot.sequences(self._session)
        self._facts.tables = snapshot.count(self._session, lambda: not self._dump.failed)

    def _interrupt(self) -> None:
        """Ends a count that may take minutes more, from another session: this one is busy with it."""
        with suppress(DatabaseError, InterfaceError, OSError), closing(database.connect_as(ROLE)) as other:
            other.run("SELECT pg_cancel_backend(:pid)", pid=self._pid)

    def _still_there(self) -> None:
        """Had the session ended, its lock and its snapshot would have too, and the counts be of another moment."""
        try:
            self._session.run("COMMIT")
        except (DatabaseError, InterfaceError, OSError) as error:
            raise DumpError(f"the session that held lock and snapshot was lost before the end: {error}") from error

    def _complete(self) -> dict[str, File]:
        roles = put(
            self._s3,
            self._settings.bucket.name,
            f"{self._folder}roles{self._suffix}.sql",
            self._roles,
            content_type="application/sql",
            encryption=self._settings.bucket.encryption,
        )
        files = {"roles": roles}
        if self._dump.archive:
            files["archive"] = self._dump.archive.complete()
        if self._dump.sql_gz:
            raw = {"raw_sha256": self._dump.raw_sha256.hexdigest(), "raw_bytes": self._dump.raw_bytes}
            files["sql_gz"] = self._dump.sql_gz.complete(**raw)
        return files

    def _describe(self, options: Options, files: dict[str, File]) -> Manifest:
        seconds = time.monotonic() - self._clock
        facts = self._facts
        return Manifest(
            stamp=self._stamp,
            tier="daily",
            database=facts.database,
            server_version=facts.server_version,
            client_version=client_tools.version(),
            pg_dump_options=options.arguments("custom" if self._dump.archive else "plain"),
            restrict_key=options.restrict_key,
            started_at=self._started.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            database_bytes=facts.database_bytes,
            bytes_per_second=round(facts.database_bytes / seconds, 1),
            files=files,
            tables=facts.tables,
            sequences=self._dump.sequences.among(facts.sequences),
            schema_sha256=facts.schema_sha256,
            extensions=facts.extensions,
            large_objects=facts.large_objects,
            invalid_indexes=facts.invalid_indexes,
        )


def _roles(variables: dict[str, str], dump: Dump) -> bytes:
    """Roles, memberships and their settings, without a password: nobody but the server may know those."""
    process = client_tools.ClientProcess("pg_dumpall", "--roles-only", "--no-role-passwords", "--no-password", variables=variables)
    dump.watch(process)
    try:
        text = process.stdout.read()
        if failure := process.failure():
            raise DumpError(f"the roles could not be read: {failure}")
    finally:
        process.close()
    return text


__all__ = ["ROLE", "DeadlineExceeded", "DumpError", "Outcome", "TooLong", "back_up"]
