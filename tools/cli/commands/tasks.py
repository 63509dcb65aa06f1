"""`./carmen tasks`: restart the application's tasks, change how many run."""

from __future__ import annotations

import click

from tools.cli.commands.database.working_hours import current_scaling, expect_awake, set_tasks
from tools.cli.options import changes_environment
from tools.environment import Deployed

MOST_TASKS = 100


def restart_tasks(deployed: Deployed) -> None:
    """Replace all tasks one after the other: no request is lost."""
    cluster, service = deployed.output("Cluster"), deployed.output("Service")
    deployed.approve(f"new tasks replace all tasks of {service}, with the same image", "not needed: image and settings stay")
    deployed.session.client("ecs").update_service(cluster=cluster, service=service, forceNewDeployment=True)
    print(f"{service} is being restarted. Wait for the end: aws ecs wait services-stable --cluster {cluster} --services {service}")


def scale(deployed: Deployed, asked: int | None = None) -> None:
    """Set the minimum number of tasks; without a number, to what the settings say."""
    settings, environment = deployed.settings.service, deployed.settings.name
    least = asked or settings.min_tasks
    most = max(settings.max_tasks, least)
    pool = deployed.settings.database.pool
    expect_awake(deployed)
    before = current_scaling(deployed)
    earlier = f" {before[0]}" if before[0] not in (0, settings.min_tasks) else ""
    undo = f"./carmen tasks scale{earlier} --env {environment}"
    deployed.approve(f"from {before[0]} to {before[1]} tasks now → from {least} to {most} tasks", undo)
    set_tasks(deployed, least, most)
    print(f"From {least} to {most} tasks." + (f" Undo: `{undo}`. To keep it: [service] min_tasks." if asked else ""))
    if asked and deployed.settings.working_hours:
        print("The next morning restores the settings' numbers.")
    if most > settings.max_tasks:
        print(
            f"This is more than the database's connections are sized for ({settings.max_tasks} tasks × {pool.connections_per_task}): "
            "watch them on the dashboard."
        )


@click.group(name="tasks")
def group() -> None:
    """Restart the application's tasks, change how many run."""


@group.command("restart")
@changes_environment
def restart_command(deployed: Deployed) -> None:
    """Replace all tasks, without lost requests.

    \b
    Example:
      ./carmen tasks restart --env prod
    """
    restart_tasks(deployed)


@group.command("scale")
@click.argument("number", type=click.IntRange(1, MOST_TASKS), required=False)
@changes_environment
def scale_command(deployed: Deployed, number: int | None) -> None:
    """Set the minimum number of tasks.

    Without NUMBER, it becomes [service] min_tasks of the settings again.

    \b
    Example:
      ./carmen tasks scale 4 --env prod
    """
    scale(deployed, number)
