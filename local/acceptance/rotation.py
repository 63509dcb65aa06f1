"""Checks of the rotation of the application's password, under clients that query continuously."""

from __future__ import annotations

from pg8000.native import identifier, literal

from local.acceptance.access import connect_as, connection_secret, invoke
from local.acceptance.assertions import expect, wait_until
from local.acceptance.clients import Clients
from local.deployment import Deployment


def rotation(deployment: Deployment) -> str:
    """The function changes the password; no query fails."""
    before = connection_secret(deployment, "Connection")["PGUSER"]
    with Clients(deployment) as clients:
        answer = invoke(deployment, "RotationFunction", {"rotate": "application"})
        expect(answer, {"rotated": ["application"], "waiting": ""})
        after = connection_secret(deployment, "Connection")["PGUSER"]
        wait_until(lambda: len(clients.asked) > 1, "the service's new task answers")
    expect({before, after}, {"carmen_app_a", "carmen_app_b"})
    expect(clients.failures, [])
    return f"rotation: from {before} to {after}; {clients.answers} queries of both tasks succeeded, none failed"


def single_user_rotation_fails(deployment: Deployment) -> str:
    """Proves that the check above can fail: the same clients fail when the password of the user in use changes."""
    secret = connection_secret(deployment, "Connection")
    user, password = secret["PGUSER"], secret["PGPASSWORD"]
    with Clients(deployment) as clients, connect_as(deployment, "Connection") as session:
        try:
            session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(password[::-1])}")
            wait_until(lambda: bool(clients.failures), "a client fails after its password has changed")
        finally:
            session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(password)}")
    return f"rotation of a single user, for comparison: the same clients fail: {clients.failures[0]}"
