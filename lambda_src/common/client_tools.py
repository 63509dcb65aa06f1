"""PostgreSQL's client programs: where they are and how they connect. POSTGRESQL_HOME contains bin/ and lib/."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from common import database, tls

HOME = "/opt/postgresql"
SECURE_OPTIONS = "".join(f"-c {name}={value}" for name, value in database.SECURE_SESSION.items())
_PIPE_BYTES = 2**20
_MOST_MESSAGES = 2**24


def home() -> Path:
    return Path(os.environ.get("POSTGRESQL_HOME", HOME))


def program(name: str) -> str:
    """The program's path. Raises FileNotFoundError when the layer is missing."""
    path = home() / "bin" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. The client tools are a layer at {HOME}; set POSTGRESQL_HOME for another folder.")
    return str(path)


def environment(**variables: str) -> dict[str, str]:
    """The complete environment of a client program. This process must not load the program's libraries."""
    return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(home() / "lib"), "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp", **variables}  # noqa: S108 (libpq looks for ~/.pgpass there and finds none)


def connection(user: str, password: str, *, host: str, port: int, name: str) -> dict[str, str]:
    """libpq's variables, with TLS verification of the host name. Only the child's environment contains the password."""
    return {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGDATABASE": name,
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": tls.rds_ca_file(),
        "PGGSSENCMODE": "disable",
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": user.replace("_", "-"),
        "PGOPTIONS": SECURE_OPTIONS,
    }


def connection_as(user: str) -> dict[str, str]:
    """libpq's variables for the instance in DATABASE_* and a role with IAM authentication."""
    host, port = os.environ["DATABASE_HOST"], int(os.environ["DATABASE_PORT"])
    return connection(user, database.iam_token(host, port, user), host=host, port=port, name=os.environ["DATABASE_NAME"])


def version() -> str:
    """The client's version, for example `17.11`."""
    done = subprocess.run([program("pg_dump"), "--version"], env=environment(), capture_output=True, text=True, check=True)
    return re.sub(r"[^\d.]", " ", done.stdout).split()[0]


def major() -> int:
    return int(version().split(".")[0])


class ClientProcess:
    """A client program in its own process group, with large pipes. `failure` returns its error output."""

    def __init__(self, name: str, *arguments: str, variables: dict[str, str], reads: bool = False, writes: bool = True) -> None:
        self.name = name
        self.messages = ""  # its complete error output, after `failure`
        self._reading = threading.Lock()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [program(name), *arguments],
            env=variables,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=self._stderr,
            bufsize=_PIPE_BYTES,
            start_new_session=True,
        )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _widen(pipe)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the program and its children. Its output then ends."""
        if not self.has_ended:
            os.killpg(self.pid, signal.SIGKILL)

    def output(self, error: Callable[[str], Exception]) -> Iterator[bytes]:
        """The output in blocks. Raises `error(failure)` at the end if the program failed; kills it if the caller stops reading."""
        try:
            while block := self.stdout.read(_PIPE_BYTES):
                yield block
            if failure := self.failure():
                raise error(failure)
        finally:
            self.close()

    def failure(self) -> str | None:
        """Wait for the program to end. Return None after success, otherwise its exit status and error output."""
        code = self._process.wait()
        with self._reading:
            if not self._stderr.closed:
                self._stderr.seek(0)
                self.messages = self._stderr.read(_MOST_MESSAGES).decode(errors="replace").strip()
        last = self.messages[-2000:]
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}" + (f" (its output: {last})" if last else "")
        return f"{self.name} ended with {code}: {last or 'no output'}" if code else None

    def close(self) -> None:
        """End the program if it still runs, and close its pipes. `failure` still works afterwards."""
        self.kill()
        self.failure()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    """Enlarge the pipe on Linux: 1 MB instead of 64 KB halves the context switches."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # above the user's limit of pipe memory: the smaller pipe works too
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
