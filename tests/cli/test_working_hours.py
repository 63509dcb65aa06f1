"""Commands of an environment with working hours: refused while its database is stopped, and `database wake`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from settings.loader import load
from tools.cli.commands.database.working_hours import expect_awake, expect_deployable, wake
from tools.cli.commands.tasks import scale
from tools.environment import Deployed, NotDeployedError, RefusedError


@dataclass
class Account:
    """RDS and autoscaling of an environment whose database has this status; None: it is not deployed."""

    status: str | None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str, **options: Any) -> Account:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return {"DBInstances": [{"DBInstanceStatus": self.status}]}

        return call

    def get_waiter(self, name: str) -> Account:
        return self

    @property
    def started(self) -> bool:
        return "start_db_instance" in dict(self.calls)

    @property
    def tasks(self) -> list[tuple[int, int]]:
        return [(each["MinCapacity"], each["MaxCapacity"]) for name, each in self.calls if name == "register_scalable_target"]


class Environment(Deployed):
    """A deployed environment, as far as these commands read it."""

    def output(self, key: str) -> str:
        return key

    def resource(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> str:
        if cast(Account, self.session).status is None:
            raise NotDeployedError("CarmenDevData is not deployed")
        return "database"


def deployed(status: str | None, name: str = "dev") -> tuple[Environment, Account]:
    account = Account(status)
    return Environment(load(name), account), account


@pytest.mark.parametrize("status", ["stopped", "stopping", "starting"])
def test_commands_that_need_a_stopped_database_are_refused(status: str) -> None:
    environment, account = deployed(status)
    for action in (expect_awake, expect_deployable):
        with pytest.raises(RefusedError) as refused:
            action(environment)
        assert str(refused.value) == (
            f"The database of dev is {status}: its working hours are MON, TUE, WED, THU, FRI from 07:00 to 19:00 Etc/UTC. "
            "`./carmen database wake --env dev` starts it until the next evening."
        )
    with pytest.raises(RefusedError, match="database wake --env dev"):
        scale(environment, 2)
    assert account.tasks == []


@pytest.mark.parametrize(("name", "status"), [("dev", "available"), ("dev", "backing-up"), ("dev", None), ("prod", None)])
def test_environment_with_running_or_no_database_is_deployable(name: str, status: str | None) -> None:
    expect_deployable(deployed(status, name)[0])


def test_wake_starts_a_stopped_database_and_sets_tasks() -> None:
    environment, account = deployed("stopped")
    assert wake(environment) == "database is available, and 1 to 2 tasks run, until the next evening."
    assert (account.started, account.tasks) == (True, [(1, 2)])
    environment, account = deployed("available")
    wake(environment)
    assert (account.started, account.tasks) == (False, [(1, 2)])


def test_wake_is_refused_while_stopping_or_without_working_hours() -> None:
    with pytest.raises(RefusedError, match="Wait some minutes until it has stopped"):
        wake(deployed("stopping")[0])
    with pytest.raises(RefusedError, match=r"prod has no \[working_hours\]: it is never stopped"):
        wake(deployed("available", "prod")[0])


def test_deploy_of_a_preview_names_its_own_command() -> None:
    with pytest.raises(RefusedError, match=r"`\./carmen preview up pr-1` deploys it"):
        expect_deployable(deployed("available", "preview-pr-1")[0])
