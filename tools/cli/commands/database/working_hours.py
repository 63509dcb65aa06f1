"""Working hours of a database: check them, and start database and tasks outside of them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tools.cli.terminal import on_ctrl_c, step
from tools.environment import Deployed, FailedError, NotDeployedError, RefusedError

WAIT = {"Delay": 15, "MaxAttempts": 80}  # twenty minutes; a start takes about ten
DENIED = {"AccessDenied", "AccessDeniedException"}


def expect_awake(deployed: Deployed) -> None:
    """Raise RefusedError while the database is stopped. Without permission to read its state: pass; the next call gets the same error."""
    hours, name = deployed.settings.working_hours, deployed.settings.name
    if hours is None:
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
        raise RefusedError(
            f"The database of {name} is {status}: its working hours are {', '.join(hours.days)} from {hours.starts} to {hours.ends} "
            f"{hours.time_zone}. `./carmen database wake --env {name}` starts it until the next evening."
        )


def expect_deployable(deployed: Deployed) -> None:
    """Raise RefusedError for an environment that `./carmen deploy` cannot, or must not, deploy now."""
    if name := deployed.settings.preview:
        raise RefusedError(f"{deployed.settings.name} is a preview and needs a last day: `./carmen preview up {name}` deploys it.")
    expect_awake(deployed)


def wake(deployed: Deployed) -> str:
    """Start the database and let tasks run as the settings say; the next evening stops both. Returns what was done.

    Raises RefusedError for an environment without working hours.
    """
    name = deployed.settings.name
    if deployed.settings.working_hours is None:
        raise RefusedError(f"{name} has no [working_hours]: it is never stopped.")
    instance, status = _database(deployed)
    rds = deployed.session.client("rds")
    again = f"run `./carmen database wake --env {name}` again"
    if status == "stopping":
        raise RefusedError(f"{instance} is stopping. Wait some minutes until it has stopped, then {again}.")
    if status == "stopped":
        rds.start_db_instance(DBInstanceIdentifier=instance)
    step(f"waiting for {instance}, about ten minutes")
    try:
        with on_ctrl_c(f"The start of {instance} continues in AWS. For the tasks, {again}."):
            rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=instance, WaiterConfig=WAIT)
    except WaiterError as error:
        raise FailedError(f"{instance} was started but is not available yet ({error}): {again}.") from error
    service = deployed.settings.service
    set_tasks(deployed, service.min_tasks, service.max_tasks)
    return f"{instance} is available, and {service.min_tasks} to {service.max_tasks} tasks run, until the next evening."


def current_scaling(deployed: Deployed) -> tuple[int, int]:
    """The minimum and maximum number of tasks of autoscaling now."""
    targets = deployed.session.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[_service_id(deployed)], ScalableDimension="ecs:service:DesiredCount"
    )["ScalableTargets"]
    return (targets[0]["MinCapacity"], targets[0]["MaxCapacity"]) if targets else (0, 0)


def set_tasks(deployed: Deployed, least: int, most: int) -> None:
    """Set how many tasks autoscaling keeps, until the next change or schedule."""
    set_scaling(deployed, MinCapacity=least, MaxCapacity=most)


def set_scaling(deployed: Deployed, **changes: Any) -> None:
    """Change the service's scalable target; other fields stay (Application Auto Scaling API, RegisterScalableTarget)."""
    deployed.session.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=_service_id(deployed),
        **changes,
    )


def _service_id(deployed: Deployed) -> str:
    return f"service/{deployed.output('Cluster')}/{deployed.output('Service')}"


def _database(deployed: Deployed) -> tuple[str, str]:
    """Identifier and status, such as `available` or `stopped`."""
    instance = deployed.resource("Data", "AWS::RDS::DBInstance")
    (found,) = deployed.session.client("rds").describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    return instance, str(found["DBInstanceStatus"])
