"""Time since the last backup, restore drill and maintenance.

Without any, the age is that of the environment. Alarms decide what is too old.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from probe.measurements import Metric

TIERS = ("daily", "weekly", "monthly")
MAINTENANCE = ("weekly", "monthly")
_MAX_DRILLS = 30  # newest first; older ones exceed every limit
_COMPARED = 7  # earlier backups whose median size is compared


class Ages:
    """Reads the bucket's listing, drill reports and maintenance's state."""

    def __init__(self, *, s3: Any, bucket: str, now: datetime, environment_since: datetime) -> None:
        self._s3, self._bucket, self._now, self._since = s3, bucket, now, environment_since

    def backups(self, metrics: list[Metric]) -> None:
        """Age of each tier's newest manifest, which a backup writes last; size compared with earlier backups."""
        for tier in TIERS:
            sizes = self._backup_sizes(tier)
            metrics.append(Metric(f"BackupAgeHours{tier.capitalize()}", "None", self._days(_moment(max(sizes, default=""))) * 24))
            newest, *earlier = [sizes[stamp] for stamp in sorted(sizes, reverse=True)[: _COMPARED + 1]] or [0]
            if tier == "daily" and earlier:
                metrics.append(Metric("BackupSizeOfMedian", "Percent", round(100 * newest / max(1, statistics.median(earlier)), 1)))

    def drill(self, metrics: list[Metric]) -> None:
        """Age of the newest report of a passed drill."""
        folder = "reports/drill/"
        keys = [key for key, _ in self._objects(folder) if key.endswith(".json")]
        for key in sorted(keys, reverse=True)[:_MAX_DRILLS]:
            if self._json(key).get("passed"):
                metrics.append(Metric("DrillAgeDays", "None", self._days(_moment(key.removeprefix(folder).removesuffix(".json")))))
                return
        metrics.append(Metric("DrillAgeDays", "None", self._days(None)))

    def maintenance(self, metrics: list[Metric]) -> None:
        """Age of the last finished cycle of each kind."""
        for kind in MAINTENANCE:
            finished = self._json(f"reports/maintenance/{kind}/state.json").get("last_finished_at")
            when = datetime.fromisoformat(finished) if finished else None
            metrics.append(Metric(f"MaintenanceAgeDays{kind.capitalize()}", "None", self._days(when)))

    def _backup_sizes(self, tier: str) -> dict[str, int]:
        """Bytes of each backup with a manifest, by its stamp."""
        sizes: dict[str, int] = defaultdict(int)
        complete = set()
        for key, size in self._objects(f"{tier}/"):
            _, stamp, name = key.split("/", 2) if key.count("/") == 2 else ("", "", "")
            if _moment(stamp):
                sizes[stamp] += size
                complete |= {stamp} if name == "manifest.json" else set()
        return {stamp: sizes[stamp] for stamp in complete}

    def _objects(self, prefix: str) -> list[tuple[str, int]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [(found["Key"], found["Size"]) for page in pages for found in page.get("Contents", [])]

    def _json(self, key: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except self._s3.exceptions.NoSuchKey:
            return {}
        return found

    def _days(self, when: datetime | None) -> float:
        return round((self._now - (when or self._since)).total_seconds() / 86_400, 3)


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
