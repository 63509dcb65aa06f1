"""Access to what is deployed: the service's task, functions, secrets and the database."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pg8000.native import Connection

from local.acceptance.assertions import NotAccepted
from local.deployment import Deployment
from local.emulator.server import authorities
from local.services.stand_in_carmen import connect

SECRET = "AWS::SecretsManager::Secret"
TASK_SECONDS = 60


def service_task(deployment: Deployment) -> dict[str, Any]:
    """Wait for the service's task to answer, and return it."""
    deadline, log = time.monotonic() + TASK_SECONDS, "no task"
    while time.monotonic() < deadline:
        for task in deployment.tasks():
            log = Path(task["log"]).read_text(encoding="utf-8")[-500:]
            if task["url"]:
                with contextlib.suppress(OSError):
                    get(task, "/api/health/live")
                    return task
        time.sleep(0.2)
    raise NotAccepted(f"no task answered within {TASK_SECONDS} s; end of its log: {log}")


def get(task: dict[str, Any], path: str) -> tuple[int, bytes]:
    """Status and body of a GET request to a task."""
    try:
        with urllib.request.urlopen(task["url"] + path, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def invoke(deployment: Deployment, function: str, event: dict[str, str], stack: str = "Operations") -> dict[str, Any]:
    """Invoke a function, named by the start of its logical id; raise NotAccepted if it fails."""
    name = deployment.deployed.resource(stack, "AWS::Lambda::Function", function)
    answer = deployment.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise NotAccepted(f"{name} failed: {payload.get('errorMessage')}")
    return payload


def connection_secret(deployment: Deployment, name: str) -> dict[str, str]:
    """The value of `DatabaseRoles<name>` in the data stack."""
    arn = deployment.deployed.resource("Data", SECRET, f"DatabaseRoles{name}")
    value: dict[str, str] = json.loads(deployment.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    return value


def connect_to(deployment: Deployment, url: str) -> Connection:
    """A connection with the embedded certificate authorities."""
    return connect(url, authorities=str(authorities(deployment.folder)))


def connect_as(deployment: Deployment, secret: str) -> contextlib.closing[Connection]:
    """A connection to the instance with the DIRECT_URL of a connection secret."""
    return closing(connect_to(deployment, connection_secret(deployment, secret)["DIRECT_URL"]))


@contextlib.contextmanager
def connect_as_master(deployment: Deployment) -> Iterator[Connection]:
    """A connection with the instance's master secret."""
    rds, secrets = deployment.client("rds"), deployment.client("secretsmanager")
    (instance,) = rds.describe_db_instances()["DBInstances"]
    masters = [secret for secret in secrets.list_secrets()["SecretList"] if "DatabaseInstanceSecret" in secret["Name"]]
    value = json.loads(secrets.get_secret_value(SecretId=masters[0]["ARN"])["SecretString"])
    context = ssl.create_default_context(cafile=str(authorities(deployment.folder)))
    with closing(
        Connection(
            value["username"],
            password=value["password"],
            host=instance["Endpoint"]["Address"],
            port=instance["Endpoint"]["Port"],
            database=instance["DBName"],
            ssl_context=context,
        )
    ) as connection:
        yield connection
