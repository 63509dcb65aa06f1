"""Ctrl-C before the work starts, while waiting for AWS and while cleaning up: message, remaining work, exit code 130."""

from __future__ import annotations

import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from botocore.exceptions import ClientError

from settings.loader import load
from tests.account import fakes
from tests.account.conftest import skip_slow_parts
from tests.cli import test_preview, test_swap
from tests.cli.conftest import NO_CREDENTIALS, main
from tests.cli.fakes import DIGEST, NEXT, OUTPUTS, REPOSITORY, Account, Aws
from tests.cli.test_command_line import COMMANDS, COMPLETE, CREDENTIALS
from tests.conftest import ROOT
from tools import processes
from tools.account.readings import READINGS
from tools.cli import terminal
from tools.cli.commands import firewall
from tools.cli.commands.database import swap
from tools.environment import Deployed

OLD, NEW = f"{REPOSITORY}@{DIGEST}", f"{REPOSITORY}@{NEXT}"


class Killed(BaseException):
    """Stands for the end of this process."""


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers of `main` in this process, for the length of a test."""

    def killed(code: int) -> NoReturn:
        raise Killed(code)

    terminal._ctrl_c.reset()
    monkeypatch.setattr("os._exit", killed)
    before = signal.signal(signal.SIGINT, partial(terminal._ctrl_c, processes.end_silently))
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


class Backup(Account):
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
        lambda: waits("tasks_stopped", Account("placeholder")),
        "Keeping the static files continues in AWS as task ReleaseFiles b. The old image keeps running; the release stops here.",
    ),
    "release": (
        f"release deploy {NEW}",
        lambda: waits("stack_update_complete", Account("placeholder")),
        "The deployment continues in AWS; `./carmen release list --env prod` shows its state. "
        "The next release command, or `./carmen release repair`, records how it ended.",
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
    assert capfd.readouterr().err == f"\n{NOTHING}\n{terminal.AGAIN}\n"


@pytest.mark.parametrize("operation", WAITING)
def test_ctrl_c_while_waiting_for_aws(operation: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    line, account, message = WAITING[operation]
    connect_to(account(), monkeypatch)
    assert main(line.split()) == 130
    assert capfd.readouterr().err.removeprefix(STATED) == f"\n{message}\n{terminal.AGAIN}\n"


@pytest.mark.parametrize("operation", WAITING)
def test_second_ctrl_c_while_cleaning_up(operation: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    line, account, message = WAITING[operation]
    monkeypatch.setattr(Keyboard, "twice", True)
    connect_to(account(), monkeypatch)
    with pytest.raises(Killed) as killed:
        main(line.split())
    assert killed.value.args == (130,)
    assert capfd.readouterr().err.removeprefix(STATED) == f"\n{message}\n{terminal.AGAIN}\n\nStopped at once. {message}\n"


def test_interrupted_release_keeps_the_new_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    account = waits("stack_update_complete", Account("placeholder"))
    connect_to(account, monkeypatch)
    assert main(["release", "deploy", NEW]) == 130
    assert account.value == NEW


@pytest.mark.parametrize("call", ["put_parameter", "update_stack"])
def test_release_interrupted_between_parameter_and_update_does_both(
    call: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    account = Account("placeholder")
    original = getattr(account, call)

    def press_then_call(**arguments: Any) -> Any:
        if not arguments.get("Name", "").endswith("-release-lock"):
            press()
        return original(**arguments)

    setattr(account, call, press_then_call)
    connect_to(account, monkeypatch)
    assert main(["release", "deploy", NEW]) == 130
    assert (account.value, account.done[-1]) == (NEW, "rolls")
    assert f"\n{WAITING['release'][2]}\n" in capfd.readouterr().err


def test_refused_update_restores_the_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "is in UPDATE_IN_PROGRESS state"}}, "UpdateStack")

    account = Account("placeholder")
    account.update_stack = refused  # type: ignore[method-assign]
    connect_to(account, monkeypatch)
    assert main(["release", "deploy", NEW, "--yes"]) == 1
    assert account.value == "placeholder"


# Three moments of every command: while its modules load, while it waits, and at its question or during the first Ctrl-C.

CDK, PLATFORM, AWS = "the CDK CLI", "the platform's API", "AWS"
NOTHING = "Stopping. Nothing continues in AWS."
UNCHANGED = "Stopping. Nothing was changed."


def change(change: str, undo: str) -> str:
    return f"Stopping. The change may be made already, in part or in full: {change}. Undo: {undo}"


# What each command waits for first (otherwise the function that works on this machine), and what Ctrl-C prints then.
WAITS: dict[str, tuple[str, str]] = {
    "deploy": (AWS, NOTHING),  # what is deployed; `access` deploys in the same way
    "diff": (AWS, "Stopping; temporary folders are removed."),
    "cost": ("tools.reports.cost.savings.bill_of_all_environments", NOTHING),
    "settings": ("settings.loader.resolved", NOTHING),
    "synth": (CDK, UNCHANGED),
    "bootstrap": (CDK, "The bootstrap stack CDKToolkit continues in AWS."),
    "cdk": (CDK, "What CloudFormation has started continues in AWS; `./carmen cdk diff` shows the state."),
    "access": (
        CDK,
        "The deployment of CarmenPipelineAccessProd continues in AWS. The CloudFormation console shows its state; "
        "the same command completes it.",
    ),
    "account check": (AWS, NOTHING),
    "release deploy": (AWS, NOTHING),
    "release rollback": (AWS, NOTHING),
    "release repair": (AWS, NOTHING),
    "release list": (AWS, NOTHING),
    "preflight": (AWS, NOTHING),
    "postflight": (AWS, NOTHING),
    "tasks restart": (AWS, NOTHING),
    "tasks scale": (AWS, NOTHING),
    "firewall block": (AWS, change("203.0.113.7/32 is blocked at the edge", "./carmen firewall unblock 203.0.113.7/32 --env prod")),
    "firewall unblock": (AWS, change("203.0.113.7/32 is no longer blocked", "./carmen firewall block 203.0.113.7/32 --env prod")),
    "firewall list": (AWS, NOTHING),
    "firewall attack-mode": (AWS, change(f"attack mode {firewall.ATTACK_MODE[True]}", "./carmen firewall attack-mode off --env prod")),
    "backup now": (AWS, NOTHING),
    "backup list": (AWS, NOTHING),
    "backup verify": (AWS, NOTHING),
    "backup restore": (AWS, NOTHING),
    "backup accept": (AWS, UNCHANGED),
    "database shell": (AWS, NOTHING),
    "database swap": (AWS, NOTHING),
    "database wake": (
        AWS,
        change("the database and the tasks start, and run until the next evening", "wait until the evening: the schedule stops both"),
    ),
    "secrets": (AWS, NOTHING),
    "names": (AWS, NOTHING),
    "destroy": (AWS, NOTHING),
    "drift": (AWS, "Stopping. Comparisons that CloudFormation has started continue in AWS; they change nothing."),
    "preview up": (AWS, NOTHING),
    "preview list": (AWS, NOTHING),
    "preview remove": (AWS, change("the preview is removed with all its data", "not possible")),
    "preview prune": (AWS, NOTHING),
    "notify": (AWS, NOTHING),
    "comment": (PLATFORM, "Stopping. The comment may have been written; the same command replaces it."),
    "completion": ("tools.cli.cli.get_completion_class", NOTHING),
}
ARGUMENTS = {
    **{name: arguments or "" for name, arguments in COMPLETE.items()},
    **{"bootstrap": "aws://000000000000/us-east-1", "cdk": "diff", "preview up": "pr-1", "comment": str(ROOT / "README.md")},
    "completion": "bash",
}


def line_of(name: str) -> list[str]:
    return [*name.split(), *ARGUMENTS[name].split()]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)  # a command that asks nothing fails its test, and does not hang the run
        yield server


def variables(server: socket.socket) -> dict[str, str]:
    """AWS and GitHub are the silent server."""
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    github = {"GITHUB_REF": "refs/pull/1/merge", "GITHUB_API_URL": url, "GITHUB_REPOSITORY": "a/b", "GITHUB_TOKEN": "t"}
    return {**NO_CREDENTIALS, **CREDENTIALS, **github, "AWS_ENDPOINT_URL": url, "POSTGRESQL_HOME": "/nowhere", "PGPASSWORD": "none"}


@pytest.fixture
def waiting(
    request: pytest.FixtureRequest, silent: socket.socket, fake_cdk: Path, no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A command that gets a Ctrl-C as soon as it waits for its answer."""
    name: str = request.param
    waits, _ = WAITS[name]
    for variable, value in variables(silent).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # cdk.out
    monkeypatch.setattr("tools.cli.commands.checklist._git", lambda *_: "")
    monkeypatch.setattr("tools.reports.drift.stacks_of", lambda settings: [("CarmenProd", "us-east-1")])
    monkeypatch.setattr("tools.reports.diff.live.environments", lambda name: [load("prod")])
    _with_pipeline(monkeypatch)
    if waits == CDK:
        _press_when_the_cdk_runs(fake_cdk, monkeypatch)
        yield name
    elif waits in (AWS, PLATFORM):
        main_thread = threading.main_thread().ident
        assert main_thread

        def accept() -> None:
            with silent.accept()[0] as connection:
                assert connection.recv(1)
                time.sleep(0.01)  # the request is sent, the answer is awaited
                signal.pthread_kill(main_thread, signal.SIGINT)
                ended.wait(20)

        ended = threading.Event()
        thread = threading.Thread(target=accept)
        thread.start()
        yield name
        ended.set()
        thread.join()
    else:
        monkeypatch.setattr(waits, press)
        yield name


def _with_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`access` deploys a stack of the account; this repository's environments have no pipeline."""
    monkeypatch.setattr("tools.cli.commands.deployment._account_of_credentials", lambda: "000000000000")
    monkeypatch.setattr("tools.cli.commands.deployment.access_stacks", lambda account: ["CarmenPipelineAccessProd"])
    monkeypatch.setattr("tools.cli.commands.deployment.unprotect_failed", lambda stacks: None)


def _press_when_the_cdk_runs(fake_cdk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake CDK prints a line when it is ended."""
    ready = fake_cdk.with_name("ready")
    fake_cdk.write_text(f"trap 'echo ended >&2; exit' TERM; touch {ready}; while :; do sleep 0.05; done", encoding="utf-8")

    def wait(process: Any, timeout: float | None = None) -> int:
        if timeout is None and not ready.with_name("pressed").exists():
            while not ready.exists():
                time.sleep(0.01)
            ready.with_name("pressed").touch()
            press()
        return original(process, timeout)

    original: Callable[[Any, float | None], int] = subprocess.Popen.wait
    monkeypatch.setattr("subprocess.Popen.wait", wait)


every_command = pytest.mark.parametrize("waiting", COMMANDS, indirect=True)  # one without a row in WAITS fails


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_at_the_start_of_every_command(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Its first own line. What loads before is the same for all commands: see the real processes below."""
    monkeypatch.setattr("click.Command.invoke", press)
    assert main(line_of(name)) == 130
    assert capfd.readouterr().err == f"\n{NOTHING}\n{terminal.AGAIN}\n"


@every_command
def test_ctrl_c_while_every_command_waits(waiting: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(line_of(waiting)) == 130
    waits, message = WAITS[waiting]
    errors = capfd.readouterr().err
    assert f"\n{message}\n{terminal.AGAIN}\n" in f"\n{errors}"
    assert errors.endswith("\nended\n" if waits == CDK else f"\n{terminal.AGAIN}\n")


@pytest.mark.usefixtures("no_credentials")
def test_ctrl_c_while_a_preview_is_deployed(fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tools.cli.commands.preview.expect_changeable", lambda *_, **__: None)
    monkeypatch.setattr("tools.cli.commands.preview._previews", lambda _: type("None", (), {"all": lambda self: []})())
    _press_when_the_cdk_runs(fake_cdk, monkeypatch)
    assert main(["preview", "up", "pr-1"]) == 130
    assert "\nThe deployment continues in AWS. `./carmen preview up pr-1` completes it, `./carmen preview remove" in capfd.readouterr().err


@every_command
def test_second_ctrl_c_while_every_command_ends(waiting: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """It arrives while the first message is being printed."""

    def write_and_press(text: str) -> None:
        write(text)
        if "Stopped at once" not in text:
            signal.raise_signal(signal.SIGINT)

    write = processes.write_to_terminal
    monkeypatch.setattr(processes, "write_to_terminal", write_and_press)
    with pytest.raises(Killed) as killed:
        main(line_of(waiting))
    assert killed.value.args == (130,)
    remaining = {"diff": "Temporary folders may remain: `git worktree prune` and your TMPDIR."}
    message = WAITS[waiting][1].removeprefix("Stopping. ")
    assert f"\n\nStopped at once. {remaining.get(waiting, message)}\n" in capfd.readouterr().err


WITH_QUESTION = [name for name, command in COMMANDS.items() if any("--yes" in option.opts for option in command.params)]
NEVER_ASKS = {"database wake"}  # production has no working hours


class Everything(Account):
    """An environment for every command that changes something in AWS."""

    def __getattr__(self, method: str) -> Any:
        answers: dict[str, Any] = {
            "get_ip_set": {"IPSet": {"Addresses": []}, "LockToken": "token"},
            "invoke": {"Payload": io.BytesIO(b"{}")},
            "describe_db_instances": {"DBInstances": [{"DBInstanceStatus": "stopped"}]},
            "describe_scalable_targets": {"ScalableTargets": [{"MinCapacity": 3, "MaxCapacity": 6}]},
            "detect_stack_drift": {"StackDriftDetectionId": "detection"},
            "describe_stack_drift_detection_status": {"DetectionStatus": "DETECTION_COMPLETE", "StackDriftStatus": "IN_SYNC"},
            "describe_stack_resource_drifts": {"StackResourceDrifts": []},
        }
        return (lambda **_: answers[method]) if method in answers else super().__getattr__(method)


CHANGING = re.compile("(create|delete|deregister|detect|invoke|modify|publish|put|reboot|register|run|start|stop|update)_?")


class Calls:
    """An account that records calls. Ctrl-C is pressed when AWS has executed call number `at`, before its answer arrives."""

    def __init__(self, account: Any, at: int = 0, made: list[str] | None = None) -> None:
        self._account, self._at, self.made = account, at, [] if made is None else made

    def _wrapped(self, part: Any) -> Calls:
        return Calls(part, self._at, self.made)

    def client(self, service: str, *, region_name: str = "us-east-1", **_: Any) -> Calls:
        return self._wrapped(self._account.client(service, region_name=region_name))

    def get_paginator(self, method: str) -> Calls:
        return self._wrapped(self._account.get_paginator(method))

    def get_waiter(self, name: str) -> Calls:
        return self._wrapped(self._account.get_waiter(name))

    def __getattr__(self, method: str) -> Any:
        def call(**arguments: Any) -> Any:
            answer = getattr(self._account, method)(**arguments)
            self.made.append(method)
            if len(self.made) == self._at:
                press()
            return answer

        return call

    @property
    def changes(self) -> list[str]:
        return [method for method in self.made if CHANGING.match(method)]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, fake_cdk: Path) -> Callable[[str, int], Calls]:
    """Connect a command to an account in which it works."""

    def connect(name: str, at: int) -> Calls:
        def deployed(environment: str, *approve: Any) -> Deployed:
            return Deployed(load(environment), calls, *approve)

        accounts: dict[str, Callable[[], Any]] = {
            **{"database swap": test_swap.Aws, "preview remove": _previews, "preview prune": _previews},
            "account check": fakes.Account,
            "release rollback": lambda: Everything(NEW, earlier=OLD),
            "release repair": lambda: Everything(OLD).name_by_hand(NEW),
        }
        account = accounts.get(name, lambda: Everything(NEW))
        calls = Calls(account(), at)
        monkeypatch.setattr("tools.account.proofs.session_of_role", lambda *_: calls)
        for module in ("options", "commands.preview", "commands.deployment"):
            monkeypatch.setattr(f"tools.cli.{module}.connect", deployed)
        return calls

    def resource(self: Deployed, stack: str, kind: str, *_: str, region: str | None = None) -> str:
        return "prod-db" if kind.endswith("DBInstance") else "name|id|CLOUDFRONT"

    for variable, value in {**NO_CREDENTIALS, **CREDENTIALS}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(Deployed, "resource", resource)
    monkeypatch.setattr(Deployed, "output", lambda self, key: OUTPUTS.get(key, key))
    monkeypatch.setattr("tools.reports.drift.stacks_of", lambda settings: [("CarmenProd", "us-east-1")])
    monkeypatch.setattr("tools.reports.drift.lookup_session", lambda session, *_: session)
    monkeypatch.setattr(swap, "POLL_SECONDS", 0)
    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.setattr("tools.account.readings.READINGS", READINGS[:1])  # they all read
    skip_slow_parts(monkeypatch)
    _with_pipeline(monkeypatch)
    return connect


@pytest.mark.parametrize("name", [name for name in WITH_QUESTION if name not in NEVER_ASKS])
def test_ctrl_c_at_the_question_of_every_command(
    name: str, connect: Callable[[str, int], Calls], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = connect(name, 0)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", press)
    production = ["--allow", "production"] if name in ("backup restore", "backup accept") else []
    assert main([*(word for word in line_of(name) if word != "--yes"), *production]) == 130
    output, errors = capfd.readouterr()
    assert errors.endswith(f"\n\n{NOTHING}\n{terminal.AGAIN}\n")
    assert "deploy " not in output
    assert calls.changes == []


# They change nothing in AWS: `backup restore` and `backup accept` change a database, after the question.
READS = {
    *(
        "diff",
        "release list",
        "preflight",
        "postflight",
        "firewall list",
        "backup list",
        "backup verify",
        "backup restore",
        "backup accept",
    ),
    *("secrets", "names", "preview list"),
    *("deploy", "preview up"),  # the CDK CLI makes their changes: see `access`
}


@pytest.mark.parametrize("name", [name for name, (waits, _) in WAITS.items() if waits == AWS and name not in READS])
def test_ctrl_c_during_every_call_of_a_change(name: str, connect: Callable[[str, int], Calls], capfd: pytest.CaptureFixture[str]) -> None:
    """From the first changing call on, no message says that nothing happens, and each has a command or says what is left."""
    line = [*line_of(name), *(["--yes"] if name == "release deploy" else [])]
    at = 0
    while True:
        at += 1
        terminal._ctrl_c.reset()
        calls = connect(name, at)
        code = main(line)
        errors = capfd.readouterr().err
        if len(calls.made) < at:
            break
        assert code == 130, calls.made
        message = errors.partition(f"\n{terminal.AGAIN}\n")[0].splitlines()[-1]
        if name.startswith("release") and "put_parameter" not in calls.made:
            assert "rollback" not in message, calls.made  # it would replace the image that still runs
        if calls.changes:
            assert "Nothing continues" not in message, calls.made
            assert "Nothing was changed" not in message, calls.made
            assert re.search(r"`|in AWS|may |again", message), (calls.made, message)
    assert code == 0, errors
    assert calls.changes
