"""Schedules of backup, restore drill, maintenance and rotation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types
from settings.field_metadata import Protective
from settings.sections.base import Section


class Operations(Section):
    """What keeps the data alive, by the clock (UTC). Source: manual "Automated Backups", "Regular Maintenance Tasks"."""

    scheduled_backups: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Backup and restore drill run by the clock; off: only when somebody starts them."
    )
    backup_schedule: types.Cron = Field("cron(0 3 * * ? *)", description="The logical backup, daily.")
    backup_formats: types.Distinct[Literal["archive", "sql_gz"]] = Field(
        ("archive", "sql_gz"),
        min_length=1,
        description="archive: for a parallel restore; sql_gz: plain SQL, as the manual's script made it. Each alone takes less time.",
    )
    weekly_backup_day: Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"] = Field("SUN", description="Whose backup is kept weekly.")
    monthly_backup_day: int = Field(1, ge=1, le=28, description="The day of the month whose backup is kept monthly.")
    drill_schedule: types.Cron = Field("cron(0 4 2 * ? *)", description="The newest backup is restored and compared (manual: monthly).")
    weekly_maintenance_schedule: types.Cron = Field(
        "cron(0,20,40 6-7 ? * SUN *)", description="VACUUM, ANALYZE, REINDEX (manual: weekly); each run goes on where the last one stopped."
    )
    monthly_maintenance_schedule: types.Cron = Field(
        "cron(0,20,40 8 1 * ? *)", description="Statistics and reports (manual: monthly), likewise."
    )
    rotation_schedule: types.Cron = Field("cron(0 10 * * ? *)", description="When rotation looks what is due, and goes on; daily.")
    application_password_days: int = Field(30, ge=1, le=365, description="After how many days the application's password is due.")
    owner_password_days: int = Field(90, ge=1, le=365, description="After how many days the migrations' password is due.")
    redis_token_days: int = Field(90, ge=1, le=365, description="After how many days Redis's token is due.")
