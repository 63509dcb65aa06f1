"""Assertions of the acceptance checks: they raise NotAccepted with what was expected and what was found."""

from __future__ import annotations

import time
from collections.abc import Callable

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from local.deployment import FailedButRunning

INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL, Appendix A, "Error Codes"
WAIT_SECONDS = 30


class NotAccepted(FailedButRunning):
    """The deployment does not do what its templates promise."""


def expect(found: object, wanted: object) -> None:
    """Compare for equality."""
    if found != wanted:
        raise NotAccepted(f"expected {wanted!r}, found {found!r}")


def expect_refusal(connection: Connection, statement: str) -> None:
    """PostgreSQL must refuse the statement for lack of privilege, and for no other reason."""
    try:
        connection.run(statement)
    except DatabaseError as error:
        if error.args[0]["C"] == INSUFFICIENT_PRIVILEGE:
            return
        raise NotAccepted(f"{statement!r} failed, but not for lack of privilege: {error.args[0]['M']}") from None
    raise NotAccepted(f"PostgreSQL allowed: {statement}")


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Wait for the condition, at most WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotAccepted(f"not within {WAIT_SECONDS} s: {description}")
        time.sleep(0.1)
