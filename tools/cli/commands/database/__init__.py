"""`./carmen database`: a psql session, the swap to a restored instance, a start outside working hours."""

from __future__ import annotations

import os
import shutil

import click
from botocore.exceptions import WaiterError

from tools.cli.commands.database.swap import swap_instance
from tools.cli.commands.database.working_hours import wake
from tools.cli.options import changes_environment, reads_environment
from tools.cli.terminal import on_ctrl_c, step
from tools.environment import Deployed, FailedError

START_SECONDS = 180


def open_shell(deployed: Deployed) -> None:
    """Start a task that ends by itself after an hour, and psql in it as the application; needs the AWS CLI's Session Manager plugin."""
    ecs, cluster = deployed.session.client("ecs"), deployed.output("Cluster")
    definition, network = deployed.output("OperationsTask"), deployed.network("OperationsSecurityGroup")
    step("starting a task")
    with on_ctrl_c(f"Stopping. A task may have started; it ends after an hour. `aws ecs list-tasks --cluster {cluster}` lists it."):
        started = ecs.run_task(
            cluster=cluster, taskDefinition=definition, launchType="FARGATE", enableExecuteCommand=True, networkConfiguration=network
        )
    if not started["tasks"]:
        raise FailedError(f"ECS started no task: {started['failures']}")
    task = str(started["tasks"][0]["taskArn"])
    end = f"aws ecs stop-task --cluster {cluster} --task {task}"
    try:
        with on_ctrl_c(f"The task continues in AWS and ends after an hour, or with: {end}"):
            ecs.get_waiter("tasks_running").wait(
                cluster=cluster, tasks=[task], WaiterConfig={"Delay": 2, "MaxAttempts": START_SECONDS // 2}
            )
    except WaiterError as error:
        (found,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        raise FailedError(f"The task did not start: {found.get('stoppedReason', found['lastStatus'])}") from error
    command = ["aws", "ecs", "execute-command", "--region", deployed.settings.region, "--cluster", cluster, "--task", task]
    command += ["--container", "psql", "--interactive", "--command", "psql"]
    print(f"End the task with: {end}", flush=True)
    if not (shutil.which("aws") and shutil.which("session-manager-plugin")):
        print(f"With the AWS CLI and its Session Manager plugin: {' '.join(command)}")
        return
    os.execvp(command[0], command)  # noqa: S606 (the terminal becomes the session's)


@click.group(name="database")
def group() -> None:
    """Open psql, swap to a restored instance, start a stopped database."""


@group.command("shell")
@reads_environment
def shell_command(deployed: Deployed) -> None:
    """Open psql in a task, without a bastion host.

    Logs in as the application. Needs the AWS CLI and its Session Manager plugin. The task ends by itself after an hour.

    \b
    Example:
      ./carmen database shell --env staging
    """
    open_shell(deployed)


@group.command("swap")
@click.argument("instance")
@changes_environment
def swap_command(deployed: Deployed, instance: str) -> None:
    """Let the application use a restored instance.

    Runbook: docs/runbooks/swap-to-a-restored-instance.md. Each step checks whether it was done: after a failure or Ctrl-C, the same
    command continues.

    \b
    Example:
      ./carmen database swap carmen-restored --env prod
    """
    swap_instance(deployed, instance)


@group.command("wake")
@changes_environment
def wake_command(deployed: Deployed) -> None:
    """Start database and tasks outside working hours.

    The next evening stops them.

    \b
    Example:
      ./carmen database wake --env dev
    """
    deployed.approve("the database and the tasks start, and run until the next evening", "wait until the evening: the schedule stops both")
    print(wake(deployed))
