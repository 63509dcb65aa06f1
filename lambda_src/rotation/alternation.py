"""Rotation that never changes a credential which a running task may hold: users and tokens alternate.

There is no separate state. Each run reads which user or token the connection secret names and since when, which passwords log in,
and when each task was created. It therefore continues an interrupted run from any point.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from common import database, locks, secrets

from rotation.database_login import PROXY_WAIT_SECONDS, RUN_ROLES, Database
from rotation.service import POLL_SECONDS, Service

ROLE = "carmen_rotation"
LOCK_WAIT_SECONDS = 300.0  # database_roles holds the lock while it runs
STEP_SECONDS = PROXY_WAIT_SECONDS + 30  # Lambda must not end a step: PostgreSQL would keep its lock until it notices the lost session


class Credential(Protocol):
    """A credential that rotates. All methods but `since` are called under the lock, when every task holds the current values."""

    @property
    def kind(self) -> str: ...

    def since(self) -> datetime:
        """When the credential in use was created."""

    def is_unfinished(self) -> bool:
        """Whether a rotation has begun that `advance` must finish."""

    def clean_up(self) -> None:
        """Invalidate the previous credential, which stayed valid for running tasks."""

    def advance(self) -> str:
        """Do the next step. Return what the rotation waits for; empty when it is complete and the service must roll."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run. `waiting`: why a later run must continue."""

    rotated: tuple[str, ...] = ()
    waiting: str = ""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """All credentials of one environment."""

    secrets_manager: Any
    connection: str
    database: Database
    service: Service
    credentials: Sequence[Credential]
    due_after: Mapping[str, timedelta]  # by kind; a missing kind rotates only on request

    def run(self, deadline: float, requested: str | None = None) -> Outcome:
        """Rotate what is due, or the requested kind. First finish earlier rotations, at the end wait for the roll."""
        rotated: list[str] = []
        for credential in self.credentials:
            if requested in (None, credential.kind):
                done, waiting = self._rotate(credential, deadline, requested is not None)
                rotated += [credential.kind] if done else []
                if waiting:
                    return Outcome(tuple(rotated), waiting)
        return Outcome(tuple(rotated))

    def ages(self) -> dict[str, timedelta]:
        """The age of each credential in use, by kind."""
        return {credential.kind: _age(credential) for credential in self.credentials}

    def _rotate(self, credential: Credential, deadline: float, requested: bool) -> tuple[bool, str]:
        """Whether the credential was rotated, and what the rotation waits for.

        A roll may be due without a rotation: after an interrupted run, or when database_roles wrote a new address into the
        connection secret.
        """
        waiting = "too little time is left in this run"
        while waiting:
            if left := self._roll(deadline):
                return False, left
            if time.monotonic() + STEP_SECONDS > deadline:
                return False, f"{credential.kind}: {waiting}"
            with self._lock(deadline - STEP_SECONDS):
                if self.service.stale(self._changed()):
                    continue  # another run rotated while this one waited for the lock: its roll comes first
                credential.clean_up()
                if not (requested or credential.is_unfinished() or self._is_due(credential)):
                    return False, ""
                waiting = credential.advance()
            if waiting:
                time.sleep(POLL_SECONDS)
        return True, self._roll(deadline)

    def _roll(self, deadline: float) -> str:
        """Roll the service until no task started before the connection secret's last change."""
        left = self.service.roll_until_fresh(self._changed(), deadline, lambda: self._lock(deadline))
        return f"tasks started before the last change still run: {', '.join(left)}" if left else ""

    def _changed(self) -> datetime:
        return self._written().created

    def _written(self) -> secrets.Version:
        written = secrets.version(self.connection, "AWSCURRENT", self.secrets_manager)
        if written is None or not written.value:
            raise LookupError(f"The connection secret has no value yet. {RUN_ROLES}")
        return written

    def _is_due(self, credential: Credential) -> bool:
        after = self.due_after.get(credential.kind)
        return after is not None and _age(credential) >= after

    @contextmanager
    def _lock(self, deadline: float) -> Iterator[None]:
        """Hold the lock as a role that may do nothing else: the application's users cannot take it (common/locks.py)."""
        wait_seconds = min(LOCK_WAIT_SECONDS, max(0.0, deadline - time.monotonic()))
        with (
            closing(database.connect_as(ROLE, database=locks.DATABASE)) as session,
            locks.exclusive(session, "rotation", wait_seconds=wait_seconds, key=locks.LOGINS),
        ):
            yield


def _age(credential: Credential) -> timedelta:
    return datetime.now(UTC) - credential.since()
