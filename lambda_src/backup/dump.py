"""One pass over the database: pg_dump writes the archive, and pg_restore converts the same bytes to plain SQL.

    pg_dump -Fc ─┬─> archive ─────────────────────────> multipart upload
                 └─> pg_restore -f - ─> SQL ─> gzip ──> multipart upload

Nothing is buffered: every stage waits for the next one. Any failure kills the programs, which ends every stage. The objects
are created only after all programs succeeded and the SQL has its last line; until then there are only parts.
"""

from __future__ import annotations

import hashlib
import re
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import client_tools
from common.backup_store import UploadError
from common.client_tools import ClientProcess

from backup.upload import MultipartUpload

READ_BYTES = 2**20
FOOTER = b"\n--\n-- PostgreSQL database dump complete\n--\n"
_TAIL_BYTES = 512


class DumpError(Exception):
    """The dump failed; nothing of it remains."""


class DeadlineExceeded(DumpError):
    """The time limit was reached; a run with more time may start again."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """pg_dump's options. `restrict_key` keeps psql from obeying commands hidden in the data, so each backup has a new one."""

    snapshot: str
    restrict_key: str
    compression: str

    def arguments(self, format_name: str) -> list[str]:
        """As recorded in the manifest, without the snapshot, which does not exist later."""
        compression = [f"--compress={self.compression}"] if format_name == "custom" else []
        return [f"--format={format_name}", *compression, "--no-password", "--lock-wait-timeout=60s"]


class Dump:
    """The pass: `run` returns when all uploads are sealed and raises otherwise; `abort` then removes what was uploaded."""

    def __init__(
        self, *, archive: MultipartUpload | None, sql_gz: MultipartUpload | None, options: Options, variables: dict[str, str]
    ) -> None:
        if archive is None and sql_gz is None:
            raise ValueError("A dump needs an archive, sql_gz or both")
        self.archive, self.sql_gz = archive, sql_gz
        self.raw_sha256, self.raw_bytes = hashlib.sha256(), 0
        self.sequences = SequenceValues(in_archive=archive is not None)
        self._options, self._variables = options, variables
        self._running: list[ClientProcess] = []
        self._ended: list[ClientProcess] = []  # before the first kill
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()

    def run(self, meanwhile: Callable[[], Any], interrupt: Callable[[], None], seconds: float | None) -> None:
        """Dump, with `meanwhile` in another thread, which `interrupt` ends. Raises the first error."""
        clock = (
            threading.Timer(seconds, self.fail, [DeadlineExceeded(f"the dump did not finish within {seconds:.0f} s")]) if seconds else None
        )
        if clock:
            clock.start()
        threads: list[threading.Thread] = []
        try:
            stages = self._start()
            threads = [threading.Thread(target=self._guarded, args=(stage,), daemon=True) for stage in (*stages, meanwhile)]
            for thread in threads:
                thread.start()
            for thread in threads[:-1]:
                thread.join()
            if self.failed:
                interrupt()
            threads[-1].join()
            self._raise_cause()
        except BaseException as error:
            if not self.failed:  # from outside, such as a signal
                self.fail(error)
                interrupt()
            for thread in threads:
                thread.join(10)  # everything it waited for was killed
            raise
        finally:
            if clock:
                clock.cancel()
            for process in self._running:
                process.close()

    def watch(self, process: ClientProcess) -> None:
        """Add a program: it must succeed, and is killed if the dump fails."""
        with self._lock:
            self._running.append(process)
            if self._errors:
                process.kill()

    def fail(self, error: BaseException) -> None:
        """Record an error and kill all programs."""
        with self._lock:
            if not self._errors:
                self._ended = [process for process in self._running if process.has_ended]
            self._errors.append(error)
            for process in self._running:
                process.kill()

    @property
    def failed(self) -> bool:
        return bool(self._errors)

    def abort(self) -> list[str]:
        """Abort the uploads that did not become objects; returns a remark for each that S3 refused to abort."""
        return [remark for upload in (self.archive, self.sql_gz) if upload and (remark := upload.abort())]

    def _start(self) -> list[Callable[[], None]]:
        snapshot, restrict = f"--snapshot={self._options.snapshot}", f"--restrict-key={self._options.restrict_key}"
        if self.archive is None:
            dump = self._program("pg_dump", *self._options.arguments("plain"), snapshot, restrict)
            return [lambda: self._compress(dump)]
        dump = self._program("pg_dump", *self._options.arguments("custom"), snapshot)
        if self.sql_gz is None:
            return [lambda: self._store(dump, None)]
        restore = self._program("pg_restore", "--file=-", restrict, reads=True)
        return [lambda: self._store(dump, restore), lambda: self._compress(restore)]

    def _program(self, name: str, *arguments: str, reads: bool = False) -> ClientProcess:
        process = ClientProcess(name, *arguments, variables=self._variables, reads=reads)
        self.watch(process)
        return process

    def _store(self, dump: ClientProcess, restore: ClientProcess | None) -> None:
        """Pass the archive to its upload and to pg_restore.

        A failed program ends its pipes before its exit status is known, and the other program's failure is then a consequence.
        So pg_restore reads the end of the archive only after pg_dump succeeded, and a broken pipe waits for pg_restore's message.
        """
        assert self.archive is not None
        try:
            while chunk := dump.stdout.read(READ_BYTES):
                self.sequences.scan(chunk)
                self.archive.write(chunk)
                if restore:
                    restore.stdin.write(chunk)
            self._check(dump)
            if restore:
                restore.stdin.close()
        except BrokenPipeError:
            if restore:
                self._check(restore)
            raise
        self.archive.seal()

    def _compress(self, source: ClientProcess) -> None:
        """Compress the SQL with gzip, and check its last line."""
        assert self.sql_gz is not None
        compressor = gzip_compressor()
        tail = b""
        while chunk := source.stdout.read(READ_BYTES):
            self.raw_sha256.update(chunk)
            self.raw_bytes += len(chunk)
            if self.archive is None:
                self.sequences.scan(chunk)
            tail = (tail + chunk[-_TAIL_BYTES:])[-_TAIL_BYTES:]
            if compressed := compressor.compress(chunk):
                self.sql_gz.write(compressed)
        self.sql_gz.write(compressor.flush())
        self._check(source)
        if FOOTER not in tail:
            raise DumpError(f"The SQL lacks its last line, {FOOTER.decode().strip()!r}, but {source.name} reported no error")
        self.sql_gz.seal()

    def _check(self, process: ClientProcess) -> None:
        """Raise if the program failed, before the upload waits for its parts."""
        if failure := process.failure():
            raise DumpError(failure)

    def _guarded(self, stage: Callable[[], Any]) -> None:
        try:
            stage()
        except BaseException as error:  # noqa: BLE001 (`run` raises it)
            self.fail(error)

    def _raise_cause(self) -> None:
        """Raise the first error, with the messages of programs that failed by themselves."""
        if not self._errors:
            return
        first = self._errors[0]
        if isinstance(first, (DeadlineExceeded, UploadError)):
            raise first
        failures = [process.failure() for process in self._ended]
        raise DumpError("; ".join(dict.fromkeys(text for text in (*failures, str(first)) if text))) from first


class SequenceValues:
    """The sequences' values in the dump. They are not part of the snapshot, so no query can read them.

    In an archive they are strings of its table of contents, each after its length; in SQL they follow a comment.
    """

    _STATEMENT = re.compile(rb"SELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);\n")
    _MARK = b"SELECT pg_catalog.setval("
    _LONGEST = 2**10
    _HEAD_BYTES = 2**26  # the table of contents comes first; nothing is searched after this

    def __init__(self, *, in_archive: bool) -> None:
        self._in_archive = in_archive
        self._rest = b""
        self._scanned = 0
        self._found: dict[str, list[Any]] = {}

    def scan(self, chunk: bytes) -> None:
        if self._in_archive and self._scanned > self._HEAD_BYTES:
            return
        self._scanned += len(chunk)
        text = self._rest + chunk
        if text.find(self._MARK) >= 0:
            for match in self._STATEMENT.finditer(text):
                if self._is_statement(text, match):
                    name = match[1].decode().replace("''", "'")
                    self._found[name] = [int(match[2]), match[3] == b"true"]
        self._rest = text[-self._LONGEST :]

    def among(self, live: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The dump's value of every live sequence; the live value where the dump has none."""
        return {name: self._found.get(name, value) for name, value in live.items()}

    def _is_statement(self, text: bytes, match: re.Match[bytes]) -> bool:
        """Whether the match is a statement of the dump: a function's body or a row may contain the same text."""
        start = match.start()
        if self._in_archive:
            return int.from_bytes(text[max(0, start - 4) : start], "little") == len(match[0])
        return text[max(0, start - 4) : start] == b"--\n\n"


def gzip_compressor() -> Any:
    """gzip, with ISA-L where it is installed (five times zlib's speed, slightly larger output)."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(1, zlib.DEFLATED, 31)
    return isal_zlib.compressobj(2, isal_zlib.DEFLATED, 31)


def compression_of_client() -> str:
    """zstd, which is as fast as no compression; zlib with client 15, which lacks zstd."""
    return "zstd:1" if client_tools.major() >= 16 else "1"
