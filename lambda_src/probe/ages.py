"""Time since the last backup, restore drill and maintenance.

Without any, the age is that of the environment. Alarms decide what is too old.
"""

from __future__ import annotations

import json
import statistics
from datetime import datetime
from typing import Any

from common.backup_manifest import TIERS, parse_stamp
from common.backup_store import BackupStore

from probe.metric import Metric

_MAX_DRILLS = 30  # newest first; older ones exceed every limit
_COMPARED = 7  # earlier backups whose median size is compared


class Ages:
    """Reads the bucket's listing, drill reports and maintenance's state."""

    def __init__(self, store: BackupStore, now: datetime, environment_since: datetime) -> None:
        self._store, self._now, self._since = store, now, environment_since

    def backups(self, metrics: list[Metric]) -> None:
        """Age of each tier's newest authentic manifest, which a backup writes last; size compared with earlier backups."""
        for tier in TIERS:
            newest = self._store.newest(tier)
            metrics.append(Metric(f"BackupAgeHours{tier.capitalize()}", "None", self._days(newest.taken_at if newest else None) * 24))
            sizes = sorted((one for one in self._store.sizes(tier).items() if newest and one[0] <= newest.stamp), reverse=True)
            if tier == "daily" and len(sizes) > 1:
                median = statistics.median(size for _, size in sizes[1 : _COMPARED + 1])
                metrics.append(Metric("BackupSizeOfMedian", "Percent", round(100 * sizes[0][1] / max(1, median), 1)))

    def drill(self, metrics: list[Metric]) -> None:
        """Age of the newest report of a passed drill."""
        folder = "reports/drill/"
        keys = sorted((key for key, _ in self._store.objects(folder) if key.endswith(".json")), reverse=True)
        passed = next((key for key in keys[:_MAX_DRILLS] if self._json(key).get("passed")), None)
        when = parse_stamp(passed.removeprefix(folder).removesuffix(".json").partition("-")[0]) if passed else None  # repeated: STAMP-2
        metrics.append(Metric("DrillAgeDays", "None", self._days(when)))

    def maintenance(self, metrics: list[Metric]) -> None:
        """Age of the last finished cycle of each kind."""
        for kind in ("weekly", "monthly"):
            finished = self._json(f"reports/maintenance/{kind}/state.json").get("last_finished_at")
            when = datetime.fromisoformat(finished) if finished else None
            metrics.append(Metric(f"MaintenanceAgeDays{kind.capitalize()}", "None", self._days(when)))

    def _json(self, key: str) -> dict[str, Any]:
        s3 = self._store.s3
        try:
            found: dict[str, Any] = json.loads(s3.get_object(Bucket=self._store.bucket, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return {}
        return found

    def _days(self, when: datetime | None) -> float:
        return round((self._now - (when or self._since)).total_seconds() / 86_400, 3)
