"""The probe as deployed, with real PostgreSQL and Redis over TLS. Compares its metrics with the servers' state."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
import trustme
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import database, tls
from common.backup_manifest import File
from common.redis import Redis, RedisError
from database_roles import roles
from pg8000.native import Connection
from probe import handler as probe
from probe.measurements import Counters, instance, proxy

from local.services.postgres import LocalRds
from local.services.redis import LocalRedis, install
from tests.conftest import ROOT
from tests.lambdas.backups import connect, manifest_of, store
from tests.lambdas.database_roles.test_roles import PASSWORDS
from tests.lambdas.maintenance.test_maintenance import Context, one_major
from tools.processes import LOCALHOST, free_port

TOKEN = "token-of-redis-0123456789"
UNITS = {"Time": "Milliseconds", "Bytes": "Bytes", "Used": "Percent", "Up": "Count", "Known": "Count"}


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    with LocalRedis(
        install(ROOT / ".local" / "redis"), tmp_path_factory.mktemp("redis"), token=TOKEN, max_memory_bytes=4_000_000
    ) as running:
        yield running


@dataclass
class Measured:
    """The result and the metrics of one invocation."""

    answer: dict[str, str]
    values: dict[str, float]
    units: dict[str, str]
    by_role: dict[str, float]
    seconds: float
    output: str


@dataclass
class World:
    server: LocalRds
    redis: LocalRedis
    database: str
    secrets: Any
    proxy_secret: str
    redis_secret: str
    output: pytest.CaptureFixture[str]

    def probe(self, **event: str) -> Measured:
        self.output.readouterr()
        start = time.monotonic()
        answer = probe.handler(event, cast(LambdaContext, Context(60)))
        seconds = time.monotonic() - start
        output = self.output.readouterr()
        lines = [json.loads(line) for line in output.out.splitlines() if '"_aws"' in line]
        values, units, by_role = {}, {}, {}
        for line in lines:
            (published,) = line["_aws"]["CloudWatchMetrics"]
            assert published["Namespace"] == "Carmen"
            assert (line["service"], line["Environment"]) == ("probe", "prod")
            assert sorted(published["Dimensions"][0]) == ["Environment", "service"]
            for metric in published["Metrics"]:
                (values[metric["Name"]],) = line[metric["Name"]]
                units[metric["Name"]] = metric["Unit"]
            assert all(name in probe.WATCHED or name.endswith("Up") for name in units), "a metric without an alarm costs money"
            for name, value in line.items():
                if name.startswith("DatabaseConnectionsOf_"):
                    by_role[name.removeprefix("DatabaseConnectionsOf_")] = value
                elif name not in units and isinstance(value, int | float):
                    values[name] = value
        return Measured(cast(dict[str, str], answer), values, units, by_role, seconds, output.out + output.err)

    def session(self, role: str) -> closing[Connection]:
        return connect(self.server, role, PASSWORDS[role], self.database)


@pytest.fixture
def world(
    server: LocalRds,
    master: Connection,
    redis: LocalRedis,
    aws: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    roles.apply(master, PASSWORDS)
    name = master.run("SELECT current_database()")[0][0]
    secrets = boto3.client("secretsmanager", endpoint_url=aws, region_name=os.environ["AWS_REGION"])
    login = {"username": "carmen_monitor_proxy", "password": PASSWORDS["carmen_monitor_proxy"]}
    arns = [
        secrets.create_secret(Name=f"{kind}-{name}", SecretString=json.dumps(value))["ARN"]
        for kind, value in (("p", login), ("r", {"value": TOKEN}))
    ]
    for variable, value in {
        "DATABASE_HOST": "localhost", "DATABASE_PORT": str(server.port), "DATABASE_NAME": name, "PROXY_HOST": "localhost",
        "RDS_CA_FILE": str(server.ca_file), "REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port), "SSL_CERT_FILE": str(redis.ca_file),
        "ENVIRONMENT": "prod", "MONITOR_PROXY_SECRET": arns[0], "REDIS_SECRET": arns[1],
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(probe, "cached_secrets", {})
    monkeypatch.setattr(probe, "counters", Counters())
    tls.public_context.cache_clear()
    return World(server, redis, name, secrets, arns[0], arns[1], capsys)


def test_metrics_match_the_servers(world: World) -> None:
    with ExitStack() as stack:
        owner, idle, waiting = (stack.enter_context(world.session(role)) for role in ("carmen_owner", "carmen_app_a", "carmen_app_b"))
        owner.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        owner.run("BEGIN")
        owner.run("LOCK TABLE t")
        idle.run("SELECT 1")
        blocked = threading.Thread(target=waiting.run, args=("SELECT * FROM t",))
        blocked.start()
        time.sleep(0.5)
        measured = world.probe()
        owner.run("ROLLBACK")
        blocked.join()

    assert measured.answer == {}
    values = measured.values
    assert (values["ProxyUp"], values["DatabaseUp"], values["RedisUp"]) == (1, 1, 1)
    assert values["DatabaseConnections"] == sum(measured.by_role.values())
    assert {role: measured.by_role[role] for role in ("carmen_owner", "carmen_app_a", "carmen_app_b", "carmen_monitor")} == {
        "carmen_owner": 1, "carmen_app_a": 1, "carmen_app_b": 1, "carmen_monitor": 1,
    }  # fmt: skip
    assert values["DatabaseConnectionsIdleInTransaction"] == 1
    assert values["DatabaseConnectionsWaiting"] == 1
    assert values["DatabaseConnectionsActive"] in (2, 3)  # the blocked one, the probe's, and the probe's through the proxy if it still runs
    assert values["DatabaseConnectionsIdle"] >= 2  # the test's and the application's
    assert 0.5 <= values["DatabaseLongestTransaction"] < 5
    assert values["DatabaseConnectionsMaximum"] == int(world.server.as_rdsadmin("SHOW max_connections"))
    assert values["DatabaseConnectionsUsed"] == pytest.approx(100 * values["DatabaseConnections"] / values["DatabaseConnectionsMaximum"])
    age = int(world.server.as_rdsadmin("SELECT max(age(datfrozenxid)) FROM pg_database"))
    assert age - 100 <= values["DatabaseTransactionIdAge"] <= age
    for name in ("ProxySelectTime", "ProxyConnectTime", "DatabaseSelectTime", "DatabaseConnectTime", "RedisPingTime", "RedisConnectTime"):
        assert 0 < values[name] < 5000, name
    assert values["RedisMemoryMaximum"] == 4_000_000
    assert 0 < values["RedisMemoryUsed"] < 10_000_000
    assert values["RedisMemoryUsedPercent"] == pytest.approx(100 * values["RedisMemoryUsed"] / 4_000_000)
    assert "DatabaseReplicationLag" not in values
    for name, unit in measured.units.items():
        expected = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None)
        assert expected in (None, unit) or name == "RedisMemoryUsed", name


@one_major
def test_deadlocks_and_evictions_are_counted(world: World) -> None:
    first = world.probe()
    assert "DatabaseDeadlocks" not in first.values  # unknown in the first probe
    assert "RedisEvictions" not in first.values
    _deadlock(world)
    with Redis(world.redis.host, world.redis.port, seconds=20) as connection:
        connection.command("AUTH", TOKEN)
        for n in range(30):
            connection.command("SET", f"key-{n}", "x" * 300_000)
        evicted = int(connection.info("stats")["evicted_keys"])
    second = world.probe()
    assert second.values["DatabaseDeadlocks"] == 1
    assert second.values["DatabaseDeadlocksTotal"] == first.values["DatabaseDeadlocksTotal"] + 1
    assert second.values["RedisEvictions"] == evicted - first.values["RedisEvictionsTotal"] > 0
    assert world.probe().values["DatabaseDeadlocks"] == 0


def _deadlock(world: World) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(world.session("carmen_owner")) for _ in range(2))
        one.run("CREATE TABLE a (id int); CREATE TABLE b (id int)")
        for session, table in ((one, "a"), (two, "b")):
            session.run("BEGIN")
            session.run(f"LOCK TABLE {table}")
        ended: list[str] = []

        def lock(session: Connection, table: str) -> None:
            try:
                session.run(f"LOCK TABLE {table}")
                ended.append("")
            except Exception as error:  # noqa: BLE001 (PostgreSQL chooses which of the two it ends)
                ended.append(str(error))
            session.run("ROLLBACK")

        threads = [threading.Thread(target=lock, args=pair) for pair in ((one, "b"), (two, "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum("40P01" in text for text in ended) == 1
        for session in (one, two):
            session.run("SELECT pg_stat_force_next_flush()")


@one_major
def test_replication_slot_size_is_published(world: World) -> None:
    assert "DatabaseReplicationSlotBytes" not in world.probe().values
    world.server.as_rdsadmin("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        world.server.as_rdsadmin("SELECT pg_switch_wal()")
        measured = world.probe()
        assert measured.values["DatabaseReplicationSlotBytes"] > 0
    finally:
        world.server.as_rdsadmin("SELECT pg_drop_replication_slot('forgotten')")


@one_major
def test_no_proxy_is_not_measured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "")
    measured = world.probe()
    assert measured.answer == {}
    assert "ProxyUp" not in measured.values
    assert (measured.values["DatabaseUp"], measured.values["RedisUp"]) == (1, 1)


BROKEN = {
    "Proxy": {"PROXY_HOST": "localhost.invalid"},
    "Database": {"DATABASE_HOST": "localhost.invalid"},
    "Redis": {"REDIS_PORT": "1"},
}


@one_major
@pytest.mark.parametrize("part", BROKEN)
def test_failed_part_does_not_affect_the_others(world: World, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    for name, value in BROKEN[part].items():
        monkeypatch.setenv(name, value)
    measured = world.probe()
    assert measured.answer.keys() == {part}
    assert {name: measured.values[f"{name}Up"] for name in BROKEN} == {name: int(name != part) for name in BROKEN}
    needed = {"Proxy": "ProxySelectTime", "Database": "DatabaseConnections", "Redis": "RedisMemoryUsed"}
    assert {name for name, metric in needed.items() if metric in measured.values} == set(BROKEN) - {part}
    assert not [secret for secret in (TOKEN, *PASSWORDS.values()) if secret in measured.output]


@one_major
def test_wrong_credentials_are_reported_but_not_shown(world: World) -> None:
    world.secrets.put_secret_value(
        SecretId=world.proxy_secret, SecretString='{"username": "carmen_monitor_proxy", "password": "wrong-0815"}'
    )
    world.secrets.put_secret_value(SecretId=world.redis_secret, SecretString='{"value": "wrong-4711"}')
    measured = world.probe()
    assert "password authentication failed" in measured.answer["Proxy"]
    assert "WRONGPASS" in measured.answer["Redis"]
    assert "wrong-" not in measured.output
    assert measured.values["DatabaseUp"] == 1


@one_major
def test_rotated_secret_is_read_again(world: World) -> None:
    probe.cached_secrets.update(
        {world.redis_secret: {"value": "the one before"}, world.proxy_secret: {"username": "carmen_monitor_proxy", "password": "old"}}
    )
    assert world.probe().answer == {}
    assert probe.cached_secrets[world.redis_secret] == {"value": TOKEN}


@one_major
def test_untrusted_servers_are_refused(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("RDS_CA_FILE", str(tmp_path / "other.pem"))
    measured = world.probe()
    assert measured.answer.keys() == {"Proxy", "Database", "Redis"}
    assert all("certificate verify failed" in reason for reason in measured.answer.values()), measured.answer


@one_major
def test_hanging_servers_do_not_delay_the_probe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server accepts connections and sends nothing; the other sends single bytes, so that read time-outs never occur."""
    monkeypatch.setattr(probe, "SECONDS", 2.0)
    monkeypatch.setattr(probe, "PART_SECONDS", 1.0)
    with socket.create_server((LOCALHOST, 0)) as silent, dripping(world.redis, monkeypatch):
        monkeypatch.setenv("DATABASE_PORT", str(silent.getsockname()[1]))
        measured = world.probe()
    assert measured.seconds < 4
    assert measured.answer.keys() == {"Proxy", "Database", "Redis"}
    assert all("time" in reason for reason in measured.answer.values()), measured.answer
    assert (measured.values["ProxyUp"], measured.values["DatabaseUp"], measured.values["RedisUp"]) == (0, 0, 0)


def dripping(redis: LocalRedis, monkeypatch: pytest.MonkeyPatch) -> closing[socket.socket]:
    """A server whose replies never end."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = redis.ca_file.with_name("dripping.pem")
    authority.cert_pem.write_to_path(bundle)
    listener = socket.create_server((LOCALHOST, 0))

    def drip() -> None:
        try:
            while True:
                client = context.wrap_socket(listener.accept()[0], server_side=True)
                for _ in range(100):
                    client.sendall(b"+")
                    time.sleep(0.2)
        except OSError:
            return

    threading.Thread(target=drip, daemon=True).start()
    monkeypatch.setenv("REDIS_PORT", str(listener.getsockname()[1]))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return closing(listener)


def test_redis_replies_and_errors(redis: LocalRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(redis.ca_file))
    tls.public_context.cache_clear()
    with Redis(redis.host, redis.port, seconds=5) as connection:
        with pytest.raises(RedisError, match=r"^PING: NOAUTH"):
            connection.command("PING")
        assert connection.command("AUTH", TOKEN) == "OK"
        assert connection.command("SET", "ä key", "line\r\nbreak") == "OK"
        assert connection.command("GET", "ä key") == "line\r\nbreak"
        assert connection.command("DEL", "ä key") == "1"
        with pytest.raises(RedisError, match="unexpected reply of -1 bytes"):
            connection.command("GET", "no such key")
    monkeypatch.setenv("REDIS_PORT", str(free_port()))
    with pytest.raises(OSError, match="refused"):
        Redis(LOCALHOST, free_port(), seconds=1)


def test_proxy_and_instance_use_their_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def connect(**arguments: Any) -> None:
        asked.append(bool(arguments.get("proxy")))
        raise ConnectionRefusedError

    monkeypatch.setattr(database, "connect", connect)
    monkeypatch.setattr(database, "iam_token", lambda *_: "token")
    for name, value in {"DATABASE_HOST": "db", "PROXY_HOST": "proxy", "DATABASE_PORT": "5432", "DATABASE_NAME": "carmen"}.items():
        monkeypatch.setenv(name, value)
    for measure in (proxy(lambda: {"username": "u", "password": "p"}, 1), instance(Counters(), 1)):
        with pytest.raises(ConnectionRefusedError):
            measure([])
    assert asked == [True, False]


def test_unknown_action_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    with pytest.raises(ValueError, match="action is 'age'; it must be one of probe, ages"):
        probe.handler({"action": "age"}, cast(LambdaContext, Context(60)))


def _stamp(age: timedelta) -> str:
    return (datetime.now(UTC) - age).strftime("%Y%m%dT%H%M%SZ")


@one_major
def test_ages_of_the_last_successes(world: World, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_BUCKET", bucket)

    def put(key: str, body: str = "{}") -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=body)

    def complete(tier: str, stamp: str) -> int:
        """Write a manifest; return its size."""
        found = manifest_of(tier, stamp, {"archive": File(key="", bytes=1, sha256="", crc32="")})
        store(s3, bucket).write(found)
        return int(s3.head_object(Bucket=bucket, Key=found.key)["ContentLength"])

    for days in range(1, 9):  # eight complete backups, the newest of half the size
        stamp = _stamp(timedelta(days=days))
        size = complete("daily", stamp)
        put(f"daily/{stamp}/carmen_backup_{stamp}.dump", "x" * ((5_000 if days == 1 else 10_000) - size))
    unfinished = _stamp(timedelta(hours=1))
    put(f"daily/{unfinished}/carmen_backup_{unfinished}.dump", "no manifest")
    put("daily/not-a-stamp/manifest.json")
    put(f"daily/{unfinished}/manifest.json", '{"signature": "00"}')  # forged
    complete("weekly", _stamp(timedelta(days=3)))
    put(f"reports/drill/{_stamp(timedelta(days=40))}-2.json", '{"passed": true}')  # the second drill of that time
    put(f"reports/drill/{_stamp(timedelta(days=2))}.json", '{"passed": false}')
    put("reports/maintenance/weekly/state.json", json.dumps({"last_finished_at": (datetime.now(UTC) - timedelta(days=5)).isoformat()}))
    put("reports/maintenance/monthly/state.json", json.dumps({"last_finished_at": ""}))

    measured = world.probe(action="ages")
    assert measured.answer == {}
    values = measured.values
    assert values["BackupAgeHoursDaily"] == pytest.approx(24, abs=0.1)
    assert values["BackupAgeHoursWeekly"] == pytest.approx(72, abs=0.1)
    assert values["BackupSizeOfMedian"] == 50
    assert values["DrillAgeDays"] == pytest.approx(40, abs=0.01)
    assert values["MaintenanceAgeDaysWeekly"] == pytest.approx(5, abs=0.01)
    # Without any, the age is that of the environment, whose secrets are new.
    for name in ("BackupAgeHoursMonthly", "MaintenanceAgeDaysMonthly"):
        assert 0 <= values[name] < 0.1, name
    assert {name: unit for name, unit in measured.units.items() if "Age" in name} == dict.fromkeys(
        (name for name in values if "Age" in name and name in probe.WATCHED), "None"
    )


@one_major
def test_unreadable_report_does_not_hide_other_ages(world: World, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_BUCKET", bucket)
    s3.put_object(Bucket=bucket, Key=f"reports/drill/{_stamp(timedelta(days=1))}.json", Body="not JSON")
    measured = world.probe(action="ages")
    assert measured.answer.keys() == {"DrillAge"}
    assert measured.values["DrillAgeKnown"] == 0
    assert {"BackupAgeHoursDaily", "BackupAgeHoursWeekly", "BackupAgeHoursMonthly", "MaintenanceAgeDaysWeekly"} <= measured.values.keys()
    assert "DrillAgeDays" not in measured.values
