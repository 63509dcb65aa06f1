"""Every function reads planted secrets and gets errors that contain them in every form. No output contains a secret."""

from __future__ import annotations

import ast
import base64
import importlib
import json
import logging
import re
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from common import scrubbed_logs, secrets

from tests.conftest import ROOT

SOURCE = ROOT / "lambda_src"
# Without account_proof, which knows passwords of throwaway resources only and logs nothing.
FUNCTIONS = sorted({path.parent.name for path in SOURCE.glob("*/handler.py")} - {"account_proof"})
# Characters that text formats escape.
PASSWORD = 'Pl4nted-"quoted"\\back/slash@ä%'
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDPLANTED",
    "AWS_SECRET_ACCESS_KEY": "planted-key",
    "AWS_REGION": "us-east-1",
    "ENVIRONMENT": "prod",
    "DATABASE_HOST": "database.example.com",
    "DATABASE_PORT": "5432",
    "DATABASE_NAME": "carmen",
    "PROXY_HOST": "proxy.example.com",
    "REDIS_HOST": "redis.example.com",
    "REDIS_PORT": "6379",
    "CONNECTION_LIMIT": "20",
    "POOL_TIMEOUT_SECONDS": "2",
    "POOL_IDLE_SECONDS": "30",
    "MASTER_SECRET": "master",
    "USER_SECRETS": '{"carmen_app_a": "user-a", "carmen_app_b": "user-b"}',
    "APPLICATION_SECRETS": '{"carmen_app_a": "user-a", "carmen_app_b": "user-b"}',
    "MIGRATION_SECRET": "migration",
    "CONNECTION_SECRET": "connection",
    "REDIS_SECRET": "redis",
    "MONITOR_PROXY_SECRET": "monitor",
    "WEBHOOK_SECRET": "webhook",
    "ROTATE_AFTER_DAYS": '{"application": 30}',
    "CLUSTER": "cluster",
    "SERVICE": "service",
    "MIGRATION_FAMILY": "migration",
    "REPLICATION_GROUP": "group",
    "BACKUP_BUCKET": "backups",
    "BACKUP_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/k",
    "TABLE": "table",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/queue",
    "EMAIL_TOPIC": "email",
    "SETTLE_SECONDS": "60",
    "FLAPPING_OPENINGS": "3",
    "FLAPPING_MINUTES": "30",
    "SITE_URL": "https://carmen.example.com",
    "ENDPOINTS": json.dumps([{"path": "/api/health", "deadline_seconds": 5, "expected_statuses": [200], "follow_redirects": 0}]),
}
EVENTS: dict[str, dict[str, Any]] = {
    "maintenance": {"kind": "weekly", "time": "2026-11-01T06:00:00Z"},
    "notifier": {"action": "digest", "time": "2026-11-01T06:00:00Z"},
    "origin_security_group": {
        **{"RequestType": "Create", "ResponseURL": "https://example.com/", "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"},
        "ResourceProperties": {"VpcId": "vpc-1"},
    },
    "rotation": {"rotate": "application"},
}
# Secrets that a run reads before its error. The other functions use IAM authentication.
READS = {
    "database_roles": {"master", "user-a", "user-b", "migration", "connection", "redis"},
    "rotation": {"connection"},
    "probe": {"monitor", "redis"},
}


class LeakError(Exception):
    """An error whose message contains the library's input."""


@dataclass
class World:
    """AWS, PostgreSQL and network that fail with errors that contain all their input."""

    read: dict[str, dict[str, str]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)

    def secret(self, arn: str) -> dict[str, str]:
        password = f"{PASSWORD}{arn}"
        url = f"postgresql://carmen_app_a:{quote(password, safe='')}@database.example.com:5432/carmen"
        self.read[arn] = {
            "username": "carmen_app_a",
            "password": password,
            "value": f"{password}-token",
            "DATABASE_URL": url,
            "DIRECT_URL": url,
            "REDISCLI_AUTH": f"{password}-redis",
        }
        return self.read[arn]

    def secrets(self) -> list[str]:
        """All secrets and all inputs."""
        values = [value for secret in self.read.values() for name, value in secret.items() if name != "username"]
        return [*values, *self.inputs]

    def leak(self, *arguments: Any, **options: Any) -> Any:
        """Raise all secrets: plain, percent-encoded, as JSON, as JSON in JSON, as Python's repr, and in unknown URLs."""
        self.inputs += [str(options["password"])] if "password" in options else []
        found = self.secrets()
        forms = [*found, *(quote(value, safe="") for value in found), json.dumps(found), json.dumps(json.dumps(found)), repr(found)]
        verifier = "SCRAM-SHA-256$4096:c2FsdA==$U3RvcmVkS2V5:UGxhbnRlZFZlcmlmaWVy"
        urls = f"postgresql://carmen_owner:NeverRead1@database.example.com/carmen redis://:NeverRead2@redis https://hooks.slack.com/services/T/B/NeverRead3 {verifier}"
        raise LeakError(f"no: {' '.join(forms)} {urls}", {"M": forms})

    def client(self, service: str, *arguments: Any, **options: Any) -> Any:
        return _Client(self, service)


class _Client:
    def __init__(self, world: World, service: str) -> None:
        self._world, self._service = world, service

    def get_secret_value(self, SecretId: str, **_: str) -> dict[str, Any]:
        value = json.dumps(self._world.secret(SecretId))
        return {"VersionId": "1", "SecretString": value, "CreatedDate": datetime(2026, 11, 1, tzinfo=UTC)}

    def __getattr__(self, name: str) -> Any:
        if name == "exceptions":
            return type("exceptions", (), {"__getattr__": lambda *_: KeyError})()
        return self._world.leak


@dataclass
class Context:
    function_name: str = "function"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn"
    aws_request_id: str = "run"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    broken = World()
    monkeypatch.setattr(scrubbed_logs, "_known", {})
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("common.aws.client", broken.client)
    monkeypatch.setattr("common.database.Connection", broken.leak)
    monkeypatch.setattr(socket, "create_connection", broken.leak)
    monkeypatch.setattr(socket, "getaddrinfo", broken.leak)
    return broken


def _run(package: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """All output of a run: log, stdout, result or error, in the form in which Lambda logs it."""
    module = importlib.import_module(f"{package}.handler")
    if package == "drill":
        monkeypatch.delenv("DATABASE_HOST")  # the drill refuses to run with a database
    if package == "database_roles":  # continue until every secret is read
        for name, instead in {
            "locks.exclusive": nullcontext,
            "database.connect": lambda **_: nullcontext(),
            "closing": lambda it: it,
            "changed_passwords": list,
        }.items():
            monkeypatch.setattr(f"database_roles.handler.{name}", lambda *_, instead=instead, **__: nullcontext())
        monkeypatch.setattr(module.roles, "apply", world.leak)
    loggers = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, scrubbed_logs.ScrubbingFormatter):
            monkeypatch.setattr(handler, "stream", sys.stdout)
    answer: Any = None
    try:
        answer = module.handler(dict(EVENTS.get(package, {})), Context())
    except Exception as error:  # noqa: BLE001 (searched for secrets below)
        answer = "".join(traceback.format_exception(error)) + repr(error)
    shown = capsys.readouterr()
    return f"{shown.out}\n{shown.err}\n{answer}\n{json.dumps(answer, default=str)}"


def _found(world: World, output: str) -> list[str]:
    """The parts of secrets in the output, in any form."""
    signatures = {match for text in world.inputs for match in re.findall(r"X-Amz-Signature=(\w+)", text)}
    pieces = {"Pl4nted-", "NeverRead", "UGxhbnRlZFZlcmlmaWVy", base64.b64encode(PASSWORD.encode()).decode()[:12], *signatures}
    return sorted(piece for piece in pieces if piece in output)


@pytest.mark.parametrize("package", FUNCTIONS)
def test_functions_do_not_leak_secrets(
    package: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = _run(package, world, monkeypatch, capsys)
    assert set(world.read) >= READS.get(package, set())
    assert "LeakError" in output
    assert scrubbed_logs.HIDDEN in output
    assert _found(world, output) == []


@pytest.mark.parametrize("package", FUNCTIONS)
def test_functions_would_leak_without_scrubbing(
    package: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shows that the test above would find a leak."""
    monkeypatch.setattr(scrubbed_logs, "scrub", lambda text: text)
    assert _found(world, _run(package, world, monkeypatch, capsys)) != []


def test_one_logger_and_one_reader_of_secrets() -> None:
    for path in SOURCE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        named = {call.id if isinstance(call, ast.Name) else call.attr for call in calls if isinstance(call, ast.Name | ast.Attribute)}
        assert not named & {"Logger", "getLogger"} or path.name == "scrubbed_logs.py", path
        assert not named & {"get_secret_value", "put_secret_value"} or path.name == "secrets.py", path


def test_secrets_are_hidden_but_names_are_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read = secrets.read("read", world.client("secretsmanager"))
    with pytest.raises(LeakError):
        secrets.write("written", {"password": "Pl4nted-written", "username": "carmen_owner"}, world.client("secretsmanager"))
    text = scrubbed_logs.scrub(f"{read['password']} Pl4nted-written of carmen_app_a, carmen_owner")
    assert text == "[secret] [secret] of carmen_app_a, carmen_owner"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("postgresql://me:s3cr:t@host:5432/db", "postgresql://me:[secret]@host:5432/db"),
        ("rediss://:t0ken@host", "rediss://:[secret]@host"),
        ("postgresql://me:p@ss/w@host", "postgresql://me:[secret]@host"),
        ("https://host:443/path?a=b", "https://host:443/path?a=b"),
        ("host:5432/?Action=connect&X-Amz-Signature=abc&DBUser=me", "host:5432/?Action=connect&X-Amz-Signature=[secret]&DBUser=me"),
        ("https://bucket/answer?Signature=a%2Bb&Expires=1", "https://bucket/answer?Signature=[secret]&Expires=1"),
    ],
)
def test_text_that_looks_like_a_secret_is_hidden(text: str, scrubbed: str) -> None:
    assert scrubbed_logs.scrub(text) == scrubbed


@pytest.mark.parametrize(
    "raised",
    [
        lambda: OSError(111, "refused postgresql://me:NeverRead@host"),
        lambda: PermissionError("refused postgresql://me:NeverRead@host"),
        lambda: KeyError("postgresql://me:NeverRead@host"),
        lambda: RuntimeError({"M": ["postgresql://me:NeverRead@host"]}, ValueError("postgresql://me:NeverRead@host")),
    ],
)
def test_error_and_cause_are_scrubbed_in_place(raised: Callable[[], Exception]) -> None:
    try:
        try:
            raise raised()
        except Exception as cause:
            raise RuntimeError("because postgresql://me:NeverRead@host") from cause
    except RuntimeError as error:
        scrubbed_logs.scrub_error(error)
        text = "".join(traceback.format_exception(error)).replace('"because postgresql://me:NeverRead@host"', "")  # the source line
        assert "NeverRead" not in text
        assert text.count(scrubbed_logs.HIDDEN) >= 2
