"""The owner's password and Redis's token rotate too, the one between migrations, the other without one refused task."""

from __future__ import annotations

import json

import pytest
from common import connection_secret, secrets
from rotation.database_login import NoLogin

from tests.lambdas.rotation.environment import World, world
from tests.lambdas.rotation.fakes import Killed

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


def owner(world: World) -> str:
    """The owner's password as the migration task would read it; both URLs hold it and the login works."""
    secret = world.secrets.value(world.names["migration"])
    assert secret["DATABASE_URL"] == secret["DIRECT_URL"]
    password = connection_secret.password_of(secret) or ""
    assert world.logs_in("carmen_owner", password)
    return password


def test_the_owner_gets_a_new_password_and_the_daily_run_keeps_it(world: World) -> None:
    before = owner(world)
    assert world.rotate("owner") == {"rotated": ["owner"], "waiting": ""}
    after = owner(world)
    assert before != after
    assert not world.logs_in("carmen_owner", before)
    world.correct_roles()
    assert owner(world) == after
    assert world.cluster.rolls == 0  # no task of the service holds it
    world.holds()


@pytest.mark.long
def test_the_owner_keeps_its_password_while_a_migration_runs(world: World) -> None:
    migration = world.cluster.start(group="family:carmen-migration", family="carmen-migration")
    before = owner(world)
    assert world.rotate("owner", seconds=31) == {"rotated": [], "waiting": "owner: a migration runs"}
    assert owner(world) == before
    migration.stop()
    world.rotate("owner")
    assert owner(world) != before


@pytest.mark.parametrize("step", [pytest.param(n, marks=[] if n == 5 else [pytest.mark.long]) for n in range(8)])
def test_interrupted_with_the_owner_the_next_run_succeeds(world: World, step: int) -> None:
    before = owner(world)
    world.steps.end_at = step
    with pytest.raises(Killed):
        world.rotate("owner")
    world.steps.end_at = None
    world.rotate("owner")
    assert owner(world) != before
    world.holds()


def test_the_redis_token_changes_under_running_tasks(world: World) -> None:
    tokens = list(world.redis.tokens)
    for _ in range(2):
        assert world.rotate("redis") == {"rotated": ["redis"], "waiting": ""}
        world.holds()
        tokens.append(world.secrets.value(world.names["connection"])["REDISCLI_AUTH"])
    assert len(set(tokens)) == 3
    assert world.redis.tokens == tokens[-2:]
    assert world.secrets.value(world.names["redis"]) == {"value": tokens[-1]}
    world.correct_roles()
    world.holds()


@pytest.mark.long
def test_the_old_token_ends_with_the_next_run(world: World) -> None:
    world.rotate("redis")
    for _ in range(3):
        assert world.rotate(None)["rotated"] == []
    assert world.redis.tokens == [world.secrets.value(world.names["redis"])["value"]]
    assert world.redis.calls == ["ROTATE", "SET"]  # and asks no more
    world.holds()


@pytest.mark.long
def test_a_group_that_is_being_modified_is_waited_for(world: World) -> None:
    world.redis.busy = 3
    assert world.rotate("redis")["rotated"] == ["redis"]
    assert world.redis.calls == ["ROTATE"] * 4
    world.holds()


@pytest.mark.long
def test_redis_and_the_application_may_both_be_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 1e-9, "owner": 1e-9, "redis": 1e-9}))
    assert world.rotate(None) == {"rotated": ["application", "owner", "redis"], "waiting": ""}
    world.holds()


# Of one rotation of the token, as in test_rotation.py.
STEPS = [
    f"{when} {what}"
    for what in (
        "login on the instance",  # for the lock
        "put_secret_value",  # the pending token
        "modify_replication_group",
        "login on the instance",  # for the lock, once Redis takes it
        "update_secret_version_stage",
        "put_secret_value",  # the connection
        "update_service",
    )
    for when in ("before", "after")
]


@pytest.mark.parametrize(
    ("step", "roles_between"),
    [
        pytest.param(step, between, marks=[] if (step, between) == (9, True) else [pytest.mark.long])
        for step in range(len(STEPS))
        for between in (False, True)
    ],
)
def test_interrupted_with_the_token_the_next_runs_succeed(world: World, step: int, roles_between: bool) -> None:
    world.steps.end_at = step
    with pytest.raises(Killed, match=STEPS[step]):
        world.rotate("redis")
    world.steps.end_at = None
    if roles_between:
        world.correct_roles()
    for _ in range(3):
        world.rotate(None)
        world.holds()
    token = world.secrets.value(world.names["redis"])["value"]
    assert world.redis.tokens[-1] == token
    world.rotate("redis")
    world.holds()


@pytest.mark.long
def test_every_step_with_the_token_is_tried(world: World) -> None:
    world.rotate("redis")
    assert world.steps.reached == STEPS


def test_a_token_that_only_is_set_is_noticed(world: World) -> None:
    """The same tasks, without the time in which both tokens are good: else the other tests would prove nothing."""
    world.redis.modify_replication_group(
        ReplicationGroupId="carmen", AuthToken="n" * 64, AuthTokenUpdateStrategy="SET", ApplyImmediately=True
    )
    assert "Redis refuses the token" in world.cluster.failures()


@pytest.mark.long
def test_a_secret_without_a_value_is_said(world: World) -> None:
    secrets.write(world.names["carmen_app_a"], {}, world.secrets)
    with pytest.raises(LookupError, match="has no value yet: run database_roles first"):
        world.rotate(None)


@pytest.mark.long
def test_a_refused_owner_is_said(world: World) -> None:
    world.server.as_rdsadmin("ALTER ROLE carmen_owner PASSWORD 'other'")
    with pytest.raises(NoLogin, match="carmen_owner logs in with neither"):
        world.rotate("owner")
    world.correct_roles()
    world.rotate("owner")
    owner(world)
