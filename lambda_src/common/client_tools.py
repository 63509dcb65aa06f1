"""PostgreSQL's own programs: where they are, and what they are told about the server. POSTGRESQL_HOME holds bin/ and lib/."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from common import database, trust

HOME = "/opt/postgresql"
_CHUNK = 2**20


def home() -> Path:
    return Path(os.environ.get("POSTGRESQL_HOME", HOME))


def program(name: str) -> str:
    """The program's path; FileNotFoundError with what to do when the layer is not there."""
    path = home() / "bin" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: the client tools are a layer at {HOME}, and POSTGRESQL_HOME names another place")
    return str(path)


def environment(**variables: str) -> dict[str, str]:
    """The whole environment of a child, and of the child only: its libraries must not reach this process."""
    return {"PATH": os.defpath, "LD_LIBRARY_PATH": str(home() / "lib"), "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp", **variables}  # noqa: S108 (libpq looks for ~/.pgpass there, and finds none)


def connection(user: str, password: str, *, host: str, port: int, name: str) -> dict[str, str]:
    """libpq's variables for a server that must prove to be the one named; the password is in the child's environment alone."""
    return {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGDATABASE": name,
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": trust.rds_authorities(),
        "PGGSSENCMODE": "disable",
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": user.replace("_", "-"),
    }


def connection_as(user: str) -> dict[str, str]:
    """The same for the instance in DATABASE_* and a role that logs in by IAM."""
    host, port = os.environ["DATABASE_HOST"], int(os.environ["DATABASE_PORT"])
    return connection(user, database.iam_token(host, port, user), host=host, port=port, name=os.environ["DATABASE_NAME"])


def version() -> str:
    """The client's version, as `17.11`."""
    done = subprocess.run([program("pg_dump"), "--version"], env=environment(), capture_output=True, text=True, check=True)
    return re.sub(r"[^\d.]", " ", done.stdout).split()[0]


def major() -> int:
    return int(version().split(".")[0])


class Running:
    """One of the programs, at work: its output in large pipes, what it complains about kept for `failure`."""

    def __init__(self, name: str, *arguments: str, variables: dict[str, str], reads: bool = False) -> None:
        self.name = name
        self._said = ""
        self._reading = threading.Lock()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [program(name), *arguments],
            env=variables,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=_CHUNK,
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
        """Whoever reads from it then finds the end."""
        self._process.kill()

    def failure(self) -> str | None:
        """Waits for its end; None after a good one, else what happened in its own words."""
        code = self._process.wait()
        with self._reading:
            if not self._complaints.closed:
                self._complaints.seek(0)
                self._said = self._complaints.read()[-2000:].decode(errors="replace").strip()
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}" + (f" (it had said: {self._said})" if self._said else "")
        return f"{self.name} ended with {code}: {self._said or 'without a word'}" if code else None

    def close(self) -> None:
        """Ends it if it still runs, and lets go of its pipes; `failure` still answers."""
        self.kill()
        self.failure()
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _widen(pipe: IO[bytes]) -> None:
    """Linux only: a megabyte instead of 64 KB halves the switches between the processes."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK)
        except OSError:  # over the user's share of pipe memory: as it was will do
            return
