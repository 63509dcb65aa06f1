"""Connecting to PostgreSQL on RDS: over verified TLS, directly, with a deadline."""

from __future__ import annotations

import os
from typing import Any

from pg8000.native import Connection

from common import aws, trust

TOKEN_SECONDS = 900  # as long as RDS accepts one for a new connection; open ones are not touched


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
    """A connection whose server proved to be the one named; raises pg8000's InterfaceError or ssl.SSLError otherwise.

    `timeout_seconds` bounds connecting and each statement after it; None leaves both to the server.
    `proxy`: `host` is RDS Proxy, whose certificate other authorities sign.
    """
    return Connection(
        user,
        password=password,
        host=host,
        port=port,
        database=database,
        ssl_context=trust.proxy() if proxy else trust.instance(host),
        timeout=timeout_seconds,
        application_name=application_name,
        tcp_keepalive=True,
    )


def connect_as(user: str, *, timeout_seconds: float | None = 10, application_name: str | None = None) -> Connection:
    """A connection to the instance in DATABASE_* as a role that logs in by IAM (carmen_backup, carmen_maintenance, carmen_monitor)."""
    host, port = os.environ["DATABASE_HOST"], int(os.environ["DATABASE_PORT"])
    return connect(
        host=host,
        port=port,
        database=os.environ["DATABASE_NAME"],
        user=user,
        password=iam_token(host, port, user),
        timeout_seconds=timeout_seconds,
        application_name=application_name or user.replace("_", "-"),
    )


def iam_token(host: str, port: int, user: str) -> str:
    """What RDS takes for a password of a role in rds_iam: a request signed here, no call is made.

    The same as botocore's `generate_db_auth_token`, without loading RDS's service description for it.
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    session = aws.session()
    credentials = session.get_credentials()
    if credentials is None:
        raise PermissionError(f"There are no AWS credentials to sign the database token of {user} with")
    region: Any = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    request = AWSRequest("GET", f"https://{host}:{port}/", params={"Action": "connect", "DBUser": user})
    SigV4QueryAuth(credentials.get_frozen_credentials(), "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix("https://")
