"""A deployed environment for rotation tests: both functions, real logins and secrets, and two tasks that query continuously."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import database_roles.handler
import pytest
import rotation.handler
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws as aws_clients
from common import database_url, locks, tls
from pg8000.native import Connection
from rotation import alternation, database_login, service

from local.services.postgres import LocalRds
from tests.lambdas.backups import connect
from tests.lambdas.rotation.fakes import USERS, Cluster, Redis, Secrets, Steps, database_failure, unique


@dataclass
class Context:
    """The used part of a Lambda context."""

    seconds: float = 90
    function_name: str = "rotation"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:rotation"
    aws_request_id: str = "1"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class World:
    """A deployed environment with two tasks that query continuously."""

    server: LocalRds
    database: str
    secrets: Secrets
    cluster: Cluster
    redis: Redis
    steps: Steps
    names: dict[str, str]

    def rotate(self, kind: str | None = "application", seconds: float = 90) -> dict[str, Any]:
        """Rotate the given kind, or all kinds that are due."""
        event = {"rotate": kind} if kind else {"source": "schedule"}
        answer: dict[str, Any] = rotation.handler.handler(event, cast(LambdaContext, Context(seconds)))
        return answer

    def correct_roles(self) -> None:
        """Run database_roles, as every day and at each deployment."""
        database_roles.handler.handler({"source": "schedule"}, cast(LambdaContext, Context()))

    def in_use(self) -> str:
        return database_url.user_of(self.secrets.value(self.names["connection"])) or ""

    def logs_in(self, user: str, password: str) -> bool:
        with suppress(Exception), connect(self.server, user, password, self.database) as session:
            return bool(session.run("SELECT current_user") == [[user]])
        return False

    def password(self, user: str) -> str:
        return self.secrets.value(self.names[user])["password"]

    def check(self) -> None:
        """No query failed, all users' secrets log in, and all tasks have the connection secret's values."""
        assert self.cluster.failures() == []
        connection = self.secrets.value(self.names["connection"])
        assert connection["PGPASSWORD"] == self.password(self.in_use())
        for user in USERS:
            assert self.logs_in(user, self.password(user)), user
        assert self.cluster.running()
        for task in self.cluster.running():
            assert task.environment == connection


@pytest.fixture
def world(server: LocalRds, master: Connection, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    steps, real = Steps(), boto3.client("secretsmanager")
    secrets = Secrets(real, steps)
    names = {name: unique(name) for name in (*USERS, "master", "migration", "connection", "redis")}
    values: dict[str, dict[str, str]] = {user: {"username": user, "password": f"{user} p/a:s@s%w#r?d &+ü"} for user in USERS}
    values |= {"master": {"username": server.master, "password": server.password}, "redis": {"value": "r" * 64}}
    for name, unique_name in names.items():
        real.create_secret(Name=unique_name, SecretString=json.dumps(values.get(name, {})))
    redis = Redis("r" * 64, tmp_path, steps)
    environment = {
        "RDS_CA_FILE": str(server.ca_file),
        "SSL_CERT_FILE": str(redis.ca_file),
        "ENVIRONMENT": "test",
        "POWERTOOLS_SERVICE_NAME": "rotation",
        "DATABASE_HOST": "localhost",
        "PROXY_HOST": "localhost",
        "DATABASE_PORT": str(server.port),
        "DATABASE_NAME": master.run("SELECT current_database()")[0][0],
        "REDIS_HOST": "localhost",
        "REDIS_PORT": str(redis.port),
        "CONNECTION_LIMIT": "20",
        "POOL_TIMEOUT_SECONDS": "2",
        "POOL_IDLE_SECONDS": "30",
        "MASTER_SECRET": names["master"],
        "USER_SECRETS": json.dumps({user: names[user] for user in USERS}),
        "APPLICATION_SECRETS": json.dumps({user: names[user] for user in USERS[:2]}),
        "REDIS_SECRET": names["redis"],
        "CONNECTION_SECRET": names["connection"],
        "MIGRATION_SECRET": names["migration"],
        "CLUSTER": "c",
        "SERVICE": "carmen",
        "MIGRATION_FAMILY": "carmen-migration",
        "REPLICATION_GROUP": "carmen",
        "ROTATE_AFTER_DAYS": json.dumps({"application": 30}),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def check(held: dict[str, str]) -> str | None:
        refused = None if redis.accepts(held["REDISCLI_AUTH"]) else "Redis refuses the token"
        return database_failure(held, server.ca_file) or refused

    cluster = Cluster(lambda: secrets.value(names["connection"]), check, steps)
    clients = {"secretsmanager": secrets, "ecs": cluster, "elasticache": redis}
    monkeypatch.setattr(aws_clients, "client", clients.__getitem__)
    monkeypatch.setattr(service, "CLOCK_SKEW", timedelta(milliseconds=50))
    for module in (service, alternation):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    tls.public_context.cache_clear()
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(database_login, "PROXY_POLL_SECONDS", 0.05)
    monkeypatch.setattr(alternation, "STEP_SECONDS", 0.2)
    monkeypatch.setattr(database_login.Database, "login", _watched_login(steps))
    made = World(server, environment["DATABASE_NAME"], secrets, cluster, redis, steps, names)
    made.correct_roles()
    time.sleep(0.05)  # the clock skew: tasks start after the secret was written
    cluster.start()
    cluster.start()
    time.sleep(0.1)
    steps.reached.clear()
    yield made
    cluster.stop()
    redis.stop()


def _watched_login(steps: Steps) -> Any:
    login = database_login.Database.login

    def watched(self: database_login.Database, user: str, password: str, *, proxy: bool = False) -> Connection:
        where = "proxy" if proxy else "instance"
        return cast(Connection, steps.watch(f"login on the {where}", lambda: login(self, user, password, proxy=proxy))())

    return watched
