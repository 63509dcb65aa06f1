"""The migration task and the operations task in a small stack: images, commands, secrets and permissions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.service.one_off_tasks import MigrationTask, OperationsTask
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, network, settings, stack, template
from tests.constructs.service.conftest import MIRROR, connection, image, repository


def _built(**service: Any) -> Synthesized:
    small = stack()
    vpc, one = network(small), settings(service=service).service
    MigrationTask(
        small,
        "Migration",
        settings=one,
        network=vpc,
        image=image(small, **service),
        repository=repository(small),
        connection=connection(small, "MigrationConnection"),
    )
    OperationsTask(
        small,
        "Operations",
        settings=one,
        network=vpc,
        connection=connection(small),
        database={"PGHOST": "db.example.com", "PGPORT": "5432", "PGDATABASE": "carmen"},
        cache={"REDIS_HOST": "redis.example.com", "REDIS_PORT": "6379"},
    )
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def _containers(built: Synthesized, task: str) -> dict[str, dict[str, Any]]:
    definition = by_id(built.resources("AWS::ECS::TaskDefinition"), f"/{task}")["Properties"]
    return {container["Name"]: container for container in definition["ContainerDefinitions"]}


def _secrets(container: dict[str, Any]) -> dict[str, str]:
    return {secret["Name"]: json.dumps(secret["ValueFrom"]) for secret in container["Secrets"]}


def test_migration_runs_the_applications_image_as_the_owner(built: Synthesized) -> None:
    container = _containers(built, "MigrationTask")["migration"]
    assert container["Command"] == ["npx", "prisma", "migrate", "deploy"]
    assert container["Image"]["Fn::If"][1].startswith("public.ecr.aws/")
    assert container["User"] == "1001"
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    secrets = _secrets(container)
    assert secrets.keys() == {"DATABASE_URL", "DIRECT_URL"}
    assert all("secret:MigrationConnection" in source for source in secrets.values())


def test_operations_task_sleeps_an_hour_with_psql_and_redis_cli(built: Synthesized) -> None:
    containers = _containers(built, "OperationsTask")
    assert {name: (one["EntryPoint"], one["Command"]) for name, one in containers.items()} == {
        "psql": (["sleep"], ["3600"]),
        "redis": (["sleep"], ["3600"]),
    }
    assert {name: one["Essential"] for name, one in containers.items()} == {"psql": True, "redis": False}
    assert {name: set(_secrets(one)) for name, one in containers.items()} == {"psql": {"PGUSER", "PGPASSWORD"}, "redis": {"REDISCLI_AUTH"}}
    plain = {entry["Name"]: entry["Value"] for entry in containers["psql"]["Environment"]}
    assert plain == {"PGHOST": "db.example.com", "PGPORT": "5432", "PGDATABASE": "carmen", "PGSSLMODE": "require"}


def test_only_the_operations_task_allows_exec(built: Synthesized) -> None:
    policies = built.resources("AWS::IAM::Policy")
    with_exec = [name for name, policy in policies.items() if "ssmmessages" in json.dumps(policy)]
    assert [name[:23] for name in with_exec] == ["/OperationsTaskRoleDefa"]


def test_tasks_reach_only_https(built: Synthesized) -> None:
    groups = built.resources("AWS::EC2::SecurityGroup")
    for task in ("Migration", "Operations"):
        group = by_id(groups, f"/{task}SecurityGroup")["Properties"]
        assert "SecurityGroupIngress" not in group
        assert [(one["CidrIp"], one.get("ToPort")) for one in group["SecurityGroupEgress"]] == [("127.0.0.1/32", None), ("0.0.0.0/0", 443)]


def test_logs_are_kept_as_the_settings_say() -> None:
    groups = _built(log_retention_days=7).resources("AWS::Logs::LogGroup")
    for task in ("Migration", "Operations"):
        assert by_id(groups, f"/{task}LogGroup")["Properties"]["RetentionInDays"] == 7


def test_private_images_can_be_pulled() -> None:
    built = _built(**dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image"), MIRROR))
    for task in ("MigrationTask", "OperationsTask"):
        policy = json.dumps(by_id(built.resources("AWS::IAM::Policy"), f"/{task}ExecutionRole"))
        assert "ecr:us-east-1:123456789012:repository/mirror/node" in policy
