"""One backup, from the lock to the manifest.

Five checks keep a partial dump from ever looking complete, in this order: the programs' exit codes, the SQL's last line, the
snapshot's session, the checksums of the stored objects, and the manifest, which is written last.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from common import client_tools, database, locks
from common.backup_manifest import File, Manifest
from common.backup_store import BackupStore
from common.scrubbed_logs import scrubbed_logger
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from backup import snapshot
from backup.dump import Dump, DumpError, Options, compression_of_client
from backup.settings import Settings
from backup.upload import MultipartUpload, part_bytes_for

logger = scrubbed_logger(service="backup")

ROLE = "carmen_backup"
CAUTION = 1.5  # start only if this multiple of the predicted duration is left
MARGIN_SECONDS = 60  # for cleaning up
LOCK_WAIT_SECONDS = 60
ASSUMED_BYTES_PER_SECOND = 10_000_000  # of the first backup
_ENDINGS = (".dump", ".sql.gz", ".sql")


class TooLong(Exception):
    """The backup would not finish in the remaining time: start it where there is more."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run. `written`: the addresses of all manifests it wrote; `new`: one of them is this backup's."""

    manifest: Manifest
    new: bool
    written: list[str]
    superseded: int


Clock = Callable[[], float | None]  # seconds left; None: no limit


def back_up(settings: Settings, stamp: str, seconds_left: Clock) -> Outcome:
    """Make the backup of this time unless it exists; then make the missing copies.

    Raises locks.Busy, TooLong, DeadlineExceeded, DumpError or UploadError. No error leaves a wrong manifest, and the next
    run needs no clean-up.
    """
    store = settings.bucket.store()
    found = _existing(store, stamp)
    written: list[str] = []
    if found is None:
        found, written = _make(store, settings, stamp, seconds_left)
    else:
        logger.info("backup already exists", key=found.key)
    new = bool(written)
    written += store.copy_to_tiers(found, weekly_day=settings.weekly_day, monthly_day=settings.monthly_day)
    if settings.copy:
        written += store.copy_to_second_region(settings.copy.store())
    superseded = store.tag_superseded()
    if settings.copy:
        superseded += settings.copy.store().tag_superseded()
    for refusal in store.refused:
        logger.error(refusal)
    return Outcome(manifest=found, new=new, written=written, superseded=superseded)


def _existing(store: BackupStore, stamp: str) -> Manifest | None:
    names = store.names("daily", stamp)
    return store.read(names[0]) if names else None


def _make(store: BackupStore, settings: Settings, stamp: str, seconds_left: Clock) -> tuple[Manifest, list[str]]:
    with (
        database.open_session(_log_in(seconds_left(), locks.DATABASE)) as guard,
        locks.exclusive(guard, f"carmen-backup {stamp}", wait_seconds=LOCK_WAIT_SECONDS),
        database.open_session(_log_in(seconds_left())) as session,
    ):
        if found := _existing(store, stamp):  # another run made it while this one waited
            return found, []
        previous = store.newest()
        rate = previous.bytes_per_second if previous else ASSUMED_BYTES_PER_SECOND
        facts = snapshot.facts(session)
        limit = _limit(facts.database_bytes / rate, facts.database_bytes, seconds_left())
        made = _Backup(store, settings.formats, stamp, session, facts, guard).make(limit)
        return made, [store.write(made)]


def _limit(predicted: float, size: int, left: float | None) -> float | None:
    """How many seconds the dump may take."""
    if left is None:
        return None
    limit = left - MARGIN_SECONDS
    if predicted * CAUTION > limit:
        raise TooLong(f"{size / 1e9:.1f} GB would take about {predicted:.0f} s, but only {max(0, limit):.0f} s are left")
    return limit


def _log_in(seconds: float | None, name: str | None = None) -> Connection:
    try:
        return database.connect_as(ROLE, database=name, timeout_seconds=seconds)
    except DatabaseError as error:
        reason = error.args[0]["M"] if error.args and isinstance(error.args[0], dict) else str(error)
        raise DumpError(
            f"PostgreSQL refused the login of {ROLE}: {reason}. The database-roles function creates this role, and the function's IAM "
            "role needs rds-db:connect for it."
        ) from error
    except (InterfaceError, OSError) as error:
        raise DumpError(f"The database cannot be reached: {error}") from error


class _Backup:
    """The dump itself, while the session holds the lock."""

    def __init__(
        self,
        store: BackupStore,
        formats: tuple[str, ...],
        stamp: str,
        session: Connection,
        facts: snapshot.Facts,
        guard: Connection,
    ) -> None:
        self._store, self._formats, self._stamp = store, formats, stamp
        self._session, self._facts, self._guard = session, facts, guard
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._folder = f"daily/{stamp}/"
        self._suffix = self._free_suffix()

    def make(self, limit: float | None) -> Manifest:
        """Dump, verify and store the files. The caller writes the manifest."""
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
            self._dump.run(lambda: self._describe_content(variables), self._interrupt, limit)
            self._end_session()
            files = self._complete()
        except BaseException:
            for remark in self._dump.abort():
                logger.warning(remark)
            raise
        return self._manifest(options, files)

    def _upload(self, format_name: str, ending: str, content_type: str) -> MultipartUpload | None:
        if format_name not in self._formats:
            return None
        return MultipartUpload(
            self._store,
            f"{self._folder}carmen_backup_{self._stamp}{self._suffix}.{ending}",
            content_type=content_type,
            part_bytes=part_bytes_for(self._facts.database_bytes),
        )

    def _free_suffix(self) -> str:
        """The first free one: a run that died before its manifest may have left objects, which cannot be replaced."""
        taken = [key for key, _ in self._store.objects(self._folder)]
        suffixes = ("", *(f"-{number}" for number in range(2, len(taken) + 3)))
        return next(suffix for suffix in suffixes if not any(key.endswith(tuple(suffix + ending for ending in _ENDINGS)) for key in taken))

    def _describe_content(self, variables: dict[str, str]) -> None:
        """Read the manifest's facts while the dump runs. New logins come first, because tokens expire."""
        self._roles = _roles(variables, self._dump)
        self._facts.sequences = snapshot.sequences(self._session)
        self._facts.tables = snapshot.count(self._session, lambda: not self._dump.failed)

    def _interrupt(self) -> None:
        """Cancel a count, which may take minutes, from another session."""
        with suppress(DatabaseError, InterfaceError, OSError), closing(database.connect_as(ROLE)) as other:
            other.run("SELECT pg_cancel_backend(:pid)", pid=self._pid)

    def _end_session(self) -> None:
        """Prove that lock and snapshot were held until now: else the counts are of another moment."""
        try:
            self._session.run("COMMIT")
            self._guard.run("SELECT 1")
        except (DatabaseError, InterfaceError, OSError) as error:
            raise DumpError(f"The session that held lock or snapshot was lost before the end: {error}. Run the backup again.") from error

    def _complete(self) -> dict[str, File]:
        files = {"roles": self._store.put(f"{self._folder}roles{self._suffix}.sql", self._roles, content_type="application/sql")}
        if self._dump.archive:
            files["archive"] = self._dump.archive.complete()
        if self._dump.sql_gz:
            raw = {"raw_sha256": self._dump.raw_sha256.hexdigest(), "raw_bytes": self._dump.raw_bytes}
            files["sql_gz"] = self._dump.sql_gz.complete(**raw)
        return files

    def _manifest(self, options: Options, files: dict[str, File]) -> Manifest:
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
            extensions=facts.extensions,
            large_objects=facts.large_objects,
            invalid_indexes=facts.invalid_indexes,
        )


def _roles(variables: dict[str, str], dump: Dump) -> bytes:
    """Roles, memberships and role settings, without passwords: those stay on the server."""
    process = client_tools.ClientProcess("pg_dumpall", "--roles-only", "--no-role-passwords", "--no-password", variables=variables)
    dump.watch(process)
    return b"".join(process.output(lambda failure: DumpError(f"The roles cannot be read: {failure}")))
