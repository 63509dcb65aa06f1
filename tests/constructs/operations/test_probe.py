from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.operations.probe import Probe
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template
from tests.constructs.neighbours import (
    ExistingNetwork,
    allowed,
    bucket,
    cache,
    connections,
    database,
    key,
    schedules,
    secret,
    statements,
    variables,
)


def build(*, with_proxy: bool) -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    instance, monitor = database(one, network), secret(one, "carmen_monitor_proxy")
    pool = settings().database.pool
    Probe(
        one,
        "Probe",
        network=network,
        database=instance,
        proxy=DatabaseProxy(one, "Proxy", settings=pool, network=network, database=instance, users=[monitor]) if with_proxy else None,
        cache=cache(one, network),
        monitor=monitor,
        bucket=bucket(one),
        key=key(one),
        environment={"DATABASE_HOST": "database.example.com"},
        alerting=alerting(),
        libraries=libraries(one),
    )
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build(with_proxy=True)


@pytest.fixture(scope="module")
def without_proxy() -> Synthesized:
    return build(with_proxy=False)


def test_run_ends_before_the_next_one_starts(built: Synthesized) -> None:
    assert by_id(built.resources("AWS::Lambda::Function"), "/ProbeFunction")["Properties"]["Timeout"] == 50
    found = schedules(built)
    assert {name: expression for name, (expression, _) in found.items()} == {
        "ProbeMinutely": "cron(* * * * ? *)",
        "ProbeMeasureAges": "cron(5/15 * * * ? *)",
    }
    assert ['"action":"ages"' in found[name][1] for name in ("ProbeMinutely", "ProbeMeasureAges")] == [False, True]


def test_alarm_tolerates_two_failed_runs_of_five(built: Synthesized) -> None:
    alarm = by_id(built.resources("AWS::CloudWatch::Alarm"), "/ProbeFunctionFailing")["Properties"]
    assert alarm["Threshold"] == 3


def test_function_knows_each_server_and_secret(built: Synthesized, without_proxy: Synthesized) -> None:
    given = variables(built, "ProbeFunction")
    references = {"PROXY_HOST": "Proxy", "REDIS_HOST": "CacheRedis", "REDIS_PORT": "CacheRedis", "REDIS_SECRET": "CacheAuthToken"}
    assert {name: _target(given[name]).startswith(part) for name, part in references.items()} == dict.fromkeys(references, True)
    assert "secret:carmen_monitor_proxy" in given["MONITOR_PROXY_SECRET"]
    assert (given["DATABASE_HOST"], given["BACKUP_BUCKET"]) == ("database.example.com", "backups")
    assert variables(without_proxy, "ProbeFunction")["PROXY_HOST"] == ""


def test_function_connects_to_each_server(built: Synthesized, without_proxy: Synthesized) -> None:
    servers = {(server, port) for client, server, port in connections(built) if client == "ProbeFunction"}
    assert servers == {("Database", 5432), ("Proxy", 5432), ("Cache", 6379)}
    assert connections(without_proxy) == {("ProbeFunction", "Database", 5432), ("ProbeFunction", "Cache", 6379)}


def test_function_reads_its_two_secrets_and_the_backups(built: Synthesized) -> None:
    by_sid = {one.get("Sid", ""): one for one in statements(built, "ProbeFunctionRole")}
    assert by_sid["ReadMonitorAndRedisSecrets"]["Action"] == ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    assert len(by_sid["ReadMonitorAndRedisSecrets"]["Resource"]) == 2
    read = allowed(built, "ProbeFunctionRole", "s3:GetObject")
    assert read["Action"] == "s3:GetObject"
    assert all(f"{folder}/*" in str(read["Resource"]) for folder in ("daily", "weekly", "monthly", "reports"))
    assert "carmen_monitor" in str(allowed(built, "ProbeFunctionRole", "rds-db:connect")["Resource"])


def _target(reference: dict[str, Any]) -> str:
    return str(reference.get("Ref") or reference["Fn::GetAtt"][0])
