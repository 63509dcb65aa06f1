from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.database.roles import DatabaseRoles
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import ExistingNetwork, allowed, cache, connections, database, schedules, secret, statements, variables

USERS = ("carmen_app_a", "carmen_app_b", "carmen_monitor_proxy")


def build(*, with_proxy: bool) -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    instance = database(one, network)
    users = {user: secret(one, user) for user in USERS}
    given = settings().database
    proxy = None
    if with_proxy:
        proxy = DatabaseProxy(one, "Proxy", settings=given.pool, network=network, database=instance, users=list(users.values()))
    DatabaseRoles(
        one,
        "Roles",
        settings=given,
        network=network,
        database=instance,
        proxy=proxy,
        cache=cache(one, network),
        users=users,
        libraries=libraries(one),
        alerting=alerting(),
    )
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build(with_proxy=True)


def test_connection_secrets_are_created_without_a_value(built: Synthesized) -> None:
    secrets = built.resources("AWS::SecretsManager::Secret")
    for part in ("RolesConnection", "RolesMigrationConnection"):
        properties = by_id(secrets, f"/{part}")["Properties"]
        assert not {"SecretString", "GenerateSecretString"} & set(properties)


def test_function_knows_each_server_and_secret(built: Synthesized) -> None:
    given = variables(built, "RolesFunction")
    references = {
        "DATABASE_HOST": "DatabaseInstance",
        "DATABASE_PORT": "DatabaseInstance",
        "REDIS_HOST": "CacheRedis",
        "REDIS_PORT": "CacheRedis",
        "PROXY_HOST": "Proxy",
        "MASTER_SECRET": "TestDatabaseInstanceSecret",
        "REDIS_SECRET": "CacheAuthToken",
        "CONNECTION_SECRET": "RolesConnection",
        "MIGRATION_SECRET": "RolesMigrationConnection",
    }
    assert {name: _target(given[name]).startswith(part) for name, part in references.items()} == dict.fromkeys(references, True)
    users = json.loads(_text(given["USER_SECRETS"]))
    assert {name: arn.split(":secret:")[1].rpartition("-")[0] for name, arn in users.items()} == {name: name for name in USERS}
    pool = (given["CONNECTION_LIMIT"], given["POOL_TIMEOUT_SECONDS"], given["POOL_IDLE_SECONDS"])
    assert (given["DATABASE_NAME"], pool) == ("carmen", ("20", "2", "30"))


def test_proxy_host_is_empty_without_a_proxy() -> None:
    assert variables(build(with_proxy=False), "RolesFunction")["PROXY_HOST"] == ""


def test_roles_are_applied_when_code_or_variables_change(built: Synthesized) -> None:
    properties = only(built.resources("Custom::DatabaseRoles"))
    assert len(properties["Specification"]) == 32
    assert properties["ServiceTimeout"] == "600"
    given = variables(built, "RolesFunction")
    assert {name: given[name] for name in properties.keys() & given.keys()} == {
        name: value for name, value in properties.items() if name not in ("ServiceToken", "ServiceTimeout", "Specification")
    }


def test_roles_are_applied_after_permissions_and_network_rules(built: Synthesized) -> None:
    (resource,) = built.resources("Custom::DatabaseRoles").values()
    assert any("DefaultPolicy" in name for name in resource["DependsOn"])
    assert any("toTestDatabaseSecurityGroup" in name for name in resource["DependsOn"])


def test_roles_are_corrected_daily(built: Synthesized) -> None:
    ((expression, _),) = schedules(built).values()
    assert expression == "cron(30 0 * * ? *)"
    schedule = only(built.resources("AWS::Scheduler::Schedule"))
    assert schedule["ScheduleExpressionTimezone"] == "Etc/UTC"
    assert "DeadLetterConfig" in schedule["Target"]


def test_function_writes_two_secrets_and_reads_the_others(built: Synthesized) -> None:
    assert len(allowed(built, "RolesFunctionRole", "secretsmanager:PutSecretValue")["Resource"]) == 2
    assert len(allowed(built, "RolesFunctionRole", "secretsmanager:GetSecretValue")["Resource"]) == 7
    assert [s["Sid"] for s in statements(built, "RolesFunctionRole") if s["Resource"] == "*"] == [
        "DescribeNetworkInterfacesAndSubnets",
        "DenyNetworkInterfacesToFunctionCode",
    ]


def test_function_may_log_in_as_the_master_only(built: Synthesized) -> None:
    resource = allowed(built, "RolesFunctionRole", "rds-db:connect")["Resource"]
    assert _text(resource).endswith("/carmen_admin")
    assert any(
        _target(part).startswith("DatabaseInstance") for part in resource["Fn::Join"][1] if isinstance(part, dict) and "Fn::GetAtt" in part
    )


def test_function_connects_to_the_instance(built: Synthesized) -> None:
    assert {(server, port) for client, server, port in connections(built) if client == "RolesFunction"} == {("Database", 5432)}


def _target(reference: dict[str, Any]) -> str:
    return str(reference.get("Ref") or reference["Fn::GetAtt"][0])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(part if isinstance(part, str) else "" for part in value["Fn::Join"][1])
