"""The lock of releases: an SSM parameter that exists while a release changes an environment. Its value is the release's record.

PutParameter without Overwrite creates it or fails with ParameterAlreadyExists (SSM API), so one of two releases gets it. The holder renews
it; a process that ended without deleting it is recognised by the age of its newest version, by AWS's clock. A lock is taken over by writing
the version after the one that was seen: of two processes that do so, one gets another number.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tools import processes
from tools.environment import Deployed, FailedError, RefusedError, unless

LOCK_SUFFIX = "-release-lock"  # after the image parameter's name; constructs_lib/pipelines/roles.py permits it
RENEW_SECONDS = 20
ABANDONED_SECONDS = 90  # four renewals failed


@dataclass(frozen=True)
class Held:
    """A lock that exists: what its holder does, who holds it, since when, and seconds since its last renewal."""

    value: str
    by: str
    since: datetime
    version: int
    age: float

    @property
    def abandoned(self) -> bool:
        return self.age > ABANDONED_SECONDS

    def description(self, environment: str) -> str:
        """The holder, and what to do."""
        record = json.loads(self.value)
        return (
            f"Another release of {environment} runs: {record['image']} by {self.by or 'an unknown user'} since "
            f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC, now: {record['phase']}. Wait until it ends. If its process was killed, the "
            f"same command works {ABANDONED_SECONDS} seconds after it was last seen ({self.age:.0f} seconds ago)."
        )


def lock_name(deployed: Deployed) -> str:
    """The lock's parameter: next to the image parameter."""
    return f"{deployed.output('ImageParameter')}{LOCK_SUFFIX}"


def holder(deployed: Deployed) -> Held | None:
    """The lock, if it exists; an abandoned one too."""
    versions: list[dict[str, Any]] = []
    query: dict[str, Any] = {"Name": lock_name(deployed)}
    while True:
        page = unless("ParameterNotFound", deployed.session.client("ssm").get_parameter_history, **query)
        if not page:
            return None
        versions += page["Parameters"]
        if not page.get("NextToken"):
            break
        query["NextToken"] = page["NextToken"]
    first, last = versions[0], versions[-1]
    date = page.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    age = max(0.0, (now - last["LastModifiedDate"]).total_seconds())
    return Held(last["Value"], last.get("LastModifiedUser", ""), first["LastModifiedDate"], last["Version"], age)


class Lock:
    """A lock that this process holds; a thread renews it."""

    def __init__(self, deployed: Deployed, value: str) -> None:
        self._deployed, self._value = deployed, value
        self.taken_over: Held | None = None  # an abandoned lock, whose value stays until `write`
        self._ssm, self._name = deployed.session.client("ssm"), lock_name(deployed)
        self._version: int | None = None  # None: not held
        self._renewed = 0.0
        self._writes, self._ended = threading.Lock(), threading.Event()

    def take(self) -> None:
        """Raises RefusedError, which names the holder."""
        found = holder(self._deployed)
        if found and not found.abandoned:
            raise RefusedError(f"Nothing was changed. {found.description(self._deployed.settings.name)}")
        try:
            version: int | None = self._put(found.value if found else self._value, overwrite=found is not None)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ParameterAlreadyExists", "TooManyUpdates"):
                raise
            version = None
        if version != (found.version if found else 0) + 1:
            other = holder(self._deployed)
            text = other.description(self._deployed.settings.name) if other else "Another release began at the same time."
            raise RefusedError(f"Nothing was changed. {text}")
        self.taken_over, self._version, self._renewed = found, version, time.monotonic()
        self._value = found.value if found else self._value
        threading.Thread(target=self._keep, daemon=True).start()

    def _put(self, value: str, *, overwrite: bool) -> int:
        answer = self._ssm.put_parameter(
            Name=self._name, Value=value, Type="String", Overwrite=overwrite, Description="A release runs; it deletes this parameter"
        )
        return int(answer["Version"])

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(ClientError, BotoCoreError):
                self.write(self._value)

    def write(self, value: str) -> None:
        """Renew the lock with a new value."""
        with self._writes:
            if self._version is None or self._ended.is_set():
                return
            self._value = value
            written = self._put(value, overwrite=True)
            lost = written != self._version + 1  # another process has taken it over or deleted it
            self._version, self._renewed = (None, 0.0) if lost else (written, time.monotonic())

    @property
    def is_held(self) -> bool:
        """False when another process may have taken over: this one was suspended or without network."""
        return self._version is not None and time.monotonic() - self._renewed <= ABANDONED_SECONDS

    @property
    def phase(self) -> str:
        """What the last written record says that the release does."""
        return str(json.loads(self._value)["phase"])

    def expect_held(self) -> None:
        """Raise FailedError when another process may have taken over."""
        if not self.is_held:
            raise FailedError(
                f"This release lost its lock ({self._name}), because it could not renew it for {ABANDONED_SECONDS} seconds. The old image "
                f"keeps running. Run the command again; `./carmen release list --env {self._deployed.settings.name}` shows the state."
            )

    def give_back(self) -> None:
        """Delete the lock if this process holds it. Without a connection, it ends by its age."""
        self._ended.set()
        with self._writes, contextlib.suppress(ClientError, BotoCoreError):
            if self.is_held:
                unless("ParameterNotFound", self._ssm.delete_parameter, Name=self._name)


@contextlib.contextmanager
def locked(deployed: Deployed, value: str) -> Iterator[Lock]:
    """Hold the environment's lock during the block. Raises RefusedError, which names the holder."""
    lock = Lock(deployed, value)
    try:
        with processes.deferred():  # a signal between AWS's answer and our knowledge of it would leave the lock
            lock.take()
        yield lock
    finally:
        lock.give_back()
