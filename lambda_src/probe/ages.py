"""How long ago what must happen happened last: of backups, drills, maintenance and rotations.

What never happened is as old as the environment, which is the truth: whether that is too old is for alarms to say.
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
_LOOKED_THROUGH = 30  # drills, newest first: older ones than these are too old anyway
_COMPARED = 7


class Ages:
    """Reads the bucket's listing, drill reports, maintenance's state and the versions of secrets; writes nothing."""

    def __init__(self, *, s3: Any, secrets_manager: Any, bucket: str, reports: str, now: datetime, environment_since: datetime) -> None:
        self._s3, self._secrets_manager, self._bucket, self._reports = s3, secrets_manager, bucket, reports
        self._now, self._since = now, environment_since

    def backups(self, metrics: list[Metric]) -> None:
        """By the newest manifest of each tier, which is written when all else is there; its size against those before."""
        for tier in TIERS:
            sizes = self._backup_sizes(tier)
            metrics.append(Metric(f"BackupAgeHours{tier.capitalize()}", "None", self._days(_moment(max(sizes, default=""))) * 24))
            newest, *earlier = [sizes[stamp] for stamp in sorted(sizes, reverse=True)[: _COMPARED + 1]] or [0]
            if tier == "daily" and earlier:
                metrics.append(Metric("BackupSizeOfMedian", "Percent", round(100 * newest / max(1, statistics.median(earlier)), 1)))

    def drill(self, metrics: list[Metric]) -> None:
        """By the newest report of a drill that passed."""
        folder = f"{self._reports}/drill/"
        keys = [key for key, _ in self._objects(folder) if key.endswith(".json")]
        for key in sorted(keys, reverse=True)[:_LOOKED_THROUGH]:
            if self._json(key).get("passed"):
                metrics.append(Metric("DrillAgeDays", "None", self._days(_moment(key.removeprefix(folder).removesuffix(".json")))))
                return
        metrics.append(Metric("DrillAgeDays", "None", self._days(None)))

    def maintenance(self, metrics: list[Metric]) -> None:
        """By the end of the last cycle of each kind that left nothing undone."""
        for kind in MAINTENANCE:
            finished = self._json(f"{self._reports}/maintenance/{kind}/state.json").get("last_finished_at")
            when = datetime.fromisoformat(finished) if finished else None
            metrics.append(Metric(f"MaintenanceAgeDays{kind.capitalize()}", "None", self._days(when)))

    def rotation(self, metrics: list[Metric], rotated: dict[str, str]) -> None:
        """By the value in use, not by the secret's own dates, which its description changes too; the oldest, and each by name."""
        ages = {}
        for name, arn in rotated.items():
            versions = self._secrets_manager.list_secret_version_ids(SecretId=arn, IncludeDeprecated=False)["Versions"]
            current = [version["CreatedDate"] for version in versions if "AWSCURRENT" in version.get("VersionStages", [])]
            ages[name] = self._days(max(current, default=None))
            metrics.append(Metric(f"RotationAgeDays{name}", "None", ages[name]))
        if ages:
            metrics.append(Metric("RotationAgeDays", "None", max(ages.values())))

    def _backup_sizes(self, tier: str) -> dict[str, int]:
        """Stamp → bytes, of those that have a manifest."""
        sizes: dict[str, int] = defaultdict(int)
        whole = set()
        for key, size in self._objects(f"{tier}/"):
            _, stamp, name = key.split("/", 2) if key.count("/") == 2 else ("", "", "")
            if _moment(stamp):
                sizes[stamp] += size
                whole |= {stamp} if name == "manifest.json" else set()
        return {stamp: sizes[stamp] for stamp in whole}

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
