"""Handing over to a Fargate task what does not fit a function: the same code, without an end after fifteen minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import aws


class HandOverError(Exception):
    """The task could not be started: nobody does the work."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is started, and where."""

    cluster: str
    definition: str
    container: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]

    @classmethod
    def from_environment(cls, purpose: str, environment: Mapping[str, str]) -> Task | None:
        """From `<PURPOSE>_TASK_…`; None when no definition is set."""
        prefix = f"{purpose.upper()}_TASK_"
        if not environment.get(f"{prefix}DEFINITION"):
            return None
        return cls(
            cluster=environment[f"{prefix}CLUSTER"],
            definition=environment[f"{prefix}DEFINITION"],
            container=environment.get(f"{prefix}CONTAINER", purpose),
            subnets=tuple(environment[f"{prefix}SUBNETS"].split(",")),
            security_groups=tuple(environment[f"{prefix}SECURITY_GROUPS"].split(",")),
        )


def hand_over(task: Task | None, purpose: str, stamp: str, variables: Mapping[str, str], why: str) -> str:
    """Starts the task for this time and returns its ARN; the same time starts one task only, however often it is asked for."""
    if task is None:
        prefix = f"{purpose.upper()}_TASK_"
        raise HandOverError(
            f"This {purpose} does not fit a function ({why}), and no task is set to take it over: set {prefix}DEFINITION, {prefix}CLUSTER, "
            f"{prefix}SUBNETS and {prefix}SECURITY_GROUPS, or run `python -m {purpose}` where there is room and time."
        )
    answer = aws.client("ecs").run_task(
        cluster=task.cluster,
        taskDefinition=task.definition,
        launchType="FARGATE",
        count=1,
        clientToken=f"{purpose}-{stamp}",
        startedBy=f"{purpose}-{stamp}",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": list(task.subnets),
                "securityGroups": list(task.security_groups),
                "assignPublicIp": "DISABLED",
            }
        },
        overrides={
            "containerOverrides": [
                {"name": task.container, "environment": [{"name": name, "value": value} for name, value in variables.items()]}
            ]
        },
    )
    if answer.get("failures") or not answer.get("tasks"):
        reasons = "; ".join(f"{failure.get('reason')} {failure.get('detail', '')}".strip() for failure in answer.get("failures", []))
        raise HandOverError(f"This {purpose} does not fit a function ({why}), and ECS started no task: {reasons or 'no reason given'}")
    arn: str = answer["tasks"][0]["taskArn"]
    return arn
