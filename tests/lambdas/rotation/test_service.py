"""The roll with the embedded AWS's ECS, which must behave like the fake of the other tests."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from rotation import service
from rotation.service import Service

from tests.lambdas.rotation.fakes import unique


@pytest.fixture
def ecs(aws: str) -> Any:
    return boto3.client("ecs")


@pytest.fixture
def rolled(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service with two tasks, and a second task definition."""
    monkeypatch.setattr(service, "CLOCK_SKEW", timedelta(seconds=1))
    monkeypatch.setattr(service, "POLL_SECONDS", 0.1)
    cluster = unique("c")
    ecs.create_cluster(clusterName=cluster)
    for family in ("carmen", "carmen-operations"):
        container = {"name": "carmen", "image": "public.ecr.aws/docker/library/node:24", "essential": True}
        ecs.register_task_definition(family=family, containerDefinitions=[container])
    ecs.create_service(cluster=cluster, serviceName="carmen", taskDefinition="carmen", desiredCount=2)
    return Service(ecs=ecs, cluster=cluster, name="carmen")


def test_roll_replaces_only_the_services_tasks(ecs: Any, rolled: Service) -> None:
    (shell,) = ecs.run_task(cluster=rolled.cluster, taskDefinition="carmen-operations")["tasks"]
    assert rolled.running("carmen-operations")
    assert not rolled.running("carmen-migration")
    changed = datetime.now(UTC)
    before = rolled.stale(changed)
    assert len(before) == 3
    left = rolled.roll_until_fresh(changed, time.monotonic() + 60, nullcontext)
    assert left == [shell["taskArn"].rsplit("/", 1)[-1]]
    assert not rolled.is_rolling()
    old = {task["taskArn"] for task in before}
    running = {arn for page in ecs.get_paginator("list_tasks").paginate(cluster=rolled.cluster) for arn in page["taskArns"]}
    assert len(running - old) == 2
    assert running & old == {shell["taskArn"]}
    ecs.stop_task(cluster=rolled.cluster, task=shell["taskArn"])
    assert rolled.roll_until_fresh(changed, time.monotonic() + 60, nullcontext) == []


class EndingRoll:
    """ECS, whose roll ends when the service is described: after the old task was listed."""

    ended = False

    def get_paginator(self, _: str) -> EndingRoll:
        return self

    def paginate(self, desiredStatus: str, **_: str) -> list[dict[str, list[str]]]:
        return [{"taskArns": [] if self.ended or desiredStatus == "STOPPED" else ["task/c/1"]}]

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        old = {"taskArn": "task/c/1", "group": "service:carmen", "desiredStatus": "RUNNING", "lastStatus": "RUNNING"}
        return {"tasks": [{**old, "createdAt": datetime(2026, 11, 1, tzinfo=UTC)}]}

    def describe_services(self, **_: Any) -> dict[str, Any]:
        self.ended = True
        return {"services": [{"deployments": [{"rolloutState": "COMPLETED"}]}]}

    def update_service(self, **_: Any) -> None:
        raise AssertionError("the roll was repeated")


def test_roll_that_ends_between_two_calls_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "POLL_SECONDS", 0)
    ended = Service(ecs=EndingRoll(), cluster="c", name="carmen")
    assert ended.roll_until_fresh(datetime(2026, 11, 2, tzinfo=UTC), time.monotonic() + 60, nullcontext) == []


def test_missing_service_is_named(rolled: Service) -> None:
    with pytest.raises(LookupError, match=f"no service nowhere in cluster {rolled.cluster}"):
        Service(ecs=rolled.ecs, cluster=rolled.cluster, name="nowhere").is_rolling()
