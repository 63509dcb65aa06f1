"""Certificate authorities for TLS (ADR 0010). Each context is created once per process: reading them takes longer than connecting.

From Python 3.13 on a default context verifies with VERIFY_X509_STRICT and VERIFY_X509_PARTIAL_CHAIN (python/cpython#107361). Every context
here does, so that tests on another Python verify like Lambda. A chain that does not pass raises ssl.SSLCertVerificationError with
OpenSSL's reason, such as "Missing Authority Key Identifier"; nothing here verifies less then.
"""

from __future__ import annotations

import os
import re
import ssl
from functools import cache
from pathlib import Path

RDS_CA_BUNDLE = Path(__file__).with_name("rds-ca-bundle.pem")
VERIFY = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN


def rds_ca_file() -> str:
    """The certificate authorities of RDS instances.

    `RDS_CA_FILE` names another bundle, for a PostgreSQL server outside RDS (the local deployment).
    """
    return os.environ.get("RDS_CA_FILE", str(RDS_CA_BUNDLE))


def instance_context(host: str) -> ssl.SSLContext:
    """Trusts RDS's authorities: only those of the host's region, a few of more than a hundred, if it is known.

    The region is part of the host name (a restore may read in one region and write in another), otherwise AWS_REGION.
    """
    named = re.search(r"\.([a-z]{2}(-[a-z]+)+-\d)\.rds\.amazonaws\.com$", host)
    return _instance_context(rds_ca_file(), named[1] if named else os.environ.get("AWS_REGION", ""))


def proxy_context() -> ssl.SSLContext:
    """Trusts the system's authorities: Amazon Trust Services signs RDS Proxy's certificate, and RDS's bundle lacks it."""
    return public_context(os.environ.get("RDS_CA_FILE"))


@cache
def public_context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the system's authorities, or only those in a file."""
    return _verifying(ssl.create_default_context(cafile=ca_file))


@cache
def _instance_context(file: str, region: str) -> ssl.SSLContext:
    bundle = Path(file).read_text(encoding="ascii")
    named = rf"^# Amazon RDS {re.escape(region)} .*\n(-----BEGIN CERTIFICATE-----\n[^-]+\n-----END CERTIFICATE-----)"
    return _verifying(ssl.create_default_context(cadata="\n".join(re.findall(named, bundle, re.MULTILINE)) or bundle))


def _verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    context.verify_flags |= VERIFY
    return context
