"""The tasks that hold the application's credentials, and the roll that gives them new ones.

A task reads its secrets once, when it starts: what it holds is told by when it was created.
Source: AWS "Passing sensitive data to an ECS container"; ECS API (`createdAt`, `lastStatus`, `rolloutState`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# ECS and Secrets Manager each have a clock. A task created this soon after a change may still hold the old value, and a
# roll begins late enough that none of its tasks is doubted.
CLOCK_SKEW = timedelta(seconds=5)
POLL_SECONDS = 5.0
_PAGE = 100  # DescribeTasks takes so many


class RollFailed(Exception):
    """ECS ended a roll and old tasks still run. Their login stays valid: nothing fails, and nothing rotates on."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One ECS service and everything else that runs in its cluster."""

    ecs: Any
    cluster: str
    name: str

    def stale(self, changed: datetime) -> list[dict[str, Any]]:
        """Tasks that may hold what was there before `changed` and have not ended: draining ones and people's shells too."""
        return [task for task in self._tasks() if task["createdAt"] < changed + CLOCK_SKEW]

    def running(self, family: str) -> bool:
        """Whether a task of this family has not ended."""
        return any(f"/{family}:" in task["taskDefinitionArn"] for task in self._tasks())

    def roll_until_fresh(self, changed: datetime, deadline: float) -> list[str]:
        """Rolls the service unless that is done; returns the tasks that are still stale at the deadline (time.monotonic()).

        A roll that is under way is awaited and not repeated. Raises RollFailed when ECS ended the roll without replacing
        every task. Tasks outside the service cannot be rolled: they end by themselves, and are not waited for.
        """
        rolled = False
        while stale := self.stale(changed):
            ours = [task for task in stale if task.get("group") == f"service:{self.name}"]
            if not ours:
                break
            if any(task["desiredStatus"] == "RUNNING" for task in ours) and not self.is_rolling():
                if rolled:
                    raise RollFailed(
                        f"the roll of {self.name} has ended and {len(ours)} old tasks still run: ECS rolled it back, see the "
                        "service's events. They keep a login that works; the next run tries again"
                    )
                self._roll(changed)
                rolled = True
            elif time.monotonic() + POLL_SECONDS > deadline:
                break
            time.sleep(POLL_SECONDS)
        return [str(task["taskArn"]).rsplit("/", 1)[-1] for task in stale]

    def is_rolling(self) -> bool:
        """Whether a deployment is under way, whoever began it."""
        found = self.ecs.describe_services(cluster=self.cluster, services=[self.name])["services"]
        if not found:
            raise LookupError(f"there is no service {self.name} in cluster {self.cluster}")
        return any(deployment.get("rolloutState") == "IN_PROGRESS" for deployment in found[0]["deployments"])

    def _roll(self, changed: datetime) -> None:
        time.sleep(max(0.0, (changed + 2 * CLOCK_SKEW - datetime.now(UTC)).total_seconds()))
        self.ecs.update_service(cluster=self.cluster, service=self.name, forceNewDeployment=True)

    def _tasks(self) -> list[dict[str, Any]]:
        """All that have not ended. A task that drains wants to be STOPPED and still serves."""
        pages = self.ecs.get_paginator("list_tasks")
        arns = [
            arn
            for desired in ("RUNNING", "STOPPED")
            for page in pages.paginate(cluster=self.cluster, desiredStatus=desired)
            for arn in page["taskArns"]
        ]
        tasks = [
            task
            for start in range(0, len(arns), _PAGE)
            for task in self.ecs.describe_tasks(cluster=self.cluster, tasks=arns[start : start + _PAGE])["tasks"]
        ]
        return [task for task in tasks if task["lastStatus"] != "STOPPED"]
