"""Rotation of the owner's password between migrations, and of Redis's token without a refused task."""

from __future__ import annotations

import json

import pytest
from common import database_url, secrets
from rotation.database_login import LoginRefused

from tests.lambdas.rotation.fakes import Killed
from tests.lambdas.rotation.world import World, world

__all__ = ["world"]

pytestmark = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


def owner(world: World) -> str:
    """The owner's password in the migration secret. Checks both URLs and the login."""
    secret = world.secrets.value(world.names["migration"])
    assert secret["DATABASE_URL"] == secret["DIRECT_URL"]
    password = database_url.password_of(secret) or ""
    assert world.logs_in("carmen_owner", password)
    return password


def test_owner_password_rotates_and_daily_run_keeps_it(world: World) -> None:
    before = owner(world)
    assert world.rotate("owner") == {"rotated": ["owner"], "waiting": ""}
    after = owner(world)
    assert before != after
    assert not world.logs_in("carmen_owner", before)
    world.correct_roles()
    assert owner(world) == after
    assert world.cluster.rolls == 0  # no task of the service holds it
    world.check()


@pytest.mark.long
def test_owner_password_waits_for_a_migration(world: World) -> None:
    migration = world.cluster.start(group="family:carmen-migration", family="carmen-migration")
    before = owner(world)
    assert world.rotate("owner", seconds=31) == {"rotated": [], "waiting": "owner: a migration is running"}
    assert owner(world) == before
    migration.stop()
    world.rotate("owner")
    assert owner(world) != before


@pytest.mark.parametrize("step", [pytest.param(n, marks=[] if n == 5 else [pytest.mark.long]) for n in range(6)])
def test_next_run_succeeds_after_interrupted_owner_rotation(world: World, step: int) -> None:
    before = owner(world)
    world.steps.end_at = step
    with pytest.raises(Killed):
        world.rotate("owner")
    world.steps.end_at = None
    world.rotate("owner")
    assert owner(world) != before
    world.check()


def test_redis_token_rotates_under_running_tasks(world: World) -> None:
    tokens = list(world.redis.tokens)
    for _ in range(2):
        assert world.rotate("redis") == {"rotated": ["redis"], "waiting": ""}
        world.check()
        tokens.append(world.secrets.value(world.names["connection"])["REDISCLI_AUTH"])
    assert len(set(tokens)) == 3
    assert world.redis.tokens == tokens[-2:]
    assert world.secrets.value(world.names["redis"]) == {"value": tokens[-1]}
    world.correct_roles()
    world.check()


@pytest.mark.long
def test_next_run_invalidates_the_old_token(world: World) -> None:
    world.rotate("redis")
    for _ in range(3):
        assert world.rotate(None)["rotated"] == []
    assert world.redis.tokens == [world.secrets.value(world.names["redis"])["value"]]
    assert world.redis.calls == ["ROTATE", "SET"]  # no further calls
    world.check()


@pytest.mark.long
def test_rotation_waits_for_a_group_in_modification(world: World) -> None:
    world.redis.busy = 3
    assert world.rotate("redis")["rotated"] == ["redis"]
    assert world.redis.calls == ["ROTATE"] * 4
    world.check()


@pytest.mark.long
def test_all_credentials_may_be_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROTATE_AFTER_DAYS", json.dumps({"application": 1e-9, "owner": 1e-9, "redis": 1e-9}))
    assert world.rotate(None) == {"rotated": ["application", "owner", "redis"], "waiting": ""}
    world.check()


# The steps of one rotation of the token, as in test_rotation.py.
STEPS = [
    f"{when} {what}"
    for what in (
        "put_secret_value",  # the pending token
        "modify_replication_group",
        "update_secret_version_stage",
        "put_secret_value",  # the connection
        "update_service",
    )
    for when in ("before", "after")
]


@pytest.mark.parametrize(
    ("step", "roles_between"),
    [
        pytest.param(step, between, marks=[] if (step, between) == (5, True) else [pytest.mark.long])
        for step in range(len(STEPS))
        for between in (False, True)
    ],
)
def test_next_run_succeeds_after_interrupted_token_rotation(world: World, step: int, roles_between: bool) -> None:
    world.steps.end_at = step
    with pytest.raises(Killed, match=STEPS[step]):
        world.rotate("redis")
    world.steps.end_at = None
    if roles_between:
        world.correct_roles()
    for _ in range(3):
        world.rotate(None)
        world.check()
    token = world.secrets.value(world.names["redis"])["value"]
    assert world.redis.tokens[-1] == token
    world.rotate("redis")
    world.check()


@pytest.mark.long
def test_token_steps_are_complete(world: World) -> None:
    world.rotate("redis")
    assert world.steps.reached == STEPS


def test_set_without_rotate_fails_queries(world: World) -> None:
    """Without the time in which both tokens are valid, tasks fail. This shows that the other tests would find a failure."""
    world.redis.modify_replication_group(
        ReplicationGroupId="carmen", AuthToken="n" * 64, AuthTokenUpdateStrategy="SET", ApplyImmediately=True
    )
    assert "Redis refuses the token" in world.cluster.failures()


@pytest.mark.long
def test_empty_secret_is_reported(world: World) -> None:
    secrets.write(world.names["carmen_app_a"], {}, world.secrets)
    with pytest.raises(LookupError, match=r"has no value yet\. Invoke the database roles function"):
        world.rotate(None)


@pytest.mark.long
def test_refused_owner_is_reported(world: World) -> None:
    world.server.as_rdsadmin("ALTER ROLE carmen_owner PASSWORD 'other'")
    with pytest.raises(LoginRefused, match="carmen_owner cannot log in with"):
        world.rotate("owner")
    world.correct_roles()
    world.rotate("owner")
    owner(world)
