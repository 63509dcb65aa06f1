"""Connecting to PostgreSQL on RDS: over verified TLS, directly, with a deadline."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pg8000.native import Connection

RDS_AUTHORITIES = Path(__file__).with_name("rds-ca-bundle.pem")


def connect(*, host: str, port: int, database: str, user: str, password: str, timeout_seconds: float = 10) -> Connection:
    """A connection whose server proved to be the one named; raises pg8000's InterfaceError or ssl.SSLError otherwise.

    `RDS_CA_FILE` names another bundle of authorities, for a PostgreSQL that is not on RDS (the embedded one).
    """
    context = ssl.create_default_context(cafile=os.environ.get("RDS_CA_FILE", str(RDS_AUTHORITIES)))
    return Connection(
        user,
        password=password,
        host=host,
        port=port,
        database=database,
        ssl_context=context,
        timeout=timeout_seconds,
        application_name="carmen-functions",
        tcp_keepalive=True,
    )
