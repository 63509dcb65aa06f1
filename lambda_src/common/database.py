"""Connections to PostgreSQL on RDS, with verified TLS and time-outs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pg8000.native import Connection, DatabaseError, InterfaceError

from common import aws, tls

TOKEN_SECONDS = 900  # RDS's limit for new connections; open connections stay
# No session finds an object by an unqualified name: the owner of the schema could shadow pg_catalog's functions, for example with a
# better match for format(text, name, name). A start-up parameter applies before the first statement, and RESET returns to it.
# Source: PostgreSQL, "Writing SECURITY DEFINER Functions Safely" and libpq's ALWAYS_SECURE_SEARCH_PATH_SQL (CVE-2018-1058).
SECURE_SESSION = {"search_path": ""}
LOGIN_METHOD_REFUSED = "28000"  # SQLSTATE of "PAM authentication failed" and "pg_hba.conf rejects"; a wrong password is 28P01


def connect(
    *,
    host: str,
    port: int,
    database: str,
    user: str,
    password: str,
    timeout_seconds: float | None = 10,
    application_name: str = "carmen-functions",
    proxy: bool = False,
) -> Connection:
    """Connect, and verify the server's certificate. Raises pg8000's InterfaceError or ssl.SSLError.

    `timeout_seconds` limits the connection attempt and each statement; None sets no limit.
    `proxy`: `host` is RDS Proxy, whose certificate comes from other authorities. It refuses start-up parameters ("RDS Proxy limitations
    for RDS for PostgreSQL"), and SET pins the session: run only statements without names there.
    """
    return Connection(
        user,
        password=password,
        host=host,
        port=port,
        database=database,
        ssl_context=tls.proxy_context() if proxy else tls.instance_context(host),
        timeout=timeout_seconds,
        application_name=application_name,
        tcp_keepalive=True,
        startup_params=None if proxy else SECURE_SESSION,
    )


def connect_as(
    user: str, *, database: str | None = None, timeout_seconds: float | None = 10, application_name: str | None = None
) -> Connection:
    """Connect to the instance in DATABASE_* as a role with IAM authentication, such as carmen_backup. Default: database DATABASE_NAME."""
    host, port = os.environ["DATABASE_HOST"], int(os.environ["DATABASE_PORT"])
    return connect(
        host=host,
        port=port,
        database=database or os.environ["DATABASE_NAME"],
        user=user,
        password=iam_token(host, port, user),
        timeout_seconds=timeout_seconds,
        application_name=application_name or user.replace("_", "-"),
    )


def connect_as_master(*, host: str, port: int, database: str, user: str, password: str) -> Connection:
    """Connect as RDS's master user with its password, or with an IAM token if RDS refuses passwords of this user.

    From PostgreSQL 16 on the creator of a role becomes its member, with ADMIN option, and cannot end that. Roles of ours are members
    of rds_iam, and `+rds_iam` in pg_hba.conf counts indirect members, whatever their options (PostgreSQL, is_member in hba.c). "If the
    rds_iam role is added to the master user, IAM authentication takes precedence over password authentication" (RDS User Guide,
    "Database authentication"). That RDS also counts an indirect member: cyrilgdn/terraform-provider-postgresql#289.
    The function's IAM role needs rds-db:connect for this user. Raises PermissionError when both are refused.
    """
    try:
        return connect(host=host, port=port, database=database, user=user, password=password)
    except DatabaseError as error:
        if _field(error, "C") != LOGIN_METHOD_REFUSED:
            raise
        refusal = error
    try:
        return connect(host=host, port=port, database=database, user=user, password=iam_token(host, port, user))
    except DatabaseError as error:
        raise PermissionError(
            f"PostgreSQL refused the password of {user}: {_field(refusal, 'M')}. It also refused an IAM token: {_field(error, 'M')}. "
            f"The function's IAM role needs rds-db:connect for {user} on this instance."
        ) from refusal


def _field(error: DatabaseError, name: str) -> str:
    """A field of PostgreSQL's message: C is SQLSTATE, M the text."""
    return str(error.args[0].get(name)) if error.args and isinstance(error.args[0], dict) else str(error)


def iam_token(host: str, port: int, user: str) -> str:
    """The IAM authentication token, used as the password of a role in rds_iam. Signed locally, without a request.

    Equals botocore's `generate_db_auth_token`, but does not load RDS's service description.
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    session = aws.session()
    credentials = session.get_credentials()
    if credentials is None:
        raise PermissionError(f"The database login of {user} needs AWS credentials, and none were found")
    region: Any = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    request = AWSRequest("GET", f"https://{host}:{port}/", params={"Action": "connect", "DBUser": user})
    SigV4QueryAuth(credentials.get_frozen_credentials(), "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix("https://")


@contextmanager
def open_session(connection: Connection) -> Iterator[Connection]:
    """Close the connection afterwards, even if the server is lost: the block has already raised that error."""
    try:
        yield connection
    finally:
        with suppress(InterfaceError, OSError):
            connection.close()
