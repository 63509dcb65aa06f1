"""A PostgreSQL server that lives for one drill: in a folder of its own, reachable by nobody else, gone with it.

Nothing is made durable, since nothing is kept: no fsync, no WAL worth the name. Lambda has no /dev/shm, so shared memory is
mapped from files. Runs as whoever calls; root, which PostgreSQL refuses, hands it to `nobody`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pg8000.exceptions import InterfaceError
from pg8000.native import Connection

SUPERUSER = "carmen_drill"  # no name a dump could bring along
_NOBODY = 65534
_PREFIX = "carmen-drill-"
_START_SECONDS = 60

_SETTINGS = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "20",
    "max_locks_per_transaction": "1024",
    "timezone": "GMT",  # needs no file: not every image has /usr/share/zoneinfo
    "log_timezone": "GMT",
}


class ServerFailed(Exception):
    """The server could not be started, or ended by itself; the message holds what it wrote last."""


class EphemeralServer:
    """`with EphemeralServer(home) as server:`; `folder` is 0700 and holds all of it, room for downloads included.

    One drill at a time below one folder: its lock ends with the process that holds it, however that ends. What a killed
    one left behind, server and files, is ended and removed by the next.
    """

    def __init__(self, home: Path, *, below: Path, memory_mb: int = 512, jobs: int = 2) -> None:
        self._home, self._below = home, below
        memory = {
            "shared_buffers": f"{max(32, memory_mb // 4)}MB",
            "maintenance_work_mem": f"{max(32, memory_mb // (4 * jobs))}MB",
            "max_parallel_maintenance_workers": "0" if jobs > 1 else "2",
        }
        self._settings = _SETTINGS | memory

    def __enter__(self) -> Self:
        self._below.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._below)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.removed = _remove_left_overs(self._below)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._below))
            self.data, self.log = self.folder / "data", self.folder / "postgres.log"
            if os.getuid() == 0:
                os.chown(self.folder, _NOBODY, _NOBODY)
            self._initdb()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def stop(self) -> None:
        """Immediately: there is nothing to save. Whoever is connected is thrown out."""
        if self._process and self.is_running():
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    @property
    def version(self) -> str:
        """`17.11`, as `SHOW server_version` says it."""
        said = self._run("postgres", "--version")
        found = re.search(r"\d+(\.\d+)*", said)
        if not found:
            raise ServerFailed(f"{self._home}/bin/postgres --version says {said!r}")
        return found[0]

    def variables(self, database: str) -> dict[str, str]:
        """libpq's, for client programs."""
        return {"PGHOST": str(self.folder), "PGPORT": "5432", "PGUSER": SUPERUSER, "PGDATABASE": database, "PGAPPNAME": "carmen-drill"}

    @contextmanager
    def connect(self, database: str = "postgres") -> Iterator[Connection]:
        """A superuser's connection, over the socket in the folder only we can enter."""
        connection = Connection(SUPERUSER, unix_sock=str(self.folder / ".s.PGSQL.5432"), database=database, timeout=None)
        try:
            yield connection
        finally:
            with suppress(InterfaceError, OSError):  # a server that is gone: the error that says so is on its way
                connection.close()

    def is_running(self) -> bool:
        """Whether it still is; it ends by itself when it crashes or its disk is full at the wrong moment."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The gravest of what the server wrote to its log, for messages."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            grave = [line for line in lines if "PANIC" in line or "FATAL" in line or "could not" in line or "No space" in line]
            return "; ".join((grave or lines)[-3:])[-1000:]
        return "it wrote no log"

    def _initdb(self) -> None:
        # Whatever the machine has for locales: letters are letters in CHECK constraints and in lower().
        own = self.version.split(".")[0] not in ("15", "16")
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if own else ["--locale=C.UTF-8"]
        command = ["initdb", f"--pgdata={self.data}", f"--username={SUPERUSER}", "--encoding=UTF8", *locale, "--auth=trust"]
        self._run(*command, "--no-sync", "--no-instructions")
        settings = self._settings | {"unix_socket_directories": f'"{self.folder}"'}
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in settings.items())

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._home / "bin" / "postgres", "-D", self.data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
                **_unprivileged(),
            )
        _wait(_START_SECONDS, self._is_ready, f"PostgreSQL was not ready after {_START_SECONDS} s: {self.last_words()}")

    def _is_ready(self) -> bool:
        if not self.is_running():
            raise ServerFailed(f"PostgreSQL did not start: {self.last_words()}")
        with suppress(FileNotFoundError):
            status = (self.data / "postmaster.pid").read_text().splitlines()
            return len(status) >= 8 and status[7].strip() == "ready"
        return False

    def _end(self) -> None:
        try:
            self.stop()
        finally:  # the folder goes even when the server does not
            if hasattr(self, "folder"):
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._home / "bin" / program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment(),
            check=False,
            **_unprivileged(),
        )
        if done.returncode:
            raise ServerFailed(f"{program} failed: {done.stdout.strip()[-1000:]}")
        return str(done.stdout)

    def _environment(self) -> dict[str, str]:
        """The libraries are for these children alone. LC_ALL=C is everywhere; the data's encoding is set apart from it."""
        return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(self._home / "lib"), "LC_ALL": "C", "TZ": "GMT", "TMPDIR": str(self.folder)}


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServerFailed(f"another drill works in {folder}: wait for it, or set DRILL_FOLDER to another folder") from None
    return descriptor


def _remove_left_overs(below: Path) -> list[str]:
    """Ends the servers of drills that were killed, and removes their folders; the names of what went."""
    left = sorted(below.glob(f"{_PREFIX}*"))
    for folder in left:
        _kill_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in left]


def _kill_server(data: Path) -> None:
    """The server of this data directory; a process id alone may be somebody else's by now, its working directory is not."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() != data.resolve()
        except OSError:
            return True

    if not gone():
        os.kill(pid, signal.SIGQUIT)
        _wait(10, gone, f"process {pid} of {data} did not end")


def _wait(seconds: float, until: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise ServerFailed(otherwise)
        time.sleep(0.02)


def _unprivileged() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
