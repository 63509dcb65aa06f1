"""Whom functions trust over TLS (ADR 0010). Each context is made once a process: reading authorities takes longer than connecting."""

from __future__ import annotations

import os
import re
import ssl
from functools import cache
from pathlib import Path

RDS_AUTHORITIES = Path(__file__).with_name("rds-ca-bundle.pem")


def rds_authorities() -> str:
    """The file of the authorities that the certificate of an instance is checked against.

    `RDS_CA_FILE` names another bundle, for a PostgreSQL that is not on RDS (the embedded one).
    """
    return os.environ.get("RDS_CA_FILE", str(RDS_AUTHORITIES))


def instance(host: str) -> ssl.SSLContext:
    """Trusts RDS's authorities, of one region alone where it is known: they are a handful of more than a hundred.

    The host tells it (a restore may read in one region and write in another), or else AWS_REGION.
    """
    named = re.search(r"\.([a-z]{2}(-[a-z]+)+-\d)\.rds\.amazonaws\.com$", host)
    return _instance(rds_authorities(), named[1] if named else os.environ.get("AWS_REGION", ""))


def proxy() -> ssl.SSLContext:
    """Trusts whom the system trusts: RDS Proxy's certificate is Amazon Trust Services', which RDS's bundle does not hold."""
    return public(os.environ.get("RDS_CA_FILE"))


@cache
def public(ca_file: str | None = None) -> ssl.SSLContext:
    """Trusts whom the system trusts, or the authorities in a file alone."""
    return ssl.create_default_context(cafile=ca_file)


@cache
def _instance(file: str, region: str) -> ssl.SSLContext:
    bundle = Path(file).read_text(encoding="ascii")
    named = rf"^# Amazon RDS {re.escape(region)} .*\n(-----BEGIN CERTIFICATE-----\n[^-]+\n-----END CERTIFICATE-----)"
    return ssl.create_default_context(cadata="\n".join(re.findall(named, bundle, re.MULTILINE)) or bundle)
