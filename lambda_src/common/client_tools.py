"""PostgreSQL's own programs: where they are, and what they are told about the server. POSTGRESQL_HOME holds bin/ and lib/."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from common import database

HOME = "/opt/postgresql"


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
        "PGSSLROOTCERT": database.authorities(),
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
