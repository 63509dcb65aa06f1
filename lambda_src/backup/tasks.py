"""Handing a backup over to a Fargate task, which has no end after fifteen minutes and runs the same code."""

from __future__ import annotations

from backup.settings import Settings

TIME_VARIABLE = "BACKUP_SCHEDULED_TIME"


class HandOverError(Exception):
    """The task could not be started: there is no backup of this time yet."""


def hand_over(settings: Settings, stamp: str, scheduled_time: str, why: str) -> str:
    """Starts the task for this time and returns its ARN; the same time starts one task only, however often it is asked for."""
    import boto3

    if settings.task is None:
        raise HandOverError(
            f"This backup does not fit a function ({why}), and no task is set to take it over: set BACKUP_TASK_DEFINITION, "
            "BACKUP_TASK_CLUSTER, BACKUP_TASK_SUBNETS and BACKUP_TASK_SECURITY_GROUPS, or run `python -m backup` where there is time."
        )
    task = settings.task
    answer = boto3.client("ecs").run_task(
        cluster=task.cluster,
        taskDefinition=task.definition,
        launchType="FARGATE",
        count=1,
        clientToken=f"backup-{stamp}",
        startedBy=f"backup-{stamp}",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": list(task.subnets),
                "securityGroups": list(task.security_groups),
                "assignPublicIp": "DISABLED",
            }
        },
        overrides={"containerOverrides": [{"name": task.container, "environment": [{"name": TIME_VARIABLE, "value": scheduled_time}]}]},
    )
    if answer.get("failures") or not answer.get("tasks"):
        reasons = "; ".join(f"{failure.get('reason')} {failure.get('detail', '')}".strip() for failure in answer.get("failures", []))
        raise HandOverError(f"This backup does not fit a function ({why}), and ECS started no task for it: {reasons or 'no reason given'}")
    arn: str = answer["tasks"][0]["taskArn"]
    return arn
