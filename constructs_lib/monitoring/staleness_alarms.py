"""Staleness alarms: backups, drills, maintenance and rotations that are overdue, and a probe that publishes no metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from constructs import Construct

from constructs_lib.foundation.alarm import Alarm, Alerting, Metric, Severity
from settings import sections

MEASURED_EVERY_SECONDS = 900
EVALUATION_PERIODS = 4  # consecutive measurements that must be too old or missing
GRACE_SECONDS = 1200  # a new environment's first measurements take less


class StalenessAlarms(Construct):
    """A missing measurement counts as too old. If the probe publishes nothing, only its own alarm notifies, not each age's."""

    def __init__(
        self, scope: Construct, construct_id: str, *, alerting: Alerting, settings: sections.Operations, probe_failing: Alarm
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, limits = alerting, alerting.settings
        self.probe_silent = self._define_probe_silent(probe_failing)
        age = partial(alerting.function_metric, statistic="Minimum", period_seconds=MEASURED_EVERY_SECONDS)
        self.backup: Alarm | None = None
        self.drill: Alarm | None = None
        self.backup_shrunk: Alarm | None = None
        if settings.scheduled_backups:
            self.backup, self.drill, self.backup_shrunk = self._define_backup_alarms(age)
        self.maintenance = self._define_overdue(
            "Maintenance",
            "Database maintenance is overdue. The database grows and gets slower.",
            "ticket",
            {
                "weekly": (age("MaintenanceAgeDaysWeekly", label="weekly"), limits.weekly_maintenance_age_days),
                "monthly": (age("MaintenanceAgeDaysMonthly", label="monthly"), limits.monthly_maintenance_age_days),
            },
        )
        due = {"application": settings.application_password_days, "owner": settings.owner_password_days, "redis": settings.redis_token_days}
        self.rotation = self._define_overdue(
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
        """The alarms that notify people."""
        parts = (self.probe_silent, self.backup, self.drill, self.maintenance, self.rotation, self.backup_shrunk)
        return [alarm for alarm in parts if alarm]

    def _define_backup_alarms(self, age: Callable[..., Metric]) -> tuple[Alarm, Alarm, Alarm]:
        limits = self._alerting.settings
        backup = self._define_overdue(
            "Backup",
            "Backups are overdue. New data could be lost.",
            "page",
            {
                "daily": (age("BackupAgeHoursDaily", label="daily"), limits.daily_backup_age_hours),
                "weekly": (age("BackupAgeHoursWeekly", label="weekly"), limits.weekly_backup_age_days * 24),
                "monthly": (age("BackupAgeHoursMonthly", label="monthly"), limits.monthly_backup_age_days * 24),
            },
        )
        drill = self._define_overdue(
            "Drill",
            "The last successful restore drill is too old. It is unknown whether backups can be restored.",
            "ticket",
            {"restore": (age("DrillAgeDays", label="since a drill passed"), limits.drill_age_days)},
        )
        return backup, drill, self._define_backup_shrunk()

    def _define_probe_silent(self, probe_failing: Alarm) -> Alarm:
        description = "The probe publishes no metrics. It is unknown whether the database, RDS Proxy and Redis answer."
        no_metrics = self._alerting.alarm(
            self,
            "NoMeasurements",
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
            alarms=[no_metrics],
            suppressor=probe_failing,
            suppressor_wait_seconds=300,
        )

    def _define_overdue(self, what: str, description: str, severity: Severity, ages: Mapping[str, tuple[Metric, float]]) -> Alarm:
        """In alarm when, for one of `ages`, all measurements of an hour reach its limit or are missing."""
        runbook = what.lower()
        too_old = [
            self._alerting.alarm(
                self,
                f"{name.capitalize()}{what}Age",
                description=f"{description} Overdue: {name}.",
                runbook=runbook,
                severity=severity,
                metric=metric,
                at_least=limit,
                periods=EVALUATION_PERIODS,
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

    def _define_backup_shrunk(self) -> Alarm:
        return self._alerting.alarm(
            self,
            "BackupShrunken",
            description="The newest backup is much smaller than earlier ones. Data was deleted, or is missing from the backup.",
            runbook="backup-shrunken",
            severity="page",
            metric=self._alerting.function_metric(
                "BackupSizeOfMedian", statistic="Minimum", period_seconds=MEASURED_EVERY_SECONDS, label="size (% of median)"
            ),
            below=self._alerting.settings.backup_size_percent,
            missing="ignore",  # before the second backup there is no median
        )
