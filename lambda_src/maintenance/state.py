"""State between runs: the cycle's start, index measurements, the last report.

The server's own statistics record what was vacuumed and analyzed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from common import aws

# Minimum time between the starts of two cycles: the schedule fires several times a night.
CYCLE = {"weekly": timedelta(days=3), "monthly": timedelta(days=14)}


@dataclass
class State:
    """State of one kind of maintenance. Indexes are identified by name, because a concurrent rebuild changes the oid."""

    version: int = 1
    cycle_started_at: str = ""  # the database's clock
    finished_at: str = ""  # empty while work remains
    last_finished_at: str = ""  # kept during the next cycle, for the probe
    runs: int = 0  # in this cycle
    late: list[str] = field(default_factory=list)  # objects that timed out: tried last
    measured: dict[str, dict[str, float]] = field(default_factory=dict)  # in this cycle: index → bytes, wasted (percent)
    floors: dict[str, float] = field(default_factory=dict)  # index → percent wasted right after its last rebuild
    last_report: str = ""  # S3 key
    previous_report: str = ""  # S3 key of the previous cycle's last report, for comparison

    def begin_or_continue(self, kind: str, now: datetime) -> bool:
        """Begin a cycle or continue it. Return False if this cycle is finished and the next is not due."""
        if self.finished_at and now - datetime.fromisoformat(self.cycle_started_at) < CYCLE[kind]:
            return False
        if self.finished_at or not self.cycle_started_at:
            self.cycle_started_at, self.finished_at, self.runs, self.late, self.measured = now.isoformat(), "", 0, [], {}
            self.previous_report = self.last_report
        self.runs += 1
        return True


class ReportStore:
    """Reports and state of one kind, in the backup bucket under reports/maintenance."""

    def __init__(self, bucket: str, kind: str, key_arn: str = "") -> None:
        self._client = aws.client("s3")
        self._bucket, self._folder = bucket, f"reports/maintenance/{kind}"
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn} if key_arn else {}

    def state(self) -> State:
        return State(**(self.read(f"{self._folder}/state.json") or {}))

    def save(self, state: State) -> None:
        self._put(f"{self._folder}/state.json", json.dumps(asdict(state), indent=1), "application/json")

    def publish(self, stamp: str, report: dict[str, Any], html: str) -> str:
        """Write the report as HTML and JSON. Return the JSON's key."""
        self._put(f"{self._folder}/{stamp}.html", html, "text/html; charset=utf-8")
        key = f"{self._folder}/{stamp}.json"
        self._put(key, json.dumps(report, indent=1), "application/json")
        return key

    def read(self, key: str) -> dict[str, Any] | None:
        """The JSON object at `key`; None if it does not exist."""
        if not key:
            return None
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        loaded: dict[str, Any] = json.loads(body)
        return loaded

    def _put(self, key: str, text: str, content_type: str) -> None:
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=text.encode(), ContentType=content_type, ChecksumAlgorithm="SHA256", **self._encryption
        )
