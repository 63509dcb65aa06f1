"""Alarms of what must happen and did not: backups, drills, maintenance, rotations; and of a probe that falls silent."""

from __future__ import annotations

from functools import partial

from constructs import Construct

from constructs_lib.alarm import HOUR, Alarm, Alerting
from environments import schema

# Looked at once a day, two hours late at most: within this many hours there is a measurement, or something is wrong.
WITHIN_HOURS = 27
GRACE_SECONDS = 900  # a new environment is measured at its deployment; its first figures arrive within this


class AgeAlarms(Construct):
    """Silence is failure here: what is not measured is as bad as what is too old. A silent probe is told once, not for each age."""

    def __init__(
        self, scope: Construct, construct_id: str, *, alerting: Alerting, settings: schema.Operations, probe_failing: Alarm
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, self._limits = alerting, alerting.settings
        self.silent = self._silent(probe_failing)
        self.backup_ages = self._backup_ages()
        self.shrunken = self._shrunken()
        self.drill_age = self._too_old(
            "DrillAge", "DrillAgeDays", self._limits.drill_age_days, "No restore of a backup has passed.", "drill"
        )
        self.maintenance_ages = self._maintenance_ages()
        self.rotation_ages = self._rotation_ages(settings)
        self.overdue = [
            self._overdue("Backup", "Backups are overdue: what is written now could be lost.", "backup", "page", self.backup_ages),
            self._overdue("Drill", "No restore drill has passed for too long: nobody knows whether backups can be restored.", "drill",
                          "ticket", [self.drill_age]),
            self._overdue("Maintenance", "Maintenance of the database is overdue: it grows, and becomes slower.", "maintenance",
                          "ticket", self.maintenance_ages),
            self._overdue("Rotation", "Passwords or the Redis token are overdue for rotation.", "rotation", "ticket", self.rotation_ages),
        ]  # fmt: skip

    @property
    def speaking(self) -> list[Alarm]:
        """Those that tell somebody."""
        return [self.silent, *self.overdue, self.shrunken]

    def _silent(self, probe_failing: Alarm) -> Alarm:
        no_figures = self._alerting.alarm(
            self,
            "NoFigures",
            says="The probe publishes nothing: nobody sees whether database, proxy and Redis answer.",
            runbook="probe-silent",
            severity="page",
            watch=self._alerting.measured("DatabaseUp", statistic="SampleCount", label="probes"),
            below=1,
            periods=5,
            missing="breaching",
            folded=True,
        )
        return self._alerting.fold(
            self,
            "ProbeSilent",
            says="The probe publishes nothing: nobody sees whether database, proxy and Redis answer.",
            runbook="probe-silent",
            severity="page",
            alarms=[no_figures],
            unless=probe_failing,
            wait_seconds=GRACE_SECONDS,
        )

    def _too_old(self, construct_id: str, name: str, limit: float, says: str, runbook: str, service: str = "probe", **more: str) -> Alarm:
        """An alarm when none of the last day's measurements is young enough; none at all is not, either."""
        return self._alerting.alarm(
            self,
            construct_id,
            says=says,
            runbook=runbook,
            severity="ticket",
            watch=self._alerting.measured(name, service=service, statistic="Minimum", period_seconds=HOUR, label=construct_id, **more),
            at_least=limit,
            periods=WITHIN_HOURS,
            missing="breaching",
            folded=True,
        )

    def _backup_ages(self) -> list[Alarm]:
        limits = {
            "Daily": self._limits.daily_backup_age_hours,
            "Weekly": self._limits.weekly_backup_age_days * 24,
            "Monthly": self._limits.monthly_backup_age_days * 24,
        }
        return [
            self._too_old(f"{tier}BackupAge", f"BackupAgeHours{tier}", limit, f"The newest {tier.lower()} backup is too old.", "backup")
            for tier, limit in limits.items()
        ]

    def _shrunken(self) -> Alarm:
        return self._alerting.alarm(
            self,
            "BackupShrunken",
            says="The newest backup is far smaller than those before: data has gone, or was left out.",
            runbook="backup-shrunken",
            severity="page",
            watch=self._alerting.measured("BackupSizeOfMedian", statistic="Minimum", period_seconds=HOUR, label="size (% of median)"),
            below=self._limits.backup_size_percent,
            missing="ignore",  # there is nothing to compare with before the second backup, and one measurement a day
        )

    def _maintenance_ages(self) -> list[Alarm]:
        limits = {"Weekly": self._limits.weekly_maintenance_age_days, "Monthly": self._limits.monthly_maintenance_age_days}
        return [
            self._too_old(
                f"{kind}MaintenanceAge", f"MaintenanceAgeDays{kind}", limit, f"No {kind.lower()} maintenance has ended for too long.",
                "maintenance",
            )
            for kind, limit in limits.items()
        ]  # fmt: skip

    def _rotation_ages(self, settings: schema.Operations) -> list[Alarm]:
        due = {"application": settings.application_password_days, "owner": settings.owner_password_days, "redis": settings.redis_token_days}
        too_old = partial(self._too_old, name="RotationAgeDays", runbook="rotation", service="rotation")
        return [
            too_old(f"{kind.capitalize()}RotationAge", limit=days + self._limits.rotation_days_late, says=f"The {kind} credential is old.",
                    Kind=kind)
            for kind, days in due.items()
        ]  # fmt: skip

    def _overdue(self, what: str, says: str, runbook: str, severity: str, ages: list[Alarm]) -> Alarm:
        return self._alerting.fold(
            self,
            f"{what}Overdue",
            says=says,
            runbook=runbook,
            severity="page" if severity == "page" else "ticket",
            alarms=ages,
            unless=self.silent,
            wait_seconds=GRACE_SECONDS,
        )
