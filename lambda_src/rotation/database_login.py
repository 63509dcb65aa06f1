"""New passwords for database logins: the application's two users, who take turns, and the owner of the schema.

A login changes its own password (every PostgreSQL role may), so this function never holds the master's. Its secret is
written first: between that and the change, the database still knows the secret's previous version; after it, the current
one. One of the two always logs in, and the daily run of database_roles would finish the work too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from common import connection_secret, database, logins, secrets
from common.secrets import Secret
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection, identifier, literal

from rotation.service import Service

_REFUSED = ("28P01", "28000")  # invalid_password, invalid_authorization_specification
PROXY_PATIENCE_SECONDS = 120.0  # RDS Proxy reads a changed secret some time after it changed
PROXY_POLL_SECONDS = 2.0


class NoLogin(Exception):
    """A password that should log in does not."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """Where the database is reached."""

    host: str
    proxy_host: str  # empty: there is no proxy
    port: int
    name: str

    def login(self, user: str, password: str, *, proxy: bool = False) -> Connection:
        """A session on the instance, or through the proxy."""
        host = self.proxy_host if proxy else self.host
        return database.connect(host=host, port=self.port, database=self.name, user=user, password=password, proxy=proxy)


@dataclass(frozen=True, kw_only=True)
class ApplicationLogin:
    """The user the connection secret does not name gets a new password, is tried, and becomes the one it names."""

    kind = "application"
    secrets_manager: Any
    database: Database
    connection: str
    users: Mapping[str, str]  # user → secret, which RDS Proxy reads

    def since(self) -> datetime:
        """When the password in use was made."""
        return _current(self.users[self._in_use()[1]], self.secrets_manager).created

    def is_unfinished(self) -> bool:
        """Never: what was left half done is done anew by the next turn."""
        return False

    def tidy(self) -> None:
        """Nothing: the old password ends at the next turn, when nothing holds it."""

    def advance(self) -> str:
        """The whole turn."""
        written, in_use = self._in_use()
        (idle,) = self.users.keys() - {in_use}
        password = _renew(idle, self.users[idle], _password, _with_password, self.database, self.secrets_manager)
        self._try(idle, password)
        secrets.write(self.connection, connection_secret.with_login(written, user=idle, password=password), self.secrets_manager)
        return ""

    def _in_use(self) -> tuple[Secret, str]:
        written = _current(self.connection, self.secrets_manager).value
        user = connection_secret.user_of(written)
        if user is None or user not in self.users:
            raise LookupError(f"the connection secret names the user {user}, not one of {', '.join(self.users)}: run database_roles first")
        return written, user

    def _try(self, user: str, password: str) -> None:
        """On the instance; then through the proxy, where there is one, until it knows the new password."""
        self.database.login(user, password).close()
        if not self.database.proxy_host:
            return
        deadline = time.monotonic() + PROXY_PATIENCE_SECONDS
        while True:
            try:
                with closing(self.database.login(user, password, proxy=True)) as session:
                    session.run("SELECT 1")
                    return
            except (DatabaseError, InterfaceError, OSError) as error:
                if time.monotonic() + PROXY_POLL_SECONDS > deadline:
                    raise NoLogin(
                        f"the proxy does not take {user}'s new password after {PROXY_PATIENCE_SECONDS:.0f} s ({_reason(error)}); "
                        "the connection secret was left as it is"
                    ) from error
            time.sleep(PROXY_POLL_SECONDS)


@dataclass(frozen=True, kw_only=True)
class OwnerLogin:
    """The owner's password, in the secret only the migration task reads; while no migration runs."""

    kind = "owner"
    secrets_manager: Any
    database: Database
    migration: str
    service: Service
    family: str  # of the migration task

    def since(self) -> datetime:
        """When the secret was last written."""
        return _current(self.migration, self.secrets_manager).created

    def is_unfinished(self) -> bool:
        """Never: an interrupted change is noticed by the login."""
        return False

    def tidy(self) -> None:
        """Nothing."""

    def advance(self) -> str:
        """Nothing while a migration runs: it may open another connection."""
        if self.service.running(self.family):
            return "a migration runs"
        user = connection_secret.user_of(_current(self.migration, self.secrets_manager).value) or ""
        password = _renew(user, self.migration, _password_in_url, _with_password_in_url, self.database, self.secrets_manager)
        self.database.login(user, password).close()
        return ""


def _renew(
    user: str,
    arn: str,
    read: Callable[[Secret], str],
    replaced: Callable[[Secret, str], Secret],
    where: Database,
    client: Any,
) -> str:
    """Gives a login that nothing uses a new password, or finishes an earlier attempt. Returns the password."""
    current = _current(arn, client)
    password = read(current.value)
    session = _log_in(where, user, password)
    if session:
        password = token_hex(24)
        secrets.write(arn, replaced(current.value, password), client)
    else:
        previous = secrets.version(arn, "AWSPREVIOUS", client)
        session = _log_in(where, user, read(previous.value)) if previous else None
    if not session:
        raise NoLogin(f"{user} logs in with neither the current nor the previous password of its secret: run database_roles, then this")
    with closing(session):
        session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(logins.scram_verifier(password))}")
    return password


def _log_in(where: Database, user: str, password: str) -> Connection | None:
    """A session; none when the password is refused. Anything else that fails is raised."""
    try:
        return where.login(user, password)
    except DatabaseError as error:
        if error.args[0].get("C") in _REFUSED:
            return None
        raise


def _current(arn: str, client: Any) -> secrets.Version:
    found = secrets.version(arn, "AWSCURRENT", client)
    if found is None or not found.value:
        raise LookupError(f"the secret {arn} has no value yet: run database_roles first")
    return found


def _password(secret: Secret) -> str:
    return secret["password"]


def _with_password(secret: Secret, password: str) -> Secret:
    return {**secret, "password": password}


def _password_in_url(secret: Secret) -> str:
    return connection_secret.password_of(secret) or ""


def _with_password_in_url(secret: Secret, password: str) -> Secret:
    return connection_secret.with_login(secret, user=connection_secret.user_of(secret) or "", password=password)


def _reason(error: Exception) -> str:
    """The server's message, which holds no credential."""
    cause = error.args[0] if error.args else error
    return str(cause["M"]) if isinstance(cause, dict) else str(error)
