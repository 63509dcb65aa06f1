"""Alarms of what must happen and did not: backups, drills, maintenance, rotations; and of a probe that falls silent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from constructs import Construct

from constructs_lib.foundation.alarm import Alarm, Alerting, Metric, Severity
from settings import sections

QUARTER = 900  # how often ages are measured
LOOKS = 4  # so many in a row must be too old, or missing
GRACE_SECONDS = 1200  # within this a new environment has been measured


class StalenessAlarms(Construct):
    """Silence is failure here: what is not measured is as bad as what is too old. A silent probe is told once, not for each age."""

    def __init__(
        self, scope: Construct, construct_id: str, *, alerting: Alerting, settings: sections.Operations, probe_failing: Alarm
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, limits = alerting, alerting.settings
        self.probe_silent = self._silent(probe_failing)
        age = partial(alerting.function_metric, statistic="Minimum", period_seconds=QUARTER)
        self.backup: Alarm | None = None
        self.drill: Alarm | None = None
        self.backup_shrunk: Alarm | None = None
        if settings.scheduled_backups:
            self.backup, self.drill, self.backup_shrunk = self._backups(age)
        self.maintenance = self._overdue(
            "Maintenance",
            "Maintenance of the database is overdue: it grows, and becomes slower.",
            "ticket",
            {
                "weekly": (age("MaintenanceAgeDaysWeekly", label="weekly"), limits.weekly_maintenance_age_days),
                "monthly": (age("MaintenanceAgeDaysMonthly", label="monthly"), limits.monthly_maintenance_age_days),
            },
        )
        due = {"application": settings.application_password_days, "owner": settings.owner_password_days, "redis": settings.redis_token_days}
        self.rotation = self._overdue(
            "Rotation",
            "A password or the Redis token is overdue for rotation.",
            "ticket",
            {
                kind: (age("RotationAgeDays", service="rotation", Kind=kind, label=kind), days + limits.rotation_days_late)
                for kind, days in due.items()
            },
        )

    @property
    def notifying(self) -> list[Alarm]:
        """Those that tell somebody."""
        parts = (self.probe_silent, self.backup, self.drill, self.maintenance, self.rotation, self.backup_shrunk)
        return [alarm for alarm in parts if alarm]

    def _backups(self, age: Callable[..., Metric]) -> tuple[Alarm, Alarm, Alarm]:
        limits = self._alerting.settings
        backup = self._overdue(
            "Backup",
            "Backups are overdue: what is written now could be lost.",
            "page",
            {
                "daily": (age("BackupAgeHoursDaily", label="daily"), limits.daily_backup_age_hours),
                "weekly": (age("BackupAgeHoursWeekly", label="weekly"), limits.weekly_backup_age_days * 24),
                "monthly": (age("BackupAgeHoursMonthly", label="monthly"), limits.monthly_backup_age_days * 24),
            },
        )
        drill = self._overdue(
            "Drill",
            "No restore drill has passed for too long: nobody knows whether backups can be restored.",
            "ticket",
            {"restore": (age("DrillAgeDays", label="since a drill passed"), limits.drill_age_days)},
        )
        return backup, drill, self._shrunken()

    def _silent(self, probe_failing: Alarm) -> Alarm:
        description = "The probe publishes nothing: nobody sees whether database, proxy and Redis answer."
        no_figures = self._alerting.alarm(
            self,
            "NoFigures",
            description=description,
            runbook="probe-silent",
            severity="page",
            metric=self._alerting.function_metric("DatabaseUp", statistic="SampleCount", label="probes"),
            below=1,
            periods=5,
            missing="breaching",
            actions_enabled=False,
        )
        return self._alerting.composite(
            self,
            "ProbeSilent",
            description=description,
            runbook="probe-silent",
            severity="page",
            alarms=[no_figures],
            suppressor=probe_failing,
            suppressor_wait_seconds=300,
        )

    def _overdue(self, what: str, description: str, severity: Severity, ages: Mapping[str, tuple[Metric, float]]) -> Alarm:
        """In alarm when, for one of `ages`, none of an hour's measurements is below its limit."""
        runbook = what.lower()
        too_old = [
            self._alerting.alarm(
                self,
                f"{name.capitalize()}{what}Age",
                description=f"{description} This one: {name}.",
                runbook=runbook,
                severity=severity,
                metric=metric,
                at_least=limit,
                periods=LOOKS,
                missing="breaching",
                actions_enabled=False,
            )
            for name, (metric, limit) in ages.items()
        ]
        return self._alerting.composite(
            self,
            f"{what}Overdue",
            description=description,
            runbook=runbook,
            severity=severity,
            alarms=too_old,
            suppressor=self.probe_silent,
            suppressor_wait_seconds=GRACE_SECONDS,
        )

    def _shrunken(self) -> Alarm:
        return self._alerting.alarm(
            self,
            "BackupShrunken",
            description="The newest backup is far smaller than those before: data has gone, or was left out.",
            runbook="backup-shrunken",
            severity="page",
            metric=self._alerting.function_metric(
                "BackupSizeOfMedian", statistic="Minimum", period_seconds=QUARTER, label="size (% of median)"
            ),
            below=self._alerting.settings.backup_size_percent,
            missing="ignore",  # there is nothing to compare with before the second backup
        )
