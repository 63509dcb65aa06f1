"""Passwords of database logins."""

from __future__ import annotations

import base64

from scramp import ScramMechanism


def scram_verifier(password: str) -> str:
    """What PostgreSQL would store: sent instead of the password, so that log_statement = 'ddl' cannot log that."""
    salt, stored_key, server_key, iterations = ScramMechanism("SCRAM-SHA-256").make_auth_info(password)
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
