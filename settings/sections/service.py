"""The Fargate service and its working hours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types
from settings.field_metadata import InOrder, Protective, Saving, given, less, order
from settings.sections.base import Section


class WorkingHours(Section):
    """When an environment runs. Outside, tasks and database are stopped; alarms that open then are reported in the morning."""

    days: types.Distinct[Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]] = Field(
        ("MON", "TUE", "WED", "THU", "FRI"), min_length=1, description="The days on which it runs."
    )
    starts: types.TimeOfDay = Field("07:00", description="When the database is started; tasks start 15 minutes later.")
    ends: types.TimeOfDay = Field("19:00", description="When tasks and database are stopped; on the same day, at least two hours later.")
    time_zone: types.TimeZone = Field("Etc/UTC", description="The IANA time zone of these hours, with its summer time.")


class ScheduledScaling(Section):
    """Another minimum and maximum of tasks from a time on."""

    schedule: types.Cron
    time_zone: types.TimeZone = Field("Etc/UTC", description="The IANA time zone of the schedule, with its summer time.")
    min_tasks: int = Field(ge=0, le=100)
    max_tasks: int = Field(ge=0, le=100)


class Service(Section):
    """The Fargate service. Source: manual "Docker Deployment" (port 3006)."""

    cpu: Annotated[Literal[256, 512, 1024, 2048, 4096], Saving(256, "pages take twice as long to render")] = Field(
        512, description="CPU units of a task; 1024 is one vCPU."
    )
    memory_mib: int = Field(1024, ge=512, le=30_720, description="Memory of a task; must fit its cpu.")
    architecture: Annotated[
        Literal["ARM64", "X86_64"],
        InOrder(
            "The image that is released runs on the old architecture only: new tasks would not start.",
            (
                "Build the released commit for the new architecture, and push it.",
                "`aws ssm put-parameter --overwrite --name /carmen/NAME/image --value IMAGE`, with its digest: the next step takes it.",
                "`./carmen deploy --steps-taken {key}`: image and architecture change together. Release no other image in between.",
            ),
        ),
    ] = Field("ARM64", description="The architecture of the application's image.")
    min_tasks: Annotated[int, Protective(), Saving(1, "an interruption whenever the only task stops")] = Field(
        2, ge=0, le=100, description="Tasks without load."
    )
    max_tasks: int = Field(6, ge=1, le=100, description="Tasks under load.")
    cpu_target_percent: int = Field(60, ge=10, le=90, description="Target tracking on CPU.")
    memory_target_percent: int = Field(75, ge=10, le=95, description="Target tracking on memory.")
    requests_per_task_per_minute: int = Field(500, ge=10, le=1_000_000, description="Target tracking on requests.")
    scheduled_scaling: types.Distinct[ScheduledScaling] = Field((), max_length=10)
    health_path: types.UrlPath = Field(
        "/api/health/live", description="Requested by the load balancer; shallow, so that a failed database stops no task."
    )
    health_grace_seconds: int = Field(120, ge=0, le=900, description="Time after the start in which failed health checks are ignored.")
    spot: Annotated[bool, Protective(less), Saving(True, "tasks stop after two minutes' notice when AWS needs the capacity")] = Field(
        False, description="Run on Fargate Spot."
    )
    container_insights: Annotated[
        Literal["enhanced", "enabled", "disabled"],
        Protective(order("disabled", "enabled", "enhanced"), opt_out=True),
        Saving("disabled", "no metrics of single containers' memory and disk, or of missing tasks"),
    ] = Field("enhanced", description="Container Insights of the cluster.")
    log_retention_days: Annotated[types.LogRetentionDays, Protective()] = Field(90, description="How long the application's logs are kept.")
    writable_paths: types.Distinct[types.ScratchPath] = Field(
        ("/tmp", "/app/.next/cache"), max_length=5, description="Paths on writable volumes; the root file system is read-only."
    )
    placeholder_image: types.Image = Field(
        "public.ecr.aws/docker/library/node:24-alpine", description="The image until the first release; it runs a small placeholder server."
    )
    psql_image: types.Image = Field("public.ecr.aws/docker/library/postgres:17-alpine", description="psql of the operations task.")
    redis_cli_image: types.Image = Field("public.ecr.aws/docker/library/redis:7-alpine", description="redis-cli of the operations task.")
    python_image: types.Image = Field(
        "public.ecr.aws/lambda/python:3.14", description="Lambda's Python, for backups and drills that are too large for a function."
    )
    signing_profile: Annotated[types.SigningProfile | None, Protective(given)] = Field(
        None, description="The AWS Signer profile whose signature a release requires; default: none."
    )
    backup_before_release: bool = Field(False, description="Back up the database before the migrations of a release.")
    migration_command: types.Entries[str] = Field(
        ("npx", "prisma", "migrate", "deploy"), min_length=1, description="Command of the migration task."
    )
    static_folder: types.ScratchPath = Field(
        "/app/.next/static", description="Folder of the image that is served as /_next/static; a release copies it to a bucket."
    )
