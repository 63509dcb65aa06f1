"""Staleness alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.monitoring.staleness_alarms import StalenessAlarms
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, settings, stack, template
from tests.constructs.monitoring.alarms import ALARM, COMPOSITE, described, dimensions, listed
from tests.constructs.monitoring.conftest import alarm


def _built(*, thresholds: dict[str, Any] | None = None, scheduled_backups: bool = True, **operations: Any) -> Synthesized:
    small = stack()
    changed = settings(operations=operations).operations.model_copy(update={"scheduled_backups": scheduled_backups})
    failing = alarm(small, "Probe", "FunctionFailing")
    StalenessAlarms(small, "StalenessAlarms", alerting=alerting(**thresholds or {}), settings=changed, probe_failing=failing)
    return template(small)


def test_alarms_are_those_listed() -> None:
    built = _built()
    found = {name: line for name, line in described(built).items() if name.startswith("StalenessAlarms")}
    assert found == listed("Operations/StalenessAlarms")
    expected = {"Environment": "prod", "service": "rotation", "Kind": "redis"}
    assert dimensions(by_id(built.resources(ALARM), "RedisRotationAge")) == {"RotationAgeDays": expected}
    expected = {"Environment": "prod", "service": "probe"}
    assert dimensions(by_id(built.resources(ALARM), "DailyBackupAge")) == {"BackupAgeHoursDaily": expected}
    grace = by_id(built.resources(COMPOSITE), "BackupOverdue")["Properties"]
    assert (grace["ActionsSuppressorWaitPeriod"], grace["ActionsSuppressorExtensionPeriod"]) == (1200, 1200)


def test_thresholds_are_settings() -> None:
    lines = described(_built(thresholds={"daily_backup_age_hours": 48, "rotation_days_late": 5}, redis_token_days=60))
    assert ">= 48 |" in lines["StalenessAlarmsDailyBackupAge"]
    assert ">= 65 |" in lines["StalenessAlarmsRedisRotationAge"]


def test_without_scheduled_backups_there_are_no_backup_alarms() -> None:
    names = described(_built(scheduled_backups=False)).keys()
    assert not [name for name in names if "Backup" in name or "Drill" in name]
    assert {"StalenessAlarmsMaintenanceOverdue", "StalenessAlarmsRotationOverdue", "StalenessAlarmsProbeSilent"} <= names
