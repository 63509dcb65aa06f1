"""Working hours, when people keep others: `make wake ENV=dev` starts database and tasks until the next evening.

`python -m tools.cli.commands.wake expect` says whether ENV can be deployed to now, and what to do if not.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tools.environment import Deployed, NotDeployedError, RefusedError, run

WAIT = {"Delay": 15, "MaxAttempts": 80}  # a start takes ten minutes or so; twenty
DENIED = {"AccessDenied", "AccessDeniedException"}


def expect_awake(deployed: Deployed) -> None:
    """RefusedError while the database is stopped. Who may not look is let through: what comes next says the same in its own words."""
    if deployed.settings.working_hours is None:
        return
    try:
        _, status = _database(deployed)
    except NotDeployedError:
        return
    except ClientError as error:
        if error.response["Error"]["Code"] in DENIED:
            return
        raise
    if status in ("stopped", "stopping", "starting"):
        hours, name = deployed.settings.working_hours, deployed.settings.name
        raise RefusedError(
            f"The database of {name} is {status}: it works {', '.join(hours.days)} from {hours.starts} to {hours.ends} {hours.time_zone}. "
            f"`make wake ENV={name}` starts it until the next evening."
        )


def wake(deployed: Deployed) -> str:
    """Starts the database, waits for it, and lets tasks run as the settings say; the next evening stops both. Returns what was done.

    RefusedError for an environment that never sleeps.
    """
    if deployed.settings.working_hours is None:
        raise RefusedError(f"{deployed.settings.name} has no [working_hours], and never sleeps.")
    instance, status = _database(deployed)
    rds = deployed.session.client("rds")
    if status == "stopping":
        raise RefusedError(f"{instance} is stopping, and can be started when it has stopped: try again in some minutes.")
    if status == "stopped":
        rds.start_db_instance(DBInstanceIdentifier=instance)
    try:
        rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=instance, WaiterConfig=WAIT)
    except WaiterError as error:
        raise RefusedError(f"{instance} was told to start, and is not available yet ({error}): look again with `make wake`.") from error
    service = deployed.settings.service
    set_tasks(deployed, service.min_tasks, service.max_tasks)
    return f"{instance} is available, and {service.min_tasks} to {service.max_tasks} tasks run, until the next evening."


def set_tasks(deployed: Deployed, least: int, most: int) -> None:
    """How many tasks autoscaling keeps, until somebody or a schedule says otherwise."""
    set_scaling(deployed, MinCapacity=least, MaxCapacity=most)


def set_scaling(deployed: Deployed, **changes: Any) -> None:
    """Changes of the service's scalable target; what is not named stays (Application Auto Scaling API, RegisterScalableTarget)."""
    deployed.session.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=f"service/{deployed.output('Cluster')}/{deployed.output('Service')}",
        **changes,
    )


def expect_deployable(deployed: Deployed) -> None:
    """RefusedError for what `make deploy` cannot, or must not, deploy now."""
    if name := deployed.settings.preview:
        raise RefusedError(f"{deployed.settings.name} is a preview, which has a last day: `make preview NAME={name}` deploys it.")
    expect_awake(deployed)


def _database(deployed: Deployed) -> tuple[str, str]:
    """Identifier and status, such as `available` or `stopped`."""
    instance = deployed.resource("Data", "AWS::RDS::DBInstance")
    (found,) = deployed.session.client("rds").describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    return instance, str(found["DBInstanceStatus"])


def main(arguments: list[str]) -> int:
    """`expect`, for ENV; without working hours nothing is asked of AWS."""
    assert arguments == ["expect"]
    return run(os.environ.get("ENV", "prod"), expect_deployable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
