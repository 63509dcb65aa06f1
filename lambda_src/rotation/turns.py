"""Taking turns: nothing changes that a running task may hold.

The state is what is: which user or token the connection secret names, since when, which passwords log in, and when each
task was created. So a run that ended anywhere is continued by the next one, and there is no record that could be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from common import connection_secret, locks, secrets

from rotation.database_login import PROXY_PATIENCE_SECONDS, Database
from rotation.service import POLL_SECONDS, Service

PATIENCE_SECONDS = 300.0  # database_roles holds the lock as long as it runs
STEP_SECONDS = PROXY_PATIENCE_SECONDS + 30  # a step that Lambda cuts off would leave its lock until PostgreSQL misses the session


class Credential(Protocol):
    """Something that rotates. All but `since` are called under the lock, when no task holds anything but what is current."""

    @property
    def kind(self) -> str: ...

    def since(self) -> datetime:
        """When what is in use was made."""

    def is_unfinished(self) -> bool:
        """Whether a turn has begun that only `advance` ends."""

    def tidy(self) -> None:
        """Ends what the last turn left valid for tasks that were running."""

    def advance(self) -> str:
        """Does what can be done now; says what the rest waits for, or nothing when the turn is done and the service may be rolled."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run. `waiting`: why a later run has to go on."""

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
    due_after: Mapping[str, timedelta]  # by kind; one that is absent rotates when asked only

    def run(self, deadline: float, asked: str | None = None) -> Outcome:
        """Rotates what is due, or what was asked for; waits for earlier turns first and for the roll last."""
        rotated: list[str] = []
        for credential in self.credentials:
            if asked in (None, credential.kind):
                done, waiting = self._rotate(credential, deadline, asked is not None)
                rotated += [credential.kind] if done else []
                if waiting:
                    return Outcome(tuple(rotated), waiting)
        return Outcome(tuple(rotated))

    def ages(self) -> dict[str, timedelta]:
        """How old what is in use is, by kind."""
        return {credential.kind: _age(credential) for credential in self.credentials}

    def _rotate(self, credential: Credential, deadline: float, asked: bool) -> tuple[bool, str]:
        """Whether it was rotated, and what has to be waited for.

        A roll may be due although nothing else is: after a run that was interrupted, or when database_roles wrote another
        address into the connection secret.
        """
        waiting = "too little time is left for it in this run"
        while waiting:
            if left := self._settle(deadline):
                return False, left
            if time.monotonic() + STEP_SECONDS > deadline:
                return False, f"{credential.kind}: {waiting}"
            with self._lock(deadline - STEP_SECONDS):
                if self.service.stale(self._changed()):
                    continue  # another run was here while we waited for the lock: its roll comes first
                credential.tidy()
                if not (asked or credential.is_unfinished() or self._is_due(credential)):
                    return False, ""
                waiting = credential.advance()
            if waiting:
                time.sleep(POLL_SECONDS)
        return True, self._settle(deadline)

    def _settle(self, deadline: float) -> str:
        """Rolls the service until no task holds what was there before the connection secret last changed."""
        left = self.service.roll_until_fresh(self._changed(), deadline)
        return f"tasks started before the last change still run: {', '.join(left)}" if left else ""

    def _changed(self) -> datetime:
        return self._written().created

    def _written(self) -> secrets.Version:
        written = secrets.version(self.connection, "AWSCURRENT", self.secrets_manager)
        if written is None or not written.value:
            raise LookupError("the connection secret has no value yet: run database_roles first")
        return written

    def _is_due(self, credential: Credential) -> bool:
        after = self.due_after.get(credential.kind)
        return after is not None and _age(credential) >= after

    @contextmanager
    def _lock(self, deadline: float) -> Iterator[None]:
        """Held in a session of the user in use, whose password is the one thing that always works."""
        written = self._written().value
        user, password = connection_secret.user_of(written) or "", connection_secret.password_of(written) or ""
        patience = min(PATIENCE_SECONDS, max(0.0, deadline - time.monotonic()))
        with (
            closing(self.database.login(user, password)) as session,
            locks.exclusive(session, "rotation", wait_seconds=patience, key=locks.LOGINS),
        ):
            yield


def _age(credential: Credential) -> timedelta:
    return datetime.now(UTC) - credential.since()
