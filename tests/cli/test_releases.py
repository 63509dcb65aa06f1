"""Records of releases: rollback, interruptions at every call to AWS, two releases at once, and a parameter that somebody changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from settings.loader import load
from tests.cli.conftest import main
from tests.cli.fakes import DIGEST, NEXT, REPOSITORY, Account
from tools import release_lock, releases
from tools.cli.commands import checklist, release
from tools.environment import Deployed, FailedError, RefusedError

FIRST, SECOND, THIRD = (f"{REPOSITORY}@{digest}" for digest in (DIGEST, NEXT, "sha256:" + "c" * 64))
LOCK = "/carmen/prod/image-release-lock"


SETTINGS = load("prod")


def environment(account: Any, changes: list[tuple[str, str]] | None = None) -> Deployed:
    return Deployed(SETTINGS, account, lambda *change: None if changes is None else changes.append(change))


def outcomes(account: Account) -> list[tuple[str, str]]:
    """(last letter of the image, outcome), the newest first."""
    return [(one.image[-1], one.outcome) for one in releases.releases(environment(account))]


def released(*images: str, fails: str = "") -> Account:
    """An account in which these images were released, and then `fails` failed."""
    account = Account("placeholder")
    for image in images:
        release.release(environment(account), image)
    if fails:
        account.starts = False
        with pytest.raises(FailedError, match="Web: circuit breaker was triggered"):
            release.release(environment(account), fails)
        account.starts = True
    account.done.clear()
    return account


def test_rollback_after_a_failed_release_does_not_deploy_it() -> None:
    """It did: the parameter's history was A, B, A, and the last other image B."""
    account = released(FIRST, fails=SECOND)
    assert (account.value, outcomes(account)) == (FIRST, [("b", "failed"), ("a", "healthy"), ("r", "unknown")])
    with pytest.raises(
        RefusedError, match=rf"Nothing was changed: {FIRST} runs, the last image that became healthy. the release of {SECOND}"
    ):
        release.rollback(environment(account))
    assert account.done == []


def test_rollback_skips_a_failed_release() -> None:
    account = released(FIRST, SECOND)
    account.starts = False
    with pytest.raises(FailedError):
        release.release(environment(account), THIRD)
    with pytest.raises(RefusedError, match=f"For an older image: `./carmen release deploy {FIRST} --env prod`"):
        release.rollback(environment(account))


def test_rollback_states_both_images_and_warns_when_repeated() -> None:
    account, changes = released(FIRST, SECOND), list[tuple[str, str]]()
    release.rollback(environment(account, changes))
    assert (account.runs, account.value, account.done) == (FIRST, FIRST, ["names a", "rolls", "names a"])  # no tasks
    again = "`./carmen release rollback --env prod` again returns to"
    assert changes == [(f"image {SECOND} -> {FIRST}", f"{again} {SECOND} (database migrations stay)")]
    release.rollback(environment(account, changes))
    assert account.runs == SECOND
    change, undo = changes[1]
    assert change.startswith(f"image {FIRST} -> {SECOND}. Warning: the rollback to {FIRST} (2026-11-20 12:00 UTC by arn:")
    assert change.endswith("left this image; this returns to it")
    assert undo.startswith(f"{again} {FIRST}")


def test_rollback_needs_an_image_that_became_healthy() -> None:
    with pytest.raises(RefusedError, match="No earlier image"):
        release.rollback(environment(released(FIRST)))
    with pytest.raises(RefusedError, match="No earlier image"):
        release.rollback(environment(Account("placeholder")))


def test_image_that_ran_before_the_records_can_be_rolled_back_to() -> None:
    account = Account(FIRST)
    release.release(environment(account), SECOND)
    release.rollback(environment(account))
    assert account.runs == FIRST


def test_record_has_tags_user_time_and_migration(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    account = released(FIRST, fails=SECOND)
    newest, oldest, _ = releases.releases(environment(account))
    assert (newest.tags, newest.by, newest.migrated, newest.before) == (("v2",), account.user, True, FIRST)
    assert (oldest.migrated, oldest.reason) == (True, "")
    monkeypatch.setattr("tools.cli.options.connect", lambda name, approve=None: environment(account))
    capsys.readouterr()
    assert main(["release", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"     2026-11-20 12:00 UTC  failed             {SECOND} (v2)  {account.user}"
    assert lines[1] == f"     {FIRST} kept running. Web: circuit breaker was triggered The database was migrated."
    assert lines[2] == f"runs 2026-11-20 12:00 UTC  healthy            {FIRST} (v2)  {account.user}"
    assert main(["release", "list", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["runs"], answer["parameter"], answer["findings"]) == (FIRST, FIRST, [])
    assert [one["outcome"] for one in answer["releases"]] == ["failed", "healthy", "unknown"]


def test_record_fits_into_a_description() -> None:
    """PutParameter, Description: 1,024 characters."""
    record = releases.Release(FIRST, SECOND, releases.FAILED, 'Quotes " and \n lines. ' * 200, tags=("v" * 128,) * 3, by="arn" * 60)
    assert len(record.to_json()) <= releases.DESCRIPTION_CHARACTERS
    read = releases.Release.from_json(record.to_json())
    assert read
    assert (read.image, read.before, read.id, read.reason[:40]) == (FIRST, SECOND, record.id, record.reason[:40])


@pytest.mark.parametrize("text", ["", "The application image that runs", "{}", "[]", "null", '{"image": "a", "other": 1}'])
def test_description_that_is_no_record_is_none(text: str) -> None:
    assert releases.Release.from_json(text) is None


class Killed(BaseException):
    """The end of a process: nothing that it calls afterwards reaches AWS."""


class Dying:
    """An account whose client dies at call number `at`: AWS executed that call, or did not."""

    def __init__(self, account: Any, at: int, executed: bool, calls: list[str] | None = None) -> None:
        self._account, self._at, self._executed, self.calls = account, at, executed, [] if calls is None else calls

    def _wrapped(self, part: Any) -> Dying:
        return Dying(part, self._at, self._executed, self.calls)

    def client(self, service: str, **options: Any) -> Dying:
        return self._wrapped(self._account.client(service, **options))

    def get_paginator(self, method: str) -> Dying:
        return self._wrapped(self._account.get_paginator(method))

    def get_waiter(self, name: str) -> Dying:
        return self._wrapped(self._account.get_waiter(name))

    def __getattr__(self, method: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append(method)
            if len(self.calls) >= self._at:
                if len(self.calls) == self._at and self._executed:
                    getattr(self._account, method)(**arguments)
                raise Killed(method)
            return getattr(self._account, method)(**arguments)

        return call


def deploys(deployed: Deployed) -> None:
    release.release(deployed, SECOND)


COMMANDS: dict[str, Callable[[Deployed], None]] = {"deploy": deploys, "rollback": release.rollback, "repair": release.repair}


@pytest.mark.parametrize("then", COMMANDS)
@pytest.mark.parametrize("starts", [True, False], ids=["image starts", "image does not start"])
@pytest.mark.parametrize("first", ["deploy", "rollback"])
def test_everything_agrees_after_a_process_was_killed_at_any_call(
    first: str, starts: bool, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after kill -9, a closed laptop, a lost network or a cancelled pipeline; CloudFormation ends what it began."""
    at = 0
    while True:
        at += 1
        for executed in (True, False):
            account = released(FIRST) if first == "deploy" else released(SECOND, FIRST)
            account.starts = starts
            dying = Dying(account, at, executed)
            with contextlib.suppress(Killed, FailedError):
                COMMANDS[first](environment(dying))
            if len(dying.calls) < at:
                assert at > 20
                return
            account.end_update()
            account.now += timedelta(minutes=2)
            account.starts = True
            changed = account.value != account.runs
            capsys.readouterr()
            try:
                COMMANDS[then](environment(account))
            except RefusedError as error:
                assert not changed, (dying.calls, error)
            state = releases.inspect(environment(account))
            assert state.findings() == [], dying.calls
            assert not state.held or state.held.abandoned, dying.calls
            assert state.named == state.runs == state.deployed_image
            if changed:
                assert "Found: " in capsys.readouterr().out, dying.calls


def test_next_release_waits_until_a_killed_one_is_abandoned() -> None:
    account = released(FIRST)
    with pytest.raises(Killed):
        release.release(environment(Dying(account, 30, executed=True)), SECOND)
    found = rf"Another release of prod runs: {SECOND} by {account.user} since 2026-11-20 12:00 UTC, now: keeping the static files"
    with pytest.raises(RefusedError, match=found):
        release.release(environment(account), THIRD)
    account.now += timedelta(seconds=release_lock.ABANDONED_SECONDS + 1)
    release.release(environment(account), THIRD)
    assert outcomes(account)[:2] == [("c", "healthy"), ("b", "failed")]


def test_second_release_at_once_is_refused_and_names_the_holder() -> None:
    account, refusals = released(FIRST), list[str]()

    def another() -> None:
        for command in COMMANDS.values():
            with pytest.raises(RefusedError) as refused:
                command(environment(account))
            refusals.append(str(refused.value))

    account.during_task = another
    release.release(environment(account), SECOND)
    assert (account.runs, len(set(refusals))) == (SECOND, 2)  # two phases: static files, migration
    assert all(f"{SECOND} by {account.user} since" in text for text in refusals)


def test_only_one_of_two_takes_over_an_abandoned_lock() -> None:
    account = Account(FIRST)
    value = releases.Release(SECOND, FIRST, phase="the migration").to_json()
    one, other = (release_lock.Lock(environment(account), value) for _ in range(2))
    account._put(LOCK, value, "")
    account.now += timedelta(minutes=2)
    history = account.get_parameter_history(Name=LOCK)["Parameters"][:]
    one.take()
    latest = account.get_parameter_history
    account.get_parameter_history = lambda **_: {**latest(Name=LOCK), "Parameters": history}  # type: ignore[method-assign]
    with pytest.raises(RefusedError):
        other.take()
    assert one.is_held
    assert not other.is_held
    one.give_back()


def test_release_that_lost_its_lock_does_not_roll_out() -> None:
    """It was suspended, and another process took over and ended."""
    account = released(FIRST)

    def lose() -> None:
        account.parameters.pop(LOCK, None)

    account.during_task = lose
    with pytest.raises(FailedError, match=f"lost its lock .{LOCK}"):
        release.release(environment(account), SECOND)
    assert (account.value, account.runs) == (FIRST, FIRST)
    assert "rolls" not in account.done


def test_changed_parameter_is_found_and_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    """Overwriting may keep the description, and with it the record of the last release."""
    for description in ("", released(FIRST).parameters["/carmen/prod/image"][-1]["Description"]):
        account, changes = released(FIRST), list[tuple[str, str]]()
        account._put("/carmen/prod/image", THIRD, description)
        found = f"The image parameter names {THIRD}, but {FIRST} runs."
        deployed = environment(account, changes)
        assert releases.inspect(deployed).findings() == [found]
        finding = checklist.image_parameter_names_what_runs(deployed)
        assert finding == checklist.Finding(False, f"{found} `./carmen release repair --env prod` corrects it.")
        release.repair(deployed)
        assert account.value == FIRST
        assert found in changes[0][0]
        assert "names " + FIRST + " again" in capsys.readouterr().out
        assert checklist.image_parameter_names_what_runs(deployed) == checklist.Finding(True, f"{FIRST} runs")
        assert outcomes(account)[0] == ("c", "corrected")
        with pytest.raises(RefusedError, match="No earlier image"):
            release.rollback(deployed)


def test_service_changed_outside_cloudformation_is_refused() -> None:
    account = released(FIRST)
    state = account.describe_stacks
    account.describe_stacks = lambda **arguments: json.loads(json.dumps(state(**arguments), default=str).replace(FIRST, SECOND))  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match=r"deployed .* outside CloudFormation.*aws ecs update-service"):
        release.repair(environment(account))


@pytest.mark.parametrize(
    ("status", "message"), [("UPDATE_IN_PROGRESS", "Try again when it has ended"), ("UPDATE_ROLLBACK_FAILED", "update-rollback-failed.md")]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_stack_that_cannot_be_updated_is_refused_before_any_change(status: str, message: str, command: str) -> None:
    account = released(FIRST)
    account.status = status
    with pytest.raises(RefusedError, match=message):
        COMMANDS[command](environment(account))
    assert account.done == []
