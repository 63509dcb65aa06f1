"""Hand work that does not fit a function over to a Fargate task: the same code without the limit of 15 minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import aws


class HandOverError(Exception):
    """The task did not start, so the work is not done."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task to start, and its network."""

    cluster: str
    definition: str
    container: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]

    @classmethod
    def from_environment(cls, purpose: str, environment: Mapping[str, str]) -> Task | None:
        """The task in `<PURPOSE>_TASK_…`; None without a definition."""
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
    """Start the task and return its ARN. A second call with the same `stamp` starts no second task."""
    if task is None:
        prefix = f"{purpose.upper()}_TASK_"
        raise HandOverError(
            f"This {purpose} does not fit a function ({why}), and no Fargate task is configured: set {prefix}DEFINITION, {prefix}CLUSTER, "
            f"{prefix}SUBNETS and {prefix}SECURITY_GROUPS, or run `python -m {purpose}` on a larger machine."
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
