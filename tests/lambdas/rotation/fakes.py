"""Surroundings of a rotation: real logins and secrets, and a fake cluster whose tasks use the values from their start.

PostgreSQL is a real server, Secrets Manager the embedded AWS's. ECS, ElastiCache and Redis are fakes with the rules that matter here:
a task keeps its secrets, a roll replaces one task after the other, a draining task still serves, and Redis accepts the tokens that
ROTATE and SET leave.
"""

from __future__ import annotations

import itertools
import json
import socket
import socketserver
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme
from common import database_url
from pg8000.exceptions import DatabaseError, InterfaceError

from local.services.stand_in_carmen import connect

DRAIN_SECONDS = 0.1
USERS = ("carmen_app_a", "carmen_app_b", "carmen_monitor_proxy")


class Killed(BaseException):
    """The function was killed here."""


@dataclass
class Steps:
    """Records all calls to services in order, and kills the run at number `end_at`."""

    end_at: int | None = None
    reached: list[str] = field(default_factory=list)

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._reach(f"before {name}")
            answer = call(*args, **kwargs)
            self._reach(f"after {name}")
            return answer

        return watched

    def _reach(self, point: str) -> None:
        self.reached.append(point)
        if self.end_at == len(self.reached) - 1:
            raise Killed(point)


class Secrets:
    """The embedded AWS's Secrets Manager, with milliseconds in creation times, as in AWS."""

    def __init__(self, client: Any, steps: Steps) -> None:
        self.real, self.exceptions = client, client.exceptions
        self._made: dict[str, datetime] = {}
        self.put_secret_value = steps.watch("put_secret_value", self._put)
        self.update_secret_version_stage = steps.watch("update_secret_version_stage", client.update_secret_version_stage)
        self.describe_secret = client.describe_secret

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.real.get_secret_value(**asked)
        return answer | {"CreatedDate": self._made.get(answer["VersionId"], answer["CreatedDate"])}

    def _put(self, **given: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.real.put_secret_value(**given)
        self._made[answer["VersionId"]] = datetime.now(UTC)
        return answer

    def value(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.real.get_secret_value(SecretId=name)["SecretString"])
        return found


@dataclass
class Task:
    """A task of the application: credentials from its start, a new connection for each query."""

    arn: str
    group: str
    environment: dict[str, str]
    check: Callable[[dict[str, str]], str | None]
    family: str = "carmen"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    desired: str = "RUNNING"
    last: str = "RUNNING"
    queries: int = 0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._end.is_set():
            if failure := self.check(self.environment):
                self.failures.append(failure)
            self.queries += 1
            self._end.wait(0.03)

    def drain(self) -> None:
        self.desired, self.last = "STOPPED", "DEACTIVATING"

    def stop(self) -> None:
        self._end.set()
        self._thread.join(10)
        self.desired = self.last = "STOPPED"

    def described(self) -> dict[str, Any]:
        return {
            "taskArn": self.arn,
            "taskDefinitionArn": f"arn:aws:ecs:us-east-1:000000000000:task-definition/{self.family}:1",
            "group": self.group,
            "createdAt": self.created,
            "desiredStatus": self.desired,
            "lastStatus": self.last,
        }


class Cluster:
    """The part of ECS that rotation uses."""

    def __init__(self, read_secret: Callable[[], dict[str, str]], check: Callable[[dict[str, str]], str | None], steps: Steps) -> None:
        self._read, self._check = read_secret, check
        self._numbers = itertools.count(1)
        self._roller: threading.Thread | None = None
        self.tasks: list[Task] = []
        self.refuses: Exception | None = None
        self.rolls_back = False
        self.rolls = 0
        self.update_service = steps.watch("update_service", self._update_service)

    def start(self, group: str = "service:carmen", family: str = "carmen") -> Task:
        task = Task(f"arn:aws:ecs:us-east-1:000000000000:task/c/{next(self._numbers)}", group, self._read(), self._check, family)
        self.tasks.append(task)
        return task

    def failures(self) -> list[str]:
        """The failures of all tasks, after at least one more query by each."""
        for task in self.tasks:
            asked = task.queries
            while task.last != "STOPPED" and task.queries < asked + 2:
                time.sleep(0.005)
        return [failure for task in self.tasks for failure in task.failures]

    def running(self) -> list[Task]:
        return [task for task in self.tasks if task.last != "STOPPED"]

    def wait(self) -> None:
        if self._roller:
            self._roller.join(30)

    def stop(self) -> None:
        self.wait()
        for task in self.running():
            task.stop()

    # The API

    def get_paginator(self, operation: str) -> Cluster:
        assert operation == "list_tasks"
        return self

    def paginate(self, cluster: str, desiredStatus: str) -> list[dict[str, list[str]]]:
        return [{"taskArns": [task.arn]} for task in self.tasks if task.desired == desiredStatus]

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:
        assert 1 <= len(tasks) <= 100
        return {"tasks": [task.described() for task in self.tasks if task.arn in tasks]}

    def describe_services(self, cluster: str, services: list[str]) -> dict[str, Any]:
        rolling = self._roller is not None and self._roller.is_alive()
        return {"services": [{"deployments": [{"status": "PRIMARY", "rolloutState": "IN_PROGRESS" if rolling else "COMPLETED"}]}]}

    def _update_service(self, cluster: str, service: str, forceNewDeployment: bool) -> None:
        assert forceNewDeployment
        if self.refuses:
            raise self.refuses
        self.rolls += 1
        old = [task for task in self.running() if task.group == f"service:{service}"]
        self._roller = threading.Thread(target=self._roll, args=(old, f"service:{service}"), daemon=True)
        self._roller.start()

    def _roll(self, old: list[Task], group: str) -> None:
        for number, task in enumerate(old):
            new = self.start(group)
            if self.rolls_back and number == 1:
                new.stop()
                return
            while not new.queries:
                time.sleep(0.005)
            task.drain()
            time.sleep(DRAIN_SECONDS)
            task.stop()


class Redis:
    """A Redis server with TLS, AUTH and PING, and ElastiCache's API that changes its tokens."""

    class exceptions:
        class InvalidReplicationGroupStateFault(Exception):
            """The group is being modified."""

    def __init__(self, token: str, folder: Path, steps: Steps) -> None:
        self.tokens = [token]
        self.calls: list[str] = []
        self.busy = 0  # this many calls find a group in modification
        self.modify_replication_group = steps.watch("modify_replication_group", self._modify)
        authority = trustme.CA()
        self.ca_file = folder / "redis-ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._trust = ssl.create_default_context(cafile=self.ca_file)
        redis = self

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with context.wrap_socket(self.request, server_side=True) as connection, connection.makefile("rwb") as stream:
                    for _ in range(5):
                        line = stream.readline()
                    stream.write(b"+OK\r\n" if line.strip().decode() in redis.tokens else b"-WRONGPASS invalid username-password pair\r\n")
                    stream.flush()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: Any, address: Any) -> None:
                """Print nothing."""

        self._server = Server(("127.0.0.1", 0), Answer)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def accepts(self, token: str) -> bool:
        with (
            socket.create_connection(("localhost", self.port), 5) as plain,
            self._trust.wrap_socket(plain, server_hostname="localhost") as tls,
            tls.makefile("rwb") as stream,
        ):
            stream.write(f"*2\r\n$4\r\nAUTH\r\n${len(token)}\r\n{token}\r\n".encode())
            stream.flush()
            return stream.readline() == b"+OK\r\n"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _modify(self, ReplicationGroupId: str, AuthToken: str, AuthTokenUpdateStrategy: str, ApplyImmediately: bool) -> None:
        """ROTATE keeps the newest old token, SET keeps none."""
        assert ApplyImmediately
        self.calls.append(AuthTokenUpdateStrategy)
        if self.busy:
            self.busy -= 1
            raise self.exceptions.InvalidReplicationGroupStateFault
        self.tokens = [AuthToken] if AuthTokenUpdateStrategy == "SET" else [self.tokens[-1], AuthToken]


def database_failure(environment: dict[str, str], authorities: Path) -> str | None:
    """The error of an application's query."""
    try:
        with closing(connect(environment["DATABASE_URL"], str(authorities))) as session:
            assert session.run("SELECT current_user") == [[database_url.user_of(environment)]]
    except (DatabaseError, InterfaceError, OSError) as error:
        return str(error)
    return None


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Repeat `action` in another thread during the block. Yields the errors."""
    end, raised = threading.Event(), list[BaseException]()

    def repeat() -> None:
        while not end.is_set():
            try:
                action()
            except Exception as error:  # noqa: BLE001 (checked by the test)
                raised.append(error)
            end.wait(0.2)  # lets others get the lock

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield raised
    finally:
        end.set()
        thread.join(30)


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"
