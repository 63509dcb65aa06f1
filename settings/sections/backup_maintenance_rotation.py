"""The table `[operations]`: schedules of backup, restore drill, maintenance and rotation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types
from settings.field_metadata import Protective
from settings.sections.base import Section


class Operations(Section):
    """Scheduled jobs (UTC). Source: manual "Automated Backups", "Regular Maintenance Tasks"."""

    scheduled_backups: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Run backup and restore drill on schedule; false: only on demand."
    )
    backup_schedule: types.Cron = Field("cron(0 3 * * ? *)", description="The logical backup, daily.")
    backup_formats: types.Distinct[Literal["archive", "sql_gz"]] = Field(
        ("archive", "sql_gz"),
        min_length=1,
        description="archive: for a parallel restore; sql_gz: plain SQL like the manual's script. One format takes less time.",
    )
    weekly_backup_day: Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"] = Field(
        "SUN", description="The day whose backup is kept as the weekly one."
    )
    monthly_backup_day: int = Field(1, ge=1, le=28, description="The day of the month whose backup is kept as the monthly one.")
    drill_schedule: types.Cron = Field("cron(0 4 2 * ? *)", description="Restore and compare the newest backup (manual: monthly).")
    weekly_maintenance_schedule: types.Cron = Field(
        "cron(0,20,40 6-7 ? * SUN *)", description="VACUUM, ANALYZE, REINDEX (manual: weekly); each run continues the previous one."
    )
    monthly_maintenance_schedule: types.Cron = Field(
        "cron(0,20,40 8 1 * ? *)", description="Statistics and reports (manual: monthly); each run continues the previous one."
    )
    rotation_schedule: types.Cron = Field("cron(0 10 * * ? *)", description="When rotation checks what is due and continues; daily.")
    application_password_days: int = Field(30, ge=1, le=365, description="Age at which the application's password is rotated.")
    owner_password_days: int = Field(90, ge=1, le=365, description="Age at which the migrations' password is rotated.")
    redis_token_days: int = Field(90, ge=1, le=365, description="Age at which Redis's token is rotated.")
