"""The application's password rotates without a failed request, even if the rotation is interrupted."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any, cast

import pytest
import rotation.handler
import rotation.service
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from common import database_url, secrets
from pg8000.exceptions import DatabaseError, InterfaceError
from rotation import alternation, database_login
from rotation.database_login import LoginRefused
from rotation.service import RollFailed

from tests.lambdas.rotation.fakes import Killed, meanwhile
from tests.lambdas.rotation.world import Context, World, world
from tools.processes import free_port

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])
REFUSED = ClientError({"Error": {"Code": "ServerException", "Message": "ECS is out"}}, "UpdateService")


def test_three_rotations_cause_no_failed_query(world: World) -> None:
    passwords = [world.secrets.value(world.names["connection"])["PGPASSWORD"]]
    for user in ("carmen_app_b", "carmen_app_a", "carmen_app_b"):
        assert world.rotate() == {"rotated": ["application"], "waiting": ""}
        assert world.in_use() == user
        world.check()
        passwords.append(world.secrets.value(world.names["connection"])["PGPASSWORD"])
    assert len(set(passwords)) == 4
    assert world.cluster.rolls == 3
    assert sum(task.queries for task in world.cluster.tasks) > 50
    assert not world.logs_in("carmen_app_a", passwords[0])


def test_ages_are_published_without_rotation(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 0, "owner": 0, "redis": 0}))
    before = world.secrets.value(world.names["connection"])
    capsys.readouterr()
    assert rotation.handler.handler({"action": "ages"}, cast(LambdaContext, Context())) == {"rotated": [], "waiting": ""}
    assert world.secrets.value(world.names["connection"]) == before
    assert world.cluster.rolls == 0
    published = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RotationAgeDays" in line]
    assert {one["Kind"] for one in published} == {"application", "owner", "redis"}
    assert all(one["RotationAgeDays"] != [] and one["service"] == "rotation" for one in published)


def test_rotation_of_the_user_in_use_fails_queries(world: World) -> None:
    """With one user the same clients fail. This shows that the other tests would find a failure."""
    written, user = world.secrets.value(world.names["connection"]), world.in_use()
    where = database_login.Database(host="localhost", proxy_host="localhost", port=world.server.port, name=world.database)
    password = database_login._renew(user, world.names[user], where, world.secrets)
    changed = database_url.with_login(written, user=user, password=password)
    secrets.write(world.names["connection"], changed, world.secrets)
    world.cluster.update_service(cluster="c", service="carmen", forceNewDeployment=True)
    world.cluster.wait()
    failures = world.cluster.failures()
    assert failures
    assert all("password authentication failed" in failure for failure in failures)


@pytest.mark.long
def test_only_due_credentials_rotate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    assert world.cluster.rolls == 0
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 0.5 / 86400}))
    time.sleep(0.6)
    assert world.rotate(None) == {"rotated": ["application"], "waiting": ""}
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 30}))
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    world.check()


@pytest.mark.long
def test_concurrent_runs_are_serialized(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs wait for the clock skew after the first change, as in AWS, where it is seconds: one of them rolls the service."""
    skew = timedelta(seconds=0.5)
    monkeypatch.setattr(rotation.service, "CLOCK_SKEW", skew)
    for task in world.cluster.tasks:  # certainly newer than the secret
        task.created += skew
    answers: list[dict[str, Any]] = []
    runs = [threading.Thread(target=lambda: answers.append(world.rotate())) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert answers == [{"rotated": ["application"], "waiting": ""}] * 2
    assert (world.in_use(), world.cluster.rolls) == ("carmen_app_a", 2)
    world.check()


# The steps of one rotation; test_steps_are_complete checks the list. Most are tested only in `make test-all`.
STEPS = [
    f"{when} {what}"
    for what in (
        "login on the instance",  # with the idle user's password
        "put_secret_value",  # its new password
        "login on the instance",  # with the new password
        "login on the proxy",
        "put_secret_value",  # the connection
        "update_service",
    )
    for when in ("before", "after")
]
QUICK = [(4, True), (9, False)]  # after the password change; after the connection secret


@pytest.mark.parametrize(
    ("step", "roles_between"),
    [
        pytest.param(step, between, marks=[] if (step, between) in QUICK else [pytest.mark.long])
        for step in range(len(STEPS))
        for between in (False, True)
    ],
)
def test_next_run_succeeds_after_interruption_at_any_step(world: World, step: int, roles_between: bool) -> None:
    world.steps.end_at = step
    with pytest.raises(Killed, match=STEPS[step]):
        world.rotate()
    world.steps.end_at = None
    assert world.cluster.failures() == []
    if roles_between:
        world.correct_roles()
    world.rotate()
    world.check()


@pytest.mark.long
def test_steps_are_complete(world: World) -> None:
    world.rotate()
    assert world.steps.reached == STEPS


def test_daily_roles_run_keeps_new_passwords(world: World) -> None:
    with meanwhile(world.correct_roles) as raised:
        for user in ("carmen_app_b", "carmen_app_a", "carmen_app_b"):
            world.rotate()
            assert world.in_use() == user
    assert raised == []
    world.check()


@pytest.mark.long
def test_draining_task_keeps_its_login(world: World) -> None:
    """Its desired status is STOPPED, and it still serves requests."""
    world.rotate()
    straggler = world.cluster.start()
    world.rotate()
    straggler.drain()
    begun = time.monotonic()
    threading.Timer(1, straggler.stop).start()
    world.rotate()
    assert time.monotonic() - begun > 1
    assert straggler.failures == []
    world.check()


@pytest.mark.long
def test_shell_keeps_its_login(world: World) -> None:
    """The shell cannot be rolled: a later run continues after it ends."""
    shell = world.cluster.start(group="family:carmen-operations", family="carmen-operations")
    answer = world.rotate()
    assert (answer["rotated"], shell.arn.rsplit("/", 1)[-1] in answer["waiting"]) == (["application"], True)
    assert world.rotate()["rotated"] == []
    assert world.in_use() == "carmen_app_b"
    shell.stop()
    assert world.rotate() == {"rotated": ["application"], "waiting": ""}
    world.check()


def test_refused_roll_is_repeated(world: World) -> None:
    world.cluster.refuses = REFUSED
    with pytest.raises(ClientError, match="ECS is out"):
        world.rotate()
    with pytest.raises(ClientError, match="ECS is out"):  # no further rotation before a successful roll
        world.rotate()
    assert world.in_use() == "carmen_app_b"
    assert world.cluster.failures() == []
    world.cluster.refuses = None
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    assert world.cluster.rolls == 1
    world.check()


@pytest.mark.long
def test_tasks_keep_their_login_after_a_rollback(world: World) -> None:
    world.cluster.rolls_back = True
    with pytest.raises(RollFailed, match="1 old tasks still run"):
        world.rotate()
    assert world.cluster.failures() == []
    world.cluster.rolls_back = False
    world.rotate(None)
    world.check()


@pytest.mark.long
def test_run_out_of_time_reports_what_it_waits_for(world: World) -> None:
    assert world.rotate(seconds=rotation.handler.RESERVE_SECONDS + 0.4)["waiting"].startswith("tasks started before")
    world.cluster.wait()
    world.rotate(None)
    world.check()


@pytest.mark.long
def test_run_without_enough_time_does_not_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternation, "STEP_SECONDS", 150)
    assert world.rotate() == {"rotated": [], "waiting": "application: too little time is left in this run"}
    assert world.in_use() == "carmen_app_a"


@pytest.mark.long
def test_refused_password_stops_until_roles_are_corrected(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.server.as_rdsadmin("ALTER ROLE carmen_app_b PASSWORD 'wrong'")
    with pytest.raises(LoginRefused, match=r"carmen_app_b cannot log in with .* Invoke the database roles function"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    assert world.cluster.failures() == []
    world.correct_roles()
    world.rotate()
    world.check()
    assert '"RotationFailed"' in capsys.readouterr().out


@pytest.mark.long
def test_user_without_privileges_is_not_used(world: World) -> None:
    world.server.as_rdsadmin("REVOKE carmen_app FROM carmen_app_b GRANTED BY carmen_master")
    with pytest.raises(DatabaseError, match="permission denied for database"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    world.correct_roles()
    world.rotate()
    world.check()


@pytest.mark.long
def test_connection_secret_waits_for_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "127.0.0.2")  # a closed port
    monkeypatch.setattr(database_login, "PROXY_WAIT_SECONDS", 0.3)
    with pytest.raises(LoginRefused, match="The proxy does not accept carmen_app_b's new password"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    monkeypatch.setenv("PROXY_HOST", "localhost")
    world.rotate()
    world.check()


def test_rotation_without_a_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "")
    world.rotate()
    assert world.in_use() == "carmen_app_b"
    world.check()


def test_nothing_changes_while_the_database_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PORT", str(free_port()))
    with pytest.raises(InterfaceError, match="Can't create a connection"):
        world.rotate()
    assert not [step for step in world.steps.reached if "put_secret" in step]
    world.check()


def test_no_password_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.rotate()
    printed = capsys.readouterr().out + world.server.log.read_text()
    for user in ("carmen_app_a", "carmen_app_b"):
        assert world.password(user) not in printed
    assert '"RotationAgeDays"' in printed
    assert "ALTER ROLE" in printed


def test_unknown_kind_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="'jwt'; it must be one of application, owner, redis"):
        world.rotate("jwt")
