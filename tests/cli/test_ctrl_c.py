"""Ctrl-C before the work starts, while waiting for AWS and while cleaning up: message, remaining work, exit code 130."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from settings.loader import load
from tests.cli import test_preview, test_release, test_swap
from tests.cli.conftest import main
from tests.cli.fakes import DIGEST, REPOSITORY, Aws
from tests.cli.test_command_line import CREDENTIALS, fake_cdk
from tools import processes
from tools.cli import terminal
from tools.cli.commands.database import swap
from tools.environment import Deployed

__all__ = ["fake_cdk"]
OLD, NEW = f"{REPOSITORY}@{DIGEST}", f"{REPOSITORY}@{test_release.NEXT}"


class Killed(BaseException):
    """Stands for the end of this process."""


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of `main` in this process, for the length of a test."""

    def end(number: int, _: object) -> NoReturn:
        raise processes.Ended(128 + number)

    def killed(code: int) -> NoReturn:
        raise Killed(code)

    monkeypatch.setattr(terminal._ctrl_c, "remaining", None)
    monkeypatch.setattr("os._exit", killed)
    before = signal.signal(signal.SIGINT, partial(terminal._ctrl_c, end))
    yield
    signal.signal(signal.SIGINT, before)
    assert len(terminal._ctrl_c.messages) == 1


class Keyboard:
    twice = False


def press(*_: Any, **__: Any) -> Any:
    """Ctrl-C; `Keyboard.twice`: again in the first code that cleans up."""
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        if Keyboard.twice:
            signal.raise_signal(signal.SIGINT)


def connect_to(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.cli.options.connect", lambda name, approve=None: Deployed(load(name), account))
    monkeypatch.setattr("tools.cli.commands.preview.connect", lambda name: Deployed(load(name), account))
    monkeypatch.setattr(swap, "POLL_SECONDS", 0)


def waits(waiter: str, account: Any) -> Any:
    """The account, whose waiter of that name gets a Ctrl-C."""
    others = account.get_waiter
    interrupted = type("Waiter", (), {"wait": press})()
    account.get_waiter = lambda name: interrupted if name == waiter else others(name)
    return account


class Backup(test_release.Account):
    """Gets a Ctrl-C while the backup function runs."""

    invoke = press

    def get_paginator(self, method: str) -> Any:
        function = {"ResourceType": "AWS::Lambda::Function", "LogicalResourceId": "BackupFunction", "PhysicalResourceId": "backup"}
        return Aws(paginate=[{"StackResourceSummaries": [function]}])


def _previews() -> test_preview.Account:
    account = test_preview.Account()
    account.add("CarmenPreview-pr-1", preview="pr-1", ends="2026-11-23")
    account.objects = {"carmenpreview-pr-1storage-uploads": 0}
    return account


class InterruptedPreviews(test_preview.Account):
    def client(self, service: str, *, region_name: str) -> Any:
        client = super().client(service, region_name=region_name)
        client.wait = press
        return client


def _interrupted_previews() -> InterruptedPreviews:
    account = _previews()
    return InterruptedPreviews(account.stacks, account.objects)


class Swap(test_swap.Aws):
    """Gets a Ctrl-C when Carmen is being stopped."""

    def update_service(self, desiredCount: int, **_: Any) -> None:
        super().update_service(desiredCount)
        press()


# Operation → command line, the account, and what Ctrl-C prints while it waits for AWS.
WAITING: dict[str, tuple[str, Callable[[], Any], str]] = {
    "migration": (
        f"release deploy {NEW}",
        lambda: waits("tasks_stopped", test_release.Account("placeholder")),
        "Keeping the static files continues in AWS as task ReleaseFiles b. The old image keeps running; the release stops here.",
    ),
    "release": (
        f"release deploy {NEW}",
        lambda: waits("stack_update_complete", test_release.Account("placeholder")),
        "The deployment continues in AWS; `./carmen release list --env prod` shows its state. "
        "If it fails and CarmenProdService rolls back, run `./carmen release rollback --env prod`.",
    ),
    "backup": (
        "backup now",
        lambda: Backup(OLD),
        "The backup continues in AWS; `./carmen backup list --env prod` shows it when it is complete.",
    ),
    "swap": (
        "database swap restored",
        Swap,
        "The swap is incomplete and Carmen may be stopped: `./carmen database swap restored --env prod` continues it.",
    ),
    "preview": (
        "preview remove pr-1 --yes",
        _interrupted_previews,
        "The deletion of CarmenPreview-pr-1 continues in AWS; `./carmen preview remove pr-1` deletes the rest.",
    ),
}

STATED = "Change of pr-1: the preview is removed with all its data\nUndo: not possible\n"


@pytest.mark.parametrize("operation", WAITING)
def test_ctrl_c_before_the_work_starts(operation: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tools.cli.options.connect", press)
    monkeypatch.setattr("tools.cli.commands.preview.connect", press)
    assert main(WAITING[operation][0].split()) == 130
    assert capfd.readouterr().err == "\nStopping. Nothing continues in AWS.\n"


@pytest.mark.parametrize("operation", WAITING)
def test_ctrl_c_while_waiting_for_aws(operation: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    line, account, message = WAITING[operation]
    connect_to(account(), monkeypatch)
    assert main(line.split()) == 130
    assert capfd.readouterr().err.removeprefix(STATED) == f"\n{message}\n"


@pytest.mark.parametrize("operation", WAITING)
def test_second_ctrl_c_while_cleaning_up(operation: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    line, account, message = WAITING[operation]
    monkeypatch.setattr(Keyboard, "twice", True)
    connect_to(account(), monkeypatch)
    with pytest.raises(Killed) as killed:
        main(line.split())
    assert killed.value.args == (130,)
    assert capfd.readouterr().err.removeprefix(STATED) == f"\n{message}\n\nStopped at once. {message}\n"


def test_interrupted_release_keeps_the_new_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    account = waits("stack_update_complete", test_release.Account("placeholder"))
    connect_to(account, monkeypatch)
    assert main(["release", "deploy", NEW]) == 130
    assert account.value == NEW


def test_release_interrupted_earlier_restores_the_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    account = test_release.Account("placeholder")
    account.update_stack = press  # type: ignore[method-assign]
    connect_to(account, monkeypatch)
    assert main(["release", "deploy", NEW]) == 130
    assert account.value == "placeholder"


def test_rollback_without_stack_update_sets_the_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupted release that CloudFormation rolled back."""
    from botocore.exceptions import ClientError

    def no_updates(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "No updates are to be performed."}}, "UpdateStack")

    account = test_release.Account(NEW)
    account.update_stack = no_updates  # type: ignore[method-assign]
    connect_to(account, monkeypatch)
    assert main(["release", "rollback"]) == 0
    assert account.value == OLD


@pytest.mark.parametrize("line", ["deploy --yes --env staging", "preview up pr-1", "synth", "cdk diff"])
def test_ctrl_c_ends_the_cdk_after_the_message(
    line: str, fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The fake CDK prints a line when it is ended."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # cdk.out
    ready = fake_cdk.with_name("ready")
    fake_cdk.write_text(f"trap 'echo ended >&2; exit' TERM; touch {ready}; while :; do sleep 0.05; done", encoding="utf-8")
    begin = time.monotonic()

    def wait(process: Any, timeout: float | None = None) -> int:
        if timeout is None and not ready.with_name("pressed").exists():
            while not ready.exists():
                time.sleep(0.01)
            ready.with_name("pressed").touch()
            press()
        return original(process, timeout)

    original: Callable[[Any, float | None], int] = subprocess.Popen.wait
    monkeypatch.setattr("subprocess.Popen.wait", wait)
    assert main(line.split()) == 130
    assert time.monotonic() - begin < 5
    errors = capfd.readouterr().err
    assert errors.index("Nothing was changed" if line == "synth" else "continues in AWS") < errors.index("\nended\n")
