"""The function against a real PostgreSQL server, with stand-ins for Secrets Manager and CloudFormation."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws, database, database_url
from database_roles.handler import handler
from pg8000.native import Connection, InterfaceError

from local.services.postgres import LocalRds
from tests.lambdas.backups import connect, revoke_bypassrls

USERS = ("carmen_app_a", "carmen_app_b", "carmen_monitor_proxy")
SPECIAL = "p/a:s@s%w#r?d &+ü"


class ResourceNotFound(Exception):
    """Secrets Manager's error for a secret without a value."""


class Secrets:
    """The part of Secrets Manager that the function uses."""

    class exceptions:
        ResourceNotFoundException = ResourceNotFound

    def __init__(self, values: dict[str, dict[str, str] | None]) -> None:
        self.values = values
        self.writes: list[str] = []

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        if self.values[SecretId] is None:
            raise ResourceNotFound
        return {"SecretString": json.dumps(self.values[SecretId])}

    def describe_secret(self, SecretId: str) -> dict[str, str]:
        return {"ARN": SecretId}

    def put_secret_value(self, SecretId: str, SecretString: str, VersionStages: list[str]) -> None:
        self.values[SecretId] = json.loads(SecretString)
        self.writes.append(SecretId)


@dataclass
class Context:
    """The part of a Lambda context that Powertools reads."""

    function_name: str = "database-roles"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:database-roles"
    aws_request_id: str = "1"


CONTEXT = cast(LambdaContext, Context())


@pytest.fixture
def secrets(server: LocalRds, master: Connection, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    revoke_bypassrls(server, master)
    name_of_database = master.run("SELECT current_database()")[0][0]
    values: dict[str, dict[str, str] | None] = {user: {"username": user, "password": f"{user} {SPECIAL}"} for user in USERS}
    values |= {"master": {"username": server.master, "password": server.password}, "redis": {"value": "r" * 64}}
    values |= {"connection": None, "migration": None}
    environment = {
        "RDS_CA_FILE": str(server.ca_file),
        "DATABASE_HOST": "localhost",
        "PROXY_HOST": "proxy.example",
        "DATABASE_PORT": str(server.port),
        "DATABASE_NAME": name_of_database,
        "REDIS_HOST": "redis.example",
        "REDIS_PORT": "6379",
        "CONNECTION_LIMIT": "20",
        "POOL_TIMEOUT_SECONDS": "2",
        "POOL_IDLE_SECONDS": "30",
        "MASTER_SECRET": "master",
        "USER_SECRETS": json.dumps({user: user for user in USERS}),
        "REDIS_SECRET": "redis",
        "CONNECTION_SECRET": "connection",
        "MIGRATION_SECRET": "migration",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stand_in = Secrets(values)
    monkeypatch.setattr(aws, "client", lambda service: stand_in)
    return stand_in


def test_written_urls_work_with_special_characters(server: LocalRds, secrets: Secrets) -> None:
    handler({"source": "schedule"}, CONTEXT)
    connection = secrets.values["connection"] or {}
    assert set(connection) == {"DATABASE_URL", "DIRECT_URL", "REDIS_URL", "PGUSER", "PGPASSWORD", "REDISCLI_AUTH"}
    assert database_url.user_of(connection) == "carmen_app_a"
    assert database_url.password_of(connection) == f"carmen_app_a {SPECIAL}"
    assert "@proxy.example:" in connection["DATABASE_URL"]
    assert "connection_limit=20&pool_timeout=2&max_idle_connection_lifetime=30" in connection["DATABASE_URL"]
    assert connection["DIRECT_URL"].endswith("?sslmode=require&sslaccept=strict")
    assert connection["REDIS_URL"] == f"rediss://:{'r' * 64}@redis.example:6379"
    for secret, user in ((connection, "carmen_app_a"), (secrets.values["migration"] or {}, "carmen_owner")):
        password = database_url.password_of(secret) or ""
        with connect(server, user, password, os.environ["DATABASE_NAME"]) as session:
            assert session.run("SELECT current_user") == [[user]]


def test_urls_without_proxy_name_the_instance(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "")
    handler({"source": "schedule"}, CONTEXT)
    connection = secrets.values["connection"] or {}
    assert all(f"@localhost:{os.environ['DATABASE_PORT']}/" in connection[name] for name in ("DATABASE_URL", "DIRECT_URL"))
    assert "connection_limit=20" in connection["DATABASE_URL"]


def test_second_run_writes_nothing(secrets: Secrets) -> None:
    handler({"source": "schedule"}, CONTEXT)
    secrets.writes.clear()
    assert (handler({"source": "schedule"}, CONTEXT) or {})["Changes"] == "0"
    assert secrets.writes == []


def test_user_in_use_stays(secrets: Secrets) -> None:
    handler({"source": "schedule"}, CONTEXT)
    connection = secrets.values["connection"] or {}
    secrets.values["connection"] = {**connection, "DIRECT_URL": "postgresql://carmen_app_b:old@h:5432/carmen"}
    handler({"source": "schedule"}, CONTEXT)
    assert database_url.user_of(secrets.values["connection"] or {}) == "carmen_app_b"
    assert (secrets.values["connection"] or {})["PGPASSWORD"] == f"carmen_app_b {SPECIAL}"


@contextmanager
def nested_membership_counts(server: LocalRds) -> Iterator[Callable[[str], None]]:
    """Configure the server like RDS at its strictest: no line for the master in pg_hba.conf, before `+rds_iam`.

    Yields a function that sets the authentication method of members of rds_iam. The master is not a direct member: only LocalRds makes it one.
    """
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    without_master = "".join(line for line in before.splitlines(keepends=True) if server.master not in line)

    def configure(method: str) -> None:
        hba.write_text(re.sub(r"(\+rds_iam +all +)\w+", rf"\1{method}", without_master))
        server.as_rdsadmin("SELECT pg_reload_conf()")
        time.sleep(0.2)  # the postmaster reads it when it gets the signal

    members = [f"carmen_{name}" for name in ("backup", "maintenance", "monitor", "rotation")]
    server.as_rdsadmin(f"REVOKE rds_iam FROM {server.master} CASCADE; GRANT rds_iam TO {', '.join(members)}")
    try:
        configure("reject")
        yield configure
    finally:
        hba.write_text(before)
        if server.major >= 16:
            server.as_rdsadmin(f"GRANT rds_iam TO {server.master} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        server.as_rdsadmin("SELECT pg_reload_conf()")
        time.sleep(0.2)


def test_master_logs_in_by_token_where_its_password_is_refused(server: LocalRds, secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first run the master is an indirect member of rds_iam, which PostgreSQL counts from 16 on.

    Sources: RDS User Guide, "Database authentication"; cyrilgdn/terraform-provider-postgresql#289.
    """
    tokens: list[str] = []
    handler({"source": "schedule"}, CONTEXT)
    with nested_membership_counts(server) as set_method:

        def token(host: str, port: int, user: str) -> str:
            tokens.append(user)
            set_method("trust")  # from here on the server accepts any token of this user
            return "a token"

        monkeypatch.setattr(database, "iam_token", token)
        handler({"source": "schedule"}, CONTEXT)
    assert tokens == ([server.master] if server.major >= 16 else [])


def test_refused_token_names_the_missing_permission(server: LocalRds, secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "iam_token", lambda host, port, user: "a token")
    handler({"source": "schedule"}, CONTEXT)
    if server.major < 16:
        return
    with (
        nested_membership_counts(server),
        pytest.raises(PermissionError, match=r"refused the password of carmen_master: pg_hba.conf rejects .* needs rds-db:connect"),
    ):
        handler({"source": "schedule"}, CONTEXT)


@pytest.fixture
def cloudformation() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A response URL, and the received answers."""
    answers: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/answer", answers
        server.shutdown()
        thread.join()


def _event(url: str, kind: str, specification: str = "old") -> dict[str, Any]:
    properties = {"ServiceToken": "arn", "Specification": specification}
    request = {"RequestType": kind, "ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "Apply"}
    return {**request, "ResourceProperties": properties}


def test_cloudformation_gets_success(secrets: Secrets, cloudformation: tuple[str, list[dict[str, Any]]]) -> None:
    url, answers = cloudformation
    handler(_event(url, "Create"), CONTEXT)
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]
    assert re.fullmatch(r"database-roles-[0-9a-f]{16}", answers[0]["PhysicalResourceId"])
    assert answers[0]["Data"] == {"Changes": answers[0]["Data"]["Changes"], "Advice": ""}


def test_tables_hidden_from_backups_are_named(server: LocalRds, secrets: Secrets, caplog: pytest.LogCaptureFixture) -> None:
    handler({"source": "schedule"}, CONTEXT)
    password = database_url.password_of(secrets.values["migration"] or {}) or ""
    with connect(server, "carmen_owner", password, os.environ["DATABASE_NAME"]) as owner:
        owner.run('CREATE TABLE public."Salary" (id int)')
        owner.run('ALTER TABLE public."Salary" ENABLE ROW LEVEL SECURITY')
    result = handler({"source": "schedule"}, CONTEXT) or {}
    assert result["Advice"].startswith('Row-level security hides public."Salary" from the backup role, and every backup fails until')
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [result["Advice"]]


def test_serious_refusal_fails_the_run(server: LocalRds, secrets: Secrets) -> None:
    server.as_rdsadmin("CREATE ROLE outsider; CREATE ROLE carmen_app_stranger; GRANT carmen_app_stranger TO outsider")
    handler({"source": "schedule"}, CONTEXT)  # roles of others are not touched
    server.as_rdsadmin("ALTER ROLE carmen_monitor SUPERUSER")
    try:
        with pytest.raises(PermissionError, match="carmen_monitor"):
            handler({"source": "schedule"}, CONTEXT)
    finally:
        server.as_rdsadmin("ALTER ROLE carmen_monitor NOSUPERUSER; DROP ROLE outsider; DROP ROLE carmen_app_stranger")


def test_cloudformation_gets_failure_without_secrets(
    secrets: Secrets, cloudformation: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers = cloudformation
    secrets.values["master"] = {"username": "carmen_master", "password": "wrong one"}
    with pytest.raises(Exception, match="password authentication failed"):
        handler(_event(url, "Update") | {"PhysicalResourceId": "kept"}, CONTEXT)
    (answer,) = answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "kept")
    assert "password authentication failed" in answer["Reason"]
    assert "wrong one" not in json.dumps(answer) + capsys.readouterr().out
    assert secrets.writes == []


def test_failed_update_can_be_rolled_back_without_a_database(
    secrets: Secrets, cloudformation: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests that CloudFormation sends when an update fails, in its order.

    Source: README of aws-cdk-lib's custom_resources: "If an Update event fails, CloudFormation will issue an additional Update with the
    previous properties".
    """
    url, answers = cloudformation
    handler(_event(url, "Create"), CONTEXT)
    identity = {"PhysicalResourceId": answers[0]["PhysicalResourceId"]}
    monkeypatch.setenv("DATABASE_PORT", "1")  # nothing listens there
    for specification in ("new", "old", "old"):  # the update, its rollback, continue-update-rollback
        with pytest.raises(InterfaceError):
            handler(_event(url, "Update", specification) | identity, CONTEXT)
    assert [answer["Status"] for answer in answers] == ["SUCCESS", "FAILED", "SUCCESS", "SUCCESS"]
    assert {answer["PhysicalResourceId"] for answer in answers} == set(identity.values())
    assert answers[2]["Reason"].startswith("Ignored during the rollback: InterfaceError")


def test_return_to_earlier_properties_is_no_rollback(
    secrets: Secrets, cloudformation: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment of the previous commit must report a failure; so must the second attempt of a creation."""
    url, answers = cloudformation
    handler(_event(url, "Create", "old"), CONTEXT)
    handler(_event(url, "Update", "new") | {"PhysicalResourceId": answers[0]["PhysicalResourceId"]}, CONTEXT)
    assert answers[1]["PhysicalResourceId"] != answers[0]["PhysicalResourceId"]
    monkeypatch.setenv("DATABASE_PORT", "1")
    with pytest.raises(InterfaceError):
        handler(_event(url, "Update", "old") | {"PhysicalResourceId": answers[1]["PhysicalResourceId"]}, CONTEXT)
    with pytest.raises(InterfaceError):
        handler(_event(url, "Create", "old"), CONTEXT)
    with pytest.raises(InterfaceError):
        handler(_event(url, "Update", "old") | {"PhysicalResourceId": answers[3]["PhysicalResourceId"]}, CONTEXT)
    assert [answer["Status"] for answer in answers[2:]] == ["FAILED", "FAILED", "FAILED"]


def test_deletion_changes_nothing(secrets: Secrets, cloudformation: tuple[str, list[dict[str, Any]]]) -> None:
    url, answers = cloudformation
    handler(_event(url, "Delete"), CONTEXT)
    assert answers[0]["Status"] == "SUCCESS"
    assert secrets.writes == []
