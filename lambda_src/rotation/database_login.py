"""New passwords for database logins: the application's two alternating users, and the owner of the schema.

Each login changes its own password, as every PostgreSQL role may, so this function does not need the master's. The secret is written
first: until the change the database accepts its previous version, afterwards its current one. One of the two always logs in, and the
daily run of database_roles would also finish an interrupted change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from common import database, database_url, logins, secrets
from common.secrets import Secret
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection, identifier, literal

from rotation.service import Service

_REFUSED = ("28P01", "28000")  # invalid_password, invalid_authorization_specification
PROXY_WAIT_SECONDS = 120.0  # RDS Proxy reads a changed secret after some time
PROXY_POLL_SECONDS = 2.0
RUN_ROLES = "Invoke the database roles function, then rotate again: docs/runbooks/rotation.md"


class LoginRefused(Exception):
    """The database refuses a password that should work."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """The database's addresses."""

    host: str
    proxy_host: str  # empty without a proxy
    port: int
    name: str

    def login(self, user: str, password: str, *, proxy: bool = False) -> Connection:
        """Log in to the instance, or through the proxy."""
        host = self.proxy_host if proxy else self.host
        return database.connect(host=host, port=self.port, database=self.name, user=user, password=password, proxy=proxy)


@dataclass(frozen=True, kw_only=True)
class ApplicationLogin:
    """Gives the idle user a new password, tests it, and writes that user into the connection secret."""

    kind = "application"
    secrets_manager: Any
    database: Database
    connection: str
    users: Mapping[str, str]  # user → secret, which RDS Proxy reads

    def since(self) -> datetime:
        """When the password in use was created."""
        return _current(self.users[self._in_use()[1]], self.secrets_manager).created

    def is_unfinished(self) -> bool:
        """Never: the next rotation repeats an interrupted one."""
        return False

    def clean_up(self) -> None:
        """Nothing: the next rotation replaces the old password, when no task holds it."""

    def advance(self) -> str:
        """The whole rotation."""
        written, in_use = self._in_use()
        (idle,) = self.users.keys() - {in_use}
        password = _renew(idle, self.users[idle], self.database, self.secrets_manager)
        self._test(idle, password)
        secrets.write(self.connection, database_url.with_login(written, user=idle, password=password), self.secrets_manager)
        return ""

    def _in_use(self) -> tuple[Secret, str]:
        written = _current(self.connection, self.secrets_manager).value
        user = database_url.user_of(written)
        if user is None or user not in self.users:
            raise LookupError(f"The connection secret names the user {user}, not one of {', '.join(self.users)}. {RUN_ROLES}")
        return written, user

    def _test(self, user: str, password: str) -> None:
        """Log in to the instance, then through the proxy, if any, until it accepts the new password."""
        self.database.login(user, password).close()
        if not self.database.proxy_host:
            return
        deadline = time.monotonic() + PROXY_WAIT_SECONDS
        while True:
            try:
                with closing(self.database.login(user, password, proxy=True)) as session:
                    session.run("SELECT 1")
                    return
            except (DatabaseError, InterfaceError, OSError) as error:
                if time.monotonic() + PROXY_POLL_SECONDS > deadline:
                    raise LoginRefused(
                        f"The proxy does not accept {user}'s new password after {PROXY_WAIT_SECONDS:.0f} s ({_reason(error)}). "
                        "The connection secret is unchanged: docs/runbooks/rotation.md"
                    ) from error
            time.sleep(PROXY_POLL_SECONDS)


@dataclass(frozen=True, kw_only=True)
class OwnerLogin:
    """The schema owner's password, in the migration task's secret. Changes only while no migration runs."""

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
        """Never: the next login finds an interrupted change."""
        return False

    def clean_up(self) -> None:
        """Nothing."""

    def advance(self) -> str:
        """The whole rotation, unless a migration runs, which may open more connections."""
        if self.service.running(self.family):
            return "a migration is running"
        user = database_url.user_of(_current(self.migration, self.secrets_manager).value) or ""
        password = _renew(user, self.migration, self.database, self.secrets_manager)
        self.database.login(user, password).close()
        return ""


def _renew(user: str, arn: str, where: Database, client: Any) -> str:
    """Give an unused login a new password, or finish an interrupted change. Return the password."""
    current = _current(arn, client)
    password = _password(current.value)
    session = _log_in(where, user, password)
    if session:
        password = token_hex(24)
        secrets.write(arn, _with_password(current.value, user, password), client)
    else:
        previous = secrets.version(arn, "AWSPREVIOUS", client)
        session = _log_in(where, user, _password(previous.value)) if previous else None
    if not session:
        raise LoginRefused(f"{user} cannot log in with the current or the previous password of its secret. {RUN_ROLES}")
    with closing(session):
        session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(logins.scram_verifier(password))}")
    return password


def _log_in(where: Database, user: str, password: str) -> Connection | None:
    """A session; None if the password is refused. Raises every other error."""
    try:
        return where.login(user, password)
    except DatabaseError as error:
        if error.args[0].get("C") in _REFUSED:
            return None
        raise


def _current(arn: str, client: Any) -> secrets.Version:
    found = secrets.version(arn, "AWSCURRENT", client)
    if found is None or not found.value:
        raise LookupError(f"The secret {arn} has no value yet. {RUN_ROLES}")
    return found


def _password(secret: Secret) -> str:
    """The password of a user's secret or of a connection secret."""
    return secret.get("password") or database_url.password_of(secret) or ""


def _with_password(secret: Secret, user: str, password: str) -> Secret:
    is_user = "password" in secret
    return {**secret, "password": password} if is_user else database_url.with_login(secret, user=user, password=password)


def _reason(error: Exception) -> str:
    """The server's message, which contains no credential."""
    cause = error.args[0] if error.args else error
    return str(cause["M"]) if isinstance(cause, dict) else str(error)
