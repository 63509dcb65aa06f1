"""Correct PostgreSQL's roles and the connection secrets, at deployment and daily."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing
from secrets import token_hex
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws, backup_access, cloudformation, database, database_url, locks, secrets
from common.scrubbed_logs import scrubbed_logger
from pg8000.native import Connection, DatabaseError

from database_roles import roles

REFUSED_LOGIN = "28P01"  # SQLSTATE invalid_password
LOCK_WAIT_SECONDS = 180  # a rotation holds the lock until RDS Proxy accepts the new password, at most two minutes

logger = scrubbed_logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any] | None:
    """Handle CloudFormation's request, answered at its response URL, or the daily schedule's."""
    if "ResponseURL" in event:
        cloudformation.respond(event, "database-roles", correct)
        return None
    return correct()


def correct() -> dict[str, str]:
    """Correct roles first, then secrets: no secret names a role that does not exist yet. Safe to repeat.

    Returns the number of changes, and advice when tables exist that a backup cannot read.
    """
    client = aws.client("secretsmanager")
    master = secrets.read(os.environ["MASTER_SECRET"], client)
    endpoints = _endpoints()
    with (
        closing(_connect(endpoints, locks.DATABASE, master)) as guard,
        locks.exclusive(guard, "database roles", wait_seconds=LOCK_WAIT_SECONDS, key=locks.LOGINS),
        closing(_connect(endpoints, endpoints.database_name, master)) as connection,
    ):
        return _correct(client, connection, endpoints)


def _connect(endpoints: database_url.Endpoints, name: str, master: secrets.Secret) -> Connection:
    return database.connect_as_master(
        host=endpoints.database_host,
        port=endpoints.database_port,
        database=name,
        user=master["username"],
        password=master["password"],
    )


def changed_passwords(connection: Connection, endpoints: database_url.Endpoints, passwords: Mapping[str, str]) -> list[str]:
    """Roles that no longer accept the password of their secret. Every role may change its own."""
    existing = {name for (name,) in connection.run("SELECT rolname FROM pg_roles WHERE rolcanlogin")}
    changed = []
    for name in sorted(passwords.keys() & existing):
        try:
            database.connect(
                host=endpoints.database_host,
                port=endpoints.database_port,
                database=endpoints.database_name,
                user=name,
                password=passwords[name],
            ).close()
        except DatabaseError as error:
            if error.args[0].get("C") == REFUSED_LOGIN:
                changed.append(name)
    return changed


def _correct(client: Any, connection: Connection, endpoints: database_url.Endpoints) -> dict[str, str]:
    users = {name: secrets.read(arn, client) for name, arn in json.loads(os.environ["USER_SECRETS"]).items()}
    migration = secrets.read(os.environ["MIGRATION_SECRET"], client)
    current = secrets.read(os.environ["CONNECTION_SECRET"], client)
    redis_token = secrets.read(os.environ["REDIS_SECRET"], client)["value"]
    owner_password = database_url.password_of(migration) or token_hex(24)
    passwords = {name: secret["password"] for name, secret in users.items()} | {roles.OWNER: owner_password}
    changed = changed_passwords(connection, endpoints, passwords)
    outcome = roles.apply(connection, passwords)
    logger.info("roles corrected", changes=outcome.changes, refused=outcome.refused)
    if outcome.refused:
        raise PermissionError(f"PostgreSQL refused statements of the master user: {'; '.join(outcome.refused)}")

    # The user in use stays in use: only rotation switches users.
    user = database_url.user_of(current)
    if user not in roles.APPLICATION_LOGINS:
        user = roles.APPLICATION_LOGINS[0]
    written = {
        "connection": secrets.write_if_changed(
            os.environ["CONNECTION_SECRET"],
            database_url.application_secret(endpoints, user=user, password=passwords[user], redis_token=redis_token),
            client,
        ),
        "migration": secrets.write_if_changed(
            os.environ["MIGRATION_SECRET"],
            database_url.migration_secret(endpoints, user=roles.OWNER, password=owner_password),
            client,
        ),
    }
    logger.info("secrets up to date", written=written)
    unreadable = [row[0] for row in connection.run(backup_access.UNREADABLE_TABLES)]
    if unreadable:
        logger.error(backup_access.advice(unreadable), tables=unreadable)
    if changed:
        logger.warning(
            "Passwords differed from their secrets and were set again. A rotation that was interrupted does this; otherwise the "
            "role itself changed it. Search the log of PostgreSQL for ALTER ROLE",
            roles=changed,
        )
    return {"Changes": str(len(outcome.changes)), "Advice": backup_access.advice(unreadable) if unreadable else ""}


def _endpoints() -> database_url.Endpoints:
    environment = os.environ
    return database_url.Endpoints(
        database_host=environment["DATABASE_HOST"],
        proxy_host=environment["PROXY_HOST"] or environment["DATABASE_HOST"],  # empty without a proxy
        database_port=int(environment["DATABASE_PORT"]),
        database_name=environment["DATABASE_NAME"],
        redis_host=environment["REDIS_HOST"],
        redis_port=int(environment["REDIS_PORT"]),
        connection_limit=int(environment["CONNECTION_LIMIT"]),
        pool_timeout_seconds=int(environment["POOL_TIMEOUT_SECONDS"]),
        pool_idle_seconds=int(environment["POOL_IDLE_SECONDS"]),
    )
