"""A PostgreSQL server for one drill: in a private folder, reachable only over its socket, removed afterwards.

It is not durable, because nothing is kept: no fsync, minimal WAL. Lambda has no /dev/shm, so shared memory is mapped from
files. It runs as the current user; PostgreSQL refuses root, so root starts it as user 65534 (nobody).

It gets no credentials, and cannot read those of this process: while it runs, this process is not "dumpable", so its files in /proc belong
to root and no process of the same user may trace it (Linux, proc(5) and ptrace(2), PTRACE_MODE_READ). In Lambda and Fargate this process
is the only one with credentials (constructs_lib/database/restore_drill.py).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.client_tools import SECURE_OPTIONS
from common.database import SECURE_SESSION, open_session
from pg8000.native import Connection

SUPERUSER = "carmen_drill"  # no dump contains this role
_NOBODY = 65534
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4  # linux/prctl.h
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
    "timezone": "GMT",  # needs no file: some images lack /usr/share/zoneinfo
    "log_timezone": "GMT",
}


class ServerFailed(Exception):
    """The server did not start, or stopped by itself. The message contains its last log lines."""


@dataclass(frozen=True)
class ServerAs:
    """The server as one role reaches it."""

    server: EphemeralServer
    user: str

    def variables(self, database: str) -> dict[str, str]:
        return self.server.variables(database, self.user)

    def connect(self, database: str) -> AbstractContextManager[Connection]:
        return self.server.connect(database, self.user)


class EphemeralServer:
    """`with EphemeralServer(home) as server:`. Its `folder` (0700) holds everything, also the drill's downloads.

    A lock allows one drill at a time below `below`; it ends with its process. The next drill stops the server and removes the
    files that a killed one left.
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
        self._dumpable = _prctl(_PR_GET_DUMPABLE)
        _prctl(_PR_SET_DUMPABLE, 0)
        try:
            self.removed = _remove_remains(self._below)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._below))
            self.data, self.log = self.folder / "data", self.folder / "postgres.log"
            if os.getuid() == 0:
                os.chown(self.folder, _NOBODY, _NOBODY)
            self._initdb()
            self._configure()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def stop(self) -> None:
        """Stop at once and close all connections: there is nothing to save."""
        if self._process and self.is_running():
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)

    @property
    def version(self) -> str:
        """For example `17.11`, as in `SHOW server_version`."""
        output = self._run("postgres", "--version")
        found = re.search(r"\d+(\.\d+)*", output)
        if not found:
            raise ServerFailed(f"{self._home}/bin/postgres --version printed {output!r}, which contains no version")
        return found[0]

    def variables(self, database: str, user: str = SUPERUSER) -> dict[str, str]:
        """libpq's environment variables, for client programs."""
        place = {"PGHOST": str(self.folder), "PGPORT": "5432", "PGUSER": user, "PGDATABASE": database}
        return place | {"PGAPPNAME": "carmen-drill", "PGOPTIONS": SECURE_OPTIONS}

    def connect(self, database: str = "postgres", user: str = SUPERUSER) -> AbstractContextManager[Connection]:
        """A connection over the socket in the private folder, whose server trusts every local role."""
        socket = str(self.folder / ".s.PGSQL.5432")
        return open_session(Connection(user, unix_sock=socket, database=database, timeout=None, startup_params=SECURE_SESSION))

    def is_running(self) -> bool:
        """Whether the server still runs; it stops by itself after a crash or on a full disk."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The last serious lines of the server's log, for messages."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            grave = [line for line in lines if "PANIC" in line or "FATAL" in line or "could not" in line or "No space" in line]
            return "; ".join((grave or lines)[-3:])[-1000:]
        return "its log is empty"

    def _initdb(self) -> None:
        # UTF-8 character classes, for CHECK constraints and lower(), on machines with any locales.
        builtin = self.version.split(".")[0] not in ("15", "16")
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if builtin else ["--locale=C.UTF-8"]
        command = ["initdb", f"--pgdata={self.data}", f"--username={SUPERUSER}", "--encoding=UTF8", *locale, "--auth=trust"]
        self._run(*command, "--no-sync", "--no-instructions")

    def _configure(self) -> None:
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
        _wait(_START_SECONDS, self._is_ready, f"PostgreSQL was not ready within {_START_SECONDS} s: {self.last_words()}")

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
        finally:  # remove the folder even if the server does not stop
            if hasattr(self, "folder"):
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            _prctl(_PR_SET_DUMPABLE, self._dumpable)

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
        """The children's environment. Every machine has LC_ALL=C; initdb sets the encoding separately."""
        return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(self._home / "lib"), "LC_ALL": "C", "TZ": "GMT", "TMPDIR": str(self.folder)}


def _prctl(option: int, value: int = 0) -> int:
    """Linux's prctl(2), of which Python has no wrapper; nothing on other systems."""
    return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) if sys.platform == "linux" else 0


def _lock(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServerFailed(f"Another drill is running in {folder}: wait until it ends, or set DRILL_FOLDER to another folder") from None
    return descriptor


def _remove_remains(below: Path) -> list[str]:
    """Stop the servers of killed drills and remove their folders; return the folders' names."""
    left = sorted(below.glob(f"{_PREFIX}*"))
    for folder in left:
        _kill_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in left]


def _kill_server(data: Path) -> None:
    """Stop the server of this data directory. Its working directory proves that the process id is not reused."""
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
        _wait(10, gone, f"Process {pid} of {data} did not stop")


def _wait(seconds: float, until: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise ServerFailed(failure)
        time.sleep(0.02)


def _unprivileged() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
