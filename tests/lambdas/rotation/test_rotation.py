"""The application's password rotates without one failed request, whatever interrupts it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, cast

import pytest
import rotation.handler
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from common import connection_secret, secrets
from pg8000.exceptions import DatabaseError, InterfaceError
from rotation import database_login, turns
from rotation.database_login import NoLogin
from rotation.service import RollFailed

from tests.lambdas.rotation.environment import Context, World, world
from tests.lambdas.rotation.fakes import Killed, meanwhile
from tools.processes import free_port

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])
REFUSED = ClientError({"Error": {"Code": "ServerException", "Message": "ECS is out"}}, "UpdateService")


def test_nobody_notices_three_rotations_in_a_row(world: World) -> None:
    passwords = [world.secrets.value(world.names["connection"])["PGPASSWORD"]]
    for user in ("carmen_app_b", "carmen_app_a", "carmen_app_b"):
        assert world.rotate() == {"rotated": ["application"], "waiting": ""}
        assert world.in_use() == user
        world.holds()
        passwords.append(world.secrets.value(world.names["connection"])["PGPASSWORD"])
    assert len(set(passwords)) == 4
    assert world.cluster.rolls == 3
    assert sum(task.queries for task in world.cluster.tasks) > 50
    assert not world.logs_in("carmen_app_a", passwords[0])


def test_how_old_credentials_are_is_published_without_rotating_what_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 0, "owner": 0, "redis": 0}))
    before = world.secrets.value(world.names["connection"])
    capsys.readouterr()
    assert rotation.handler.handler({"action": "ages"}, cast(LambdaContext, Context())) == {"rotated": [], "waiting": ""}
    assert world.secrets.value(world.names["connection"]) == before
    assert world.cluster.rolls == 0
    published = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RotationAgeDays" in line]
    assert {one["Kind"] for one in published} == {"application", "owner", "redis"}
    assert all(one["RotationAgeDays"] != [] and one["service"] == "rotation" for one in published)


def test_a_rotation_of_the_user_in_use_is_noticed(world: World) -> None:
    """The same clients, the same roll, one user: if nothing failed here, the other tests would prove nothing."""
    written, user = world.secrets.value(world.names["connection"]), world.in_use()
    where = database_login.Database(host="localhost", proxy_host="localhost", port=world.server.port, name=world.database)
    password = database_login._renew(user, world.names[user], database_login._password, database_login._with_password, where, world.secrets)
    changed = connection_secret.with_login(written, user=user, password=password)
    secrets.write(world.names["connection"], changed, world.secrets)
    world.cluster.update_service(cluster="c", service="carmen", forceNewDeployment=True)
    world.cluster.wait()
    failures = world.cluster.failures()
    assert failures
    assert all("password authentication failed" in failure for failure in failures)


@pytest.mark.long
def test_what_is_not_due_is_left_alone_and_what_is_due_rotates_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    assert world.cluster.rolls == 0
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 0.5 / 86400}))
    time.sleep(0.6)
    assert world.rotate(None) == {"rotated": ["application"], "waiting": ""}
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 30}))
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    world.holds()


@pytest.mark.long
def test_two_at_once_take_turns(world: World) -> None:
    answers: list[dict[str, Any]] = []
    runs = [threading.Thread(target=lambda: answers.append(world.rotate())) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert answers == [{"rotated": ["application"], "waiting": ""}] * 2
    assert (world.in_use(), world.cluster.rolls) == ("carmen_app_a", 2)
    world.holds()


# Of one rotation; test_every_step_is_tried holds the list. Each is tried, most of them in `make test-all` alone.
STEPS = [
    f"{when} {what}"
    for what in (
        "login on the instance",  # for the lock
        "login on the instance",  # with the idle user's password
        "put_secret_value",  # its new one
        "login on the instance",  # with it
        "login on the proxy",
        "put_secret_value",  # the connection
        "update_service",
    )
    for when in ("before", "after")
]
QUICK = [(6, True), (11, False)]  # the password is changed; the connection names it


@pytest.mark.parametrize(
    ("step", "roles_between"),
    [
        pytest.param(step, between, marks=[] if (step, between) in QUICK else [pytest.mark.long])
        for step in range(len(STEPS))
        for between in (False, True)
    ],
)
def test_interrupted_at_any_step_the_next_run_succeeds(world: World, step: int, roles_between: bool) -> None:
    world.steps.end_at = step
    with pytest.raises(Killed, match=STEPS[step]):
        world.rotate()
    world.steps.end_at = None
    assert world.cluster.failures() == []
    if roles_between:
        world.correct_roles()
    world.rotate()
    world.holds()


@pytest.mark.long
def test_every_step_is_tried(world: World) -> None:
    world.rotate()
    assert world.steps.reached == STEPS


def test_the_daily_correction_of_roles_undoes_nothing(world: World) -> None:
    with meanwhile(world.correct_roles) as raised:
        for user in ("carmen_app_b", "carmen_app_a", "carmen_app_b"):
            world.rotate()
            assert world.in_use() == user
    assert raised == []
    world.holds()


@pytest.mark.long
def test_a_task_that_drains_keeps_its_login(world: World) -> None:
    """It wants to be STOPPED, and serves on."""
    world.rotate()
    straggler = world.cluster.start()
    world.rotate()
    straggler.drain()
    begun = time.monotonic()
    threading.Timer(1, straggler.stop).start()
    world.rotate()
    assert time.monotonic() - begun > 1
    assert straggler.failures == []
    world.holds()


@pytest.mark.long
def test_a_persons_shell_keeps_its_login(world: World) -> None:
    """It cannot be rolled: the rotation waits for its end, without sitting there."""
    shell = world.cluster.start(group="family:carmen-operations", family="carmen-operations")
    answer = world.rotate()
    assert (answer["rotated"], shell.arn.rsplit("/", 1)[-1] in answer["waiting"]) == (["application"], True)
    assert world.rotate()["rotated"] == []
    assert world.in_use() == "carmen_app_b"
    shell.stop()
    assert world.rotate() == {"rotated": ["application"], "waiting": ""}
    world.holds()


def test_a_roll_that_is_refused_is_made_up_for(world: World) -> None:
    world.cluster.refuses = REFUSED
    with pytest.raises(ClientError, match="ECS is out"):
        world.rotate()
    with pytest.raises(ClientError, match="ECS is out"):  # and nothing rotates on before it is made up for
        world.rotate()
    assert world.in_use() == "carmen_app_b"
    assert world.cluster.failures() == []
    world.cluster.refuses = None
    assert world.rotate(None) == {"rotated": [], "waiting": ""}
    assert world.cluster.rolls == 1
    world.holds()


@pytest.mark.long
def test_a_roll_that_ecs_rolls_back_leaves_every_task_its_login(world: World) -> None:
    world.cluster.rolls_back = True
    with pytest.raises(RollFailed, match="1 old tasks still run"):
        world.rotate()
    assert world.cluster.failures() == []
    world.cluster.rolls_back = False
    world.rotate(None)
    world.holds()


@pytest.mark.long
def test_a_run_that_is_out_of_time_says_what_it_waits_for(world: World) -> None:
    assert world.rotate(seconds=rotation.handler.RESERVE_SECONDS + 0.4)["waiting"].startswith("tasks started before")
    world.cluster.wait()
    world.rotate(None)
    world.holds()


@pytest.mark.long
def test_a_run_without_time_for_a_whole_turn_begins_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STEP_SECONDS", 150)
    assert world.rotate() == {"rotated": [], "waiting": "application: too little time is left for it in this run"}
    assert world.in_use() == "carmen_app_a"


@pytest.mark.long
def test_a_password_that_does_not_log_in_stops_it_until_roles_are_corrected(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.server.as_rdsadmin("ALTER ROLE carmen_app_b PASSWORD 'somebody''s'")
    with pytest.raises(NoLogin, match=r"carmen_app_b logs in with neither .* run database_roles"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    assert world.cluster.failures() == []
    world.correct_roles()
    world.rotate()
    world.holds()
    assert '"RotationFailed"' in capsys.readouterr().out


@pytest.mark.long
def test_a_user_who_lost_the_applications_privileges_is_not_taken(world: World) -> None:
    world.server.as_rdsadmin("REVOKE carmen_app FROM carmen_app_b GRANTED BY carmen_master")
    with pytest.raises(DatabaseError, match="permission denied for database"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    world.correct_roles()
    world.rotate()
    world.holds()


@pytest.mark.long
def test_the_connection_secret_is_left_until_the_proxy_knows_the_password(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "127.0.0.2")  # nobody listens there
    monkeypatch.setattr(database_login, "PROXY_PATIENCE_SECONDS", 0.3)
    with pytest.raises(NoLogin, match="the proxy does not take carmen_app_b's new password"):
        world.rotate()
    assert world.in_use() == "carmen_app_a"
    monkeypatch.setenv("PROXY_HOST", "localhost")
    world.rotate()
    world.holds()


def test_without_a_proxy_the_instance_alone_is_tried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_HOST", "")
    world.rotate()
    assert world.in_use() == "carmen_app_b"
    world.holds()


def test_nothing_changes_while_the_database_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PORT", str(free_port()))
    with pytest.raises(InterfaceError, match="Can't create a connection"):
        world.rotate()
    assert not [step for step in world.steps.reached if "put_secret" in step]
    world.holds()


def test_no_password_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.rotate()
    printed = capsys.readouterr().out + world.server.log.read_text()
    for user in ("carmen_app_a", "carmen_app_b"):
        assert world.password(user) not in printed
    assert '"RotationAgeDays"' in printed
    assert "ALTER ROLE" in printed


def test_an_unknown_kind_is_told_what_there_is(world: World) -> None:
    with pytest.raises(ValueError, match="'jwt'; it can be application, owner, redis"):
        world.rotate("jwt")
