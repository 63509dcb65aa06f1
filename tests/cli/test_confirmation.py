"""Changes of production: stated with their undo, confirmed on a terminal or by --yes, otherwise refused with exit code 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from settings.loader import load
from tests.cli import fakes, test_swap
from tests.cli.conftest import main
from tests.cli.fakes import DIGEST, REPOSITORY
from tools.cli.commands.database import swap
from tools.cli.options import yes_option
from tools.environment import Deployed

REFUSAL = "Nothing was changed: a change of prod needs confirmation on a terminal, or the option --yes."
OLD, NEW = f"{REPOSITORY}@{DIGEST}", f"{REPOSITORY}@{fakes.NEXT}"


class Account(fakes.Account):
    """Counts every call that changes something."""

    def __init__(self, image: str = OLD, earlier: str = "") -> None:
        super().__init__(image, earlier=earlier)
        self.changes: list[str] = []

    def __getattr__(self, method: str) -> Any:
        if method.startswith(("update", "register", "put")):
            self.changes.append(method)
        return super().__getattr__(method)

    def describe_scalable_targets(self, **_: Any) -> dict[str, Any]:
        return {"ScalableTargets": [{"MinCapacity": 3, "MaxCapacity": 6}]}

    def get_ip_set(self, **_: Any) -> dict[str, Any]:
        return {"IPSet": {"Addresses": []}, "LockToken": "token"}


def _account_of(line: str) -> Any:
    if line == "release repair":
        return Account(OLD).name_by_hand(NEW)
    return test_swap.Aws() if line.startswith("database") else Account(NEW, OLD) if "rollback" in line else Account(OLD)


# Command line → the change and the undo that it states.
CHANGES = {
    f"release deploy {NEW}": (
        f"image {OLD} -> {NEW}",
        f"`./carmen release rollback --env prod` returns to {OLD} (database migrations stay)",
    ),
    "release rollback": (
        f"image {NEW} -> {OLD}",
        f"`./carmen release rollback --env prod` again returns to {NEW} (database migrations stay)",
    ),
    "release repair": (
        f"the image parameter names {OLD}, which runs. Found: The image parameter names {NEW}, but {OLD} runs.",
        "not needed: no task changes",
    ),
    "tasks restart": ("new tasks replace all tasks of s, with the same image", "not needed: image and settings stay"),
    "tasks scale 4": ("from 3 to 6 tasks now → from 4 to 6 tasks", "./carmen tasks scale 3 --env prod"),
    "firewall block 203.0.113.7": ("203.0.113.7/32 is blocked at the edge", "./carmen firewall unblock 203.0.113.7/32 --env prod"),
    "firewall unblock 203.0.113.7": ("203.0.113.7/32 is no longer blocked", "./carmen firewall block 203.0.113.7/32 --env prod"),
    "firewall attack-mode on": ("attack mode on: browsers pass a challenge", "./carmen firewall attack-mode off --env prod"),
    "database swap restored": ("restored becomes prod-db, the old instance is kept as prod-db-before", "restore prod-db-before"),
    "backup restore --host h --database d --allow production": ("database d on h becomes backup newest", "rename the databases"),
    "backup accept --host h --database d --restored d_differs_1 --allow production": (
        "database d on h becomes d_differs_1",
        "rename the databases",
    ),
}


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Commands connect to this account."""

    def connect_to(account: Any) -> None:
        monkeypatch.setattr("tools.cli.options.connect", lambda name, approve: Deployed(load(name), account, approve))

    monkeypatch.setattr(swap, "POLL_SECONDS", 0)
    return connect_to


def _resource(self: Deployed, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> str:
    return "name|id|CLOUDFRONT"


def test_every_command_with_yes_is_in_the_table() -> None:
    from tests.cli.test_command_line import COMMANDS

    with_yes = {name for name, command in COMMANDS.items() if any("--yes" in option.opts for option in command.params)}
    listed = {name for name in with_yes for line in CHANGES if line.startswith(name)}
    assert with_yes - listed == {
        "account check",
        "deploy",
        "access",
        "database wake",
        "preview remove",
    }  # tested elsewhere; production has no working hours and is not a preview
    assert callable(yes_option)


@pytest.mark.parametrize("line", CHANGES)
def test_change_of_production_without_a_terminal_is_refused(
    line: str, connected: Callable[[Any], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = _account_of(line)
    connected(account)
    if line.startswith("firewall"):
        monkeypatch.setattr(Deployed, "resource", _resource)
    assert main(line.split()) == 3
    errors = capsys.readouterr().err
    change, undo = CHANGES[line]
    assert f"Change of prod: {change}" in errors
    assert f"\nUndo: {undo}" in errors
    assert REFUSAL in errors
    assert not account.changes


@pytest.mark.parametrize("line", ["tasks restart", "tasks scale 4", "firewall block 203.0.113.7", "firewall attack-mode on"])
@pytest.mark.parametrize("confirmation", ["--yes", "y", "n", "end of input", "--env staging"])
def test_confirmation(
    line: str, confirmation: str, connected: Callable[[Any], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirm(*_: object, **__: object) -> bool:
        if confirmation == "end of input":
            raise click.Abort
        return confirmation == "y"

    account = Account()
    connected(account)
    monkeypatch.setattr("tools.cli.commands.firewall._addresses", lambda *_: [])
    if line.startswith("firewall"):
        monkeypatch.setattr(Deployed, "resource", _resource)
    monkeypatch.setattr("sys.stdin.isatty", lambda: not confirmation.startswith("--"))
    monkeypatch.setattr("click.confirm", confirm)
    code = main([*line.split(), *(confirmation.split() if confirmation.startswith("--") else [])])
    errors = capsys.readouterr().err
    if confirmation in ("n", "end of input"):
        assert (code, account.changes) == (3, [])
        assert "Nothing was changed: not confirmed." in errors
    else:
        assert code == 0
        assert account.changes
