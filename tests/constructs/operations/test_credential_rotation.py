from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import aws_ecs as ecs

from constructs_lib.compute.fargate import fargate_task
from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.database.roles import DatabaseRoles
from constructs_lib.operations.credential_rotation import CredentialRotation
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import (
    ExistingNetwork,
    allowed,
    cache,
    cluster,
    connections,
    database,
    schedules,
    secret,
    statements,
    variables,
)

USERS = ("carmen_app_a", "carmen_app_b")


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one, given = stack(), settings()
    network = ExistingNetwork(one)
    instance, redis, running = database(one, network), cache(one, network), cluster(one, network)
    users = {user: secret(one, user) for user in USERS}
    layer = libraries(one)
    proxy = DatabaseProxy(
        one,
        "Proxy",
        settings=given.database.pool,
        network=network,
        database=instance,
        users=list(users.values()),
    )
    task = fargate_task(one, "Migration", settings=given.service, cpu=256, memory_mib=512)
    task.add_container("Container", image=ecs.ContainerImage.from_registry("example"))
    CredentialRotation(
        one,
        "Rotation",
        settings=given.operations,
        network=network,
        database=instance,
        proxy=proxy,
        cache=redis,
        roles=DatabaseRoles(
            one,
            "Roles",
            settings=given.database,
            network=network,
            database=instance,
            proxy=proxy,
            cache=redis,
            users=users,
            libraries=layer,
            alerting=alerting(),
        ),
        application_users=users,
        cluster=running,
        service=ecs.FargateService(one, "Web", cluster=running, task_definition=task),
        migration=task,
        environment={"ENVIRONMENT": "prod"},
        alerting=alerting(),
        libraries=layer,
    )
    return template(one)


@pytest.fixture(scope="module")
def by_sid(built: Synthesized) -> dict[str, dict[str, Any]]:
    return {one.get("Sid", ""): one for one in statements(built, "RotationFunctionRole")}


def test_function_knows_what_to_rotate_and_when(built: Synthesized) -> None:
    given = variables(built, "RotationFunction")
    assert given["ROTATE_AFTER_DAYS"] == '{"application": 30, "owner": 90, "redis": 90}'
    users = json.loads(given["APPLICATION_SECRETS"])
    assert {name: arn.split(":secret:")[1].rpartition("-")[0] for name, arn in users.items()} == {user: user for user in USERS}
    references = {
        "PROXY_HOST": "Proxy",
        "REDIS_HOST": "CacheRedis",
        "REPLICATION_GROUP": "CacheRedis",
        "REDIS_SECRET": "CacheAuthToken",
        "CONNECTION_SECRET": "RolesConnection",
        "MIGRATION_SECRET": "RolesMigrationConnection",
        "CLUSTER": "Cluster",
        "SERVICE": "WebService",
    }
    assert {name: _target(given[name]).startswith(part) for name, part in references.items()} == dict.fromkeys(references, True)
    assert given["MIGRATION_FAMILY"]


def test_rotation_runs_daily_and_measures_ages(built: Synthesized) -> None:
    found = {name: one for name, one in schedules(built).items() if name.startswith("Rotation")}
    assert {name: expression for name, (expression, _) in found.items()} == {
        "RotationDaily": "cron(0 10 * * ? *)",
        "RotationMeasureAges": "cron(5/15 * * * ? *)",
    }
    assert '"action":"ages"' in found["RotationMeasureAges"][1]


def test_function_connects_to_each_server(built: Synthesized) -> None:
    servers = {(server, port) for client, server, port in connections(built) if client == "RotationFunction"}
    assert servers == {("Database", 5432), ("Proxy", 5432), ("Cache", 6379)}


def test_function_reads_and_writes_its_secrets(by_sid: dict[str, dict[str, Any]]) -> None:
    assert by_sid["ReadAndWriteSecretValues"]["Action"] == [
        f"secretsmanager:{name}" for name in ("DescribeSecret", "GetSecretValue", "PutSecretValue")
    ]
    assert len(by_sid["ReadAndWriteSecretValues"]["Resource"]) == 5  # two users, two connections, the token
    stages = by_sid["MoveRedisTokenStages"]
    assert (stages["Action"], _target(stages["Resource"])[:14]) == ("secretsmanager:UpdateSecretVersionStage", "CacheAuthToken")


def test_function_may_restart_the_service_and_change_the_token(built: Synthesized, by_sid: dict[str, dict[str, Any]]) -> None:
    restart = allowed(built, "RotationFunctionRole", "ecs:UpdateService")
    assert (restart["Action"], _target(restart["Resource"])[:10]) == (["ecs:DescribeServices", "ecs:UpdateService"], "WebService")
    assert ":task/" in str(by_sid["DescribeTasks"]["Resource"])
    assert by_sid["ListTasks"]["Resource"] == "*"
    assert _target(by_sid["ListTasks"]["Condition"]["ArnEquals"]["ecs:cluster"])[:7] == "Cluster"
    token = by_sid["ModifyRedisReplicationGroup"]
    assert (token["Action"], ":replicationgroup:" in str(token["Resource"])) == ("elasticache:ModifyReplicationGroup", True)


def _target(reference: dict[str, Any]) -> str:
    return str(reference.get("Ref") or reference["Fn::GetAtt"][0])
