"""Tasks with the application's credentials, and the roll that replaces them.

A task reads its secrets once, at its start, so its creation time shows which values it has.
Source: AWS "Passing sensitive data to an ECS container"; ECS API (`createdAt`, `lastStatus`, `rolloutState`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# ECS's and Secrets Manager's clocks may differ. A task created this soon after a change may have the old value, and a roll starts late
# enough that its tasks certainly have the new one.
CLOCK_SKEW = timedelta(seconds=5)
POLL_SECONDS = 5.0
_PAGE = 100  # DescribeTasks's limit


class RollFailed(Exception):
    """ECS ended a roll, but old tasks still run. Their login stays valid, and the rotation stops."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One ECS service, and all other tasks of its cluster."""

    ecs: Any
    cluster: str
    name: str

    def stale(self, changed: datetime) -> list[dict[str, Any]]:
        """Running tasks that may have values from before `changed`, including draining tasks and people's shells."""
        return [task for task in self._tasks() if task["createdAt"] < changed + CLOCK_SKEW]

    def running(self, family: str) -> bool:
        """Whether a task of this family runs."""
        return any(f"/{family}:" in task["taskDefinitionArn"] for task in self._tasks())

    def roll_until_fresh(self, changed: datetime, deadline: float, lock: Callable[[], AbstractContextManager[None]]) -> list[str]:
        """Roll the service if needed. Return the tasks that are still stale at the deadline (time.monotonic()).

        Waits for a roll in progress and does not repeat it: a roll starts under the `lock`, so that concurrent runs start one.
        Raises RollFailed if ECS ended the roll without replacing every task. Does not wait for tasks outside the service: they end by
        themselves.
        """
        rolled = False
        while stale := self.stale(changed):
            if not any(self._is_ours(task) for task in stale):
                break
            if left := self._left_behind(changed):
                if rolled:
                    raise RollFailed(
                        f"The roll of service {self.name} has ended and {len(left)} old tasks still run: ECS rolled it back. Read the "
                        "service's events. The old tasks' login still works. The next run tries again."
                    )
                rolled = self._roll(changed, lock)
                continue
            if time.monotonic() + POLL_SECONDS > deadline:
                break
            time.sleep(POLL_SECONDS)
        return [str(task["taskArn"]).rsplit("/", 1)[-1] for task in stale]

    def is_rolling(self) -> bool:
        """Whether any deployment is in progress."""
        found = self.ecs.describe_services(cluster=self.cluster, services=[self.name])["services"]
        if not found:
            raise LookupError(f"there is no service {self.name} in cluster {self.cluster}")
        return any(deployment.get("rolloutState") == "IN_PROGRESS" for deployment in found[0]["deployments"])

    def _roll(self, changed: datetime, lock: Callable[[], AbstractContextManager[None]]) -> bool:
        """Start a roll unless another run has started it meanwhile: a second UpdateService would replace the new tasks too.

        Keeps the lock until other runs see the roll: "The Amazon ECS API follows an eventual consistency model" (ECS API, RunTask).
        """
        time.sleep(max(0.0, (changed + 2 * CLOCK_SKEW - datetime.now(UTC)).total_seconds()))
        with lock():
            if not self._left_behind(changed):
                return False
            self.ecs.update_service(cluster=self.cluster, service=self.name, forceNewDeployment=True)
            time.sleep(POLL_SECONDS)
            return True

    def _left_behind(self, changed: datetime) -> list[dict[str, Any]]:
        """The service's stale tasks that no deployment replaces. Draining tasks end by themselves."""
        if self.is_rolling():  # asked first: a deployment that ends between the two calls has replaced its tasks
            return []
        return [task for task in self.stale(changed) if self._is_ours(task) and task["desiredStatus"] == "RUNNING"]

    def _is_ours(self, task: dict[str, Any]) -> bool:
        return bool(task.get("group") == f"service:{self.name}")

    def _tasks(self) -> list[dict[str, Any]]:
        """All tasks that have not ended. A draining task has desiredStatus STOPPED and still serves requests."""
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
