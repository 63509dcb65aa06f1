"""The part of `./carmen account check --prove` that runs inside the account's VPC: `{"step": "server", …}` and its arguments.

Each step returns what it found; the command judges it. It logs nothing, because its events contain passwords of throwaway resources.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common import tls
from common.database import connect, iam_token, open_session
from common.redis import Redis, RedisError
from drill.server import EphemeralServer
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import identifier, literal

POLL_SECONDS = 2.0
IAM_ROLE, BYPASS_ROLE = "carmen_proof_iam", "carmen_proof_bypass"


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Run one step. Raises KeyError for an unknown one."""
    arguments = dict(event)
    return STEPS[arguments.pop("step")](**arguments)


def start_server(home: str, folder: str) -> dict[str, Any]:
    """Start PostgreSQL in this function, as a restore drill does, and run a query."""
    begun = time.monotonic()
    with EphemeralServer(Path(home), below=Path(folder)) as server, server.connect() as session:
        session.run("SELECT 1")
        return {"version": server.version, "seconds": round(time.monotonic() - begun, 1)}


def log_in(*, proxy: bool = False, **login: Any) -> dict[str, Any]:
    """Log in; returns the refusal, if any, and whether Python verified the certificate with X509_STRICT."""
    context = tls.proxy_context() if proxy else tls.instance_context(login["host"])
    strict = bool(context.verify_flags & ssl.VERIFY_X509_STRICT)
    return {**_try(proxy=proxy, **login), "strict": strict, "python": sys.version.split()[0]}


def log_in_by_token(*, host: str, port: int, user: str, database: str) -> dict[str, Any]:
    """Log in with an IAM token instead of the password."""
    return _try(host=host, port=port, user=user, database=database, password=iam_token(host, port, user))


def create_user(*, name: str, new_password: str, **master: Any) -> dict[str, Any]:
    """Create the user whose secret the proxy has."""
    with open_session(connect(**master)) as session:
        session.run(f"CREATE ROLE {identifier(name)} LOGIN PASSWORD {literal(new_password)}")
    return {}


def change_password(*, name: str, new_password: str, **master: Any) -> dict[str, Any]:
    """Change the password of that user in the database."""
    with open_session(connect(**master)) as session:
        session.run(f"ALTER ROLE {identifier(name)} PASSWORD {literal(new_password)}")
    return {}


def wait_for_login(*, seconds: float, **login: Any) -> dict[str, Any]:
    """Log in through the proxy until it accepts the password; returns the seconds that took, or the last refusal."""
    begun = time.monotonic()
    while (found := _try(proxy=True, **login))["refused"] and time.monotonic() - begun <= seconds:
        time.sleep(POLL_SECONDS)
    return {**found, "seconds": round(time.monotonic() - begun, 1)}


def create_bypass_role(**master: Any) -> dict[str, Any]:
    """Ask for BYPASSRLS; returns PostgreSQL's error code, or an empty one."""
    try:
        with open_session(connect(**master)) as session:
            session.run(f"CREATE ROLE {BYPASS_ROLE} BYPASSRLS")
    except DatabaseError as error:
        return {"code": error.args[0]["C"], "message": error.args[0]["M"]}
    return {"code": "", "message": ""}


def create_iam_role(**master: Any) -> dict[str, Any]:
    """Create a role in rds_iam: from PostgreSQL 16 on, its creator becomes a member with ADMIN option."""
    with open_session(connect(**master)) as session:
        session.run(f"CREATE ROLE {IAM_ROLE} LOGIN")
        session.run(f"GRANT rds_iam TO {IAM_ROLE}")
    return {}


def ping_redis(*, host: str, port: int, token: str) -> dict[str, Any]:
    """Authenticate and PING; returns Redis's refusal, if any."""
    try:
        with Redis(host, port, seconds=10) as redis:
            redis.command("AUTH", token)
            redis.command("PING")
    except RedisError as error:
        return {"refused": str(error)}
    return {"refused": ""}


def _try(**login: Any) -> dict[str, str]:
    """A login's refusal, and who refused: Python the certificate, PostgreSQL (or the proxy) the login, or the network."""
    try:
        with open_session(connect(**login)) as session:
            session.run("SELECT 1")
    except ssl.SSLError as error:
        return {"refused": str(error), "by": "certificate"}
    except DatabaseError as error:
        return {"refused": error.args[0]["M"], "by": "server"}
    except (InterfaceError, OSError) as error:
        return {"refused": str(error), "by": "network"}
    return {"refused": "", "by": ""}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "server": start_server,
    "log in": log_in,
    "log in by token": log_in_by_token,
    "create user": create_user,
    "change password": change_password,
    "wait for login": wait_for_login,
    "create bypass role": create_bypass_role,
    "create IAM role": create_iam_role,
    "ping redis": ping_redis,
}
