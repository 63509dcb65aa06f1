"""Passwords of database logins."""

from __future__ import annotations

import base64

from scramp import ScramMechanism


def scram_verifier(password: str) -> str:
    """The verifier that PostgreSQL stores. Sent instead of the password, which log_statement = 'ddl' would log."""
    salt, stored_key, server_key, iterations = ScramMechanism("SCRAM-SHA-256").make_auth_info(password)
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
