"""What one run leaves for the next: when the cycle began, which indexes it measured, which report came last.

What was vacuumed or analysed is not noted here: the server's own statistics say that, and cannot be out of step with it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from common import aws

# A run earlier than this after a finished cycle's beginning belongs to it: the schedule fires several times a night.
CYCLE = {"weekly": timedelta(days=3), "monthly": timedelta(days=14)}


@dataclass
class State:
    """Of one kind of maintenance. Indexes go by name: a concurrent rebuild changes the oid."""

    version: int = 1
    cycle_started_at: str = ""  # by the database's clock
    finished_at: str = ""  # empty while something is left to do
    last_finished_at: str = ""  # kept through the next cycle: how old maintenance is (probe)
    runs: int = 0  # of this cycle
    late: list[str] = field(default_factory=list)  # ran into their time-out: tried last, so that nothing waits behind them
    measured: dict[str, dict[str, float]] = field(default_factory=dict)  # this cycle: index → bytes, wasted (percent)
    floors: dict[str, float] = field(default_factory=dict)  # index → percent that was still wasted after its last rebuild
    last_report: str = ""  # its key
    previous_report: str = ""  # the key of the last one of the cycle before: what this cycle compares itself with

    def begin_or_go_on(self, kind: str, now: datetime) -> bool:
        """False when this cycle is finished already and the next one is not due."""
        if self.finished_at and now - datetime.fromisoformat(self.cycle_started_at) < CYCLE[kind]:
            return False
        if self.finished_at or not self.cycle_started_at:
            self.cycle_started_at, self.finished_at, self.runs, self.late, self.measured = now.isoformat(), "", 0, [], {}
            self.previous_report = self.last_report
        self.runs += 1
        return True


class Store:
    """Reports and state of one kind, below `prefix` of the backup bucket."""

    def __init__(self, bucket: str, prefix: str, kind: str, key_arn: str = "", client: Any = None) -> None:
        self._bucket, self._folder = bucket, f"{prefix}/maintenance/{kind}"
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn} if key_arn else {}
        self._client = client

    @property
    def client(self) -> Any:
        """Made when it is first needed: a run that meets a backup needs none."""
        if self._client is None:
            self._client = aws.client("s3")
        return self._client

    def state(self) -> State:
        return State(**(self.read(f"{self._folder}/state.json") or {}))

    def save(self, state: State) -> None:
        self._put(f"{self._folder}/state.json", json.dumps(asdict(state), indent=1), "application/json")

    def publish(self, stamp: str, report: dict[str, Any], page: str) -> str:
        """Writes both forms; returns the JSON's key."""
        self._put(f"{self._folder}/{stamp}.html", page, "text/html; charset=utf-8")
        key = f"{self._folder}/{stamp}.json"
        self._put(key, json.dumps(report, indent=1), "application/json")
        return key

    def read(self, key: str) -> dict[str, Any] | None:
        """The JSON object at `key`; nothing when there is none."""
        if not key:
            return None
        try:
            body = self.client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        loaded: dict[str, Any] = json.loads(body)
        return loaded

    def _put(self, key: str, text: str, kind: str) -> None:
        self.client.put_object(
            Bucket=self._bucket, Key=key, Body=text.encode(), ContentType=kind, ChecksumAlgorithm="SHA256", **self._encryption
        )
