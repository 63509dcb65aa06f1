"""Ctrl-C in real processes on a terminal: acknowledged within a second, exit code 130, no traceback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cli.test_command_line import COMMANDS
from tests.cli.test_ctrl_c import AWS, CDK, NOTHING, PLATFORM, WAITS, line_of, variables
from tests.conftest import ROOT
from tests.terminal import Terminal
from tools.cli import terminal

ACKNOWLEDGED_SECONDS = 5  # one second on a quiet machine; here, other tests share the processors
END_SECONDS = 60  # of a CDK CLI, on a busy machine
# exec: dash loses a SIGINT between its vfork and the child's exec, and would wait for the child.
MAKE = """#!/bin/sh
echo make is here >/dev/tty
test ! -e slow || exec sleep 20
"""


@dataclass
class Project:
    """The tree in a folder of its own, where ./carmen finds everything installed. AWS is a server that never answers."""

    root: Path
    environment: dict[str, str]
    server: socket.socket

    def start(self, *arguments: str) -> Terminal:
        return Terminal(self, "./carmen", *arguments)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    root = tmp_path / "project"
    (root / "bin").mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in ("carmen", "cdk.out", ".git", ".local"):
            (root / entry.name).symlink_to(entry)
    shutil.copy2(ROOT / "carmen", root)
    (root / "bin" / "make").write_text(MAKE, encoding="utf-8")
    (root / "bin" / "make").chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CARMEN_", "PYTEST_", "GITHUB_"))}
    path = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with socket.create_server(("127.0.0.1", 0)) as server:  # one per test: the CDK CLI leaves connections
        server.settimeout(60)
        yield Project(root, {**inherited, **variables(server), "PATH": path}, server)


def press(run: Terminal, message: str) -> None:
    """Ctrl-C, and its message within a second."""
    pressed = time.monotonic()
    run.press_ctrl_c()
    run.wait_for(message, ACKNOWLEDGED_SECONDS)
    assert time.monotonic() - pressed < ACKNOWLEDGED_SECONDS


def assert_ended(run: Terminal) -> None:
    assert run.exit_code(END_SECONDS) == 130
    assert "Traceback" not in run.shown
    assert "Exception ignored" not in run.shown


def _cdk_runs(run: Terminal) -> bool:
    with contextlib.suppress(psutil.Error):  # a process that ends meanwhile
        return any("aws-cdk" in " ".join(child.cmdline()) for child in psutil.Process(run.process.pid).children(recursive=True))
    return False


def start_and_wait(project: Project, name: str) -> Terminal:
    """The command, waiting for its answer."""
    run = project.start(*line_of(name))
    if WAITS[name][0] in (AWS, PLATFORM):
        project.server.accept()[0].detach()  # stays open, without an answer
    else:
        while not _cdk_runs(run):
            assert run.process.poll() is None, (run.exit_code(), run.shown)
            time.sleep(0.1)
    return run


def test_ctrl_c_during_the_installation_check(project: Project) -> None:
    (project.root / "slow").touch()
    run = project.start("names")
    run.wait_for("make is here")
    press(run, "Stopping. Nothing continues in AWS. The next ./carmen completes an installation.")
    assert_ended(run)


@pytest.mark.parametrize("seconds", [0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2])
def test_ctrl_c_while_modules_load(project: Project, seconds: float) -> None:
    run = project.start("names")
    run.wait_for("make is here")
    time.sleep(seconds)
    pressed = time.monotonic()
    run.press_ctrl_c()
    assert_ended(run)
    assert time.monotonic() - pressed < ACKNOWLEDGED_SECONDS
    shown = run.shown.replace("make is here", "").replace("^C", "").strip()
    assert shown.startswith("Stopping. Nothing continues in AWS.") or not shown  # ended by the signal itself, between two programs


@pytest.mark.parametrize("name", ["names", "comment", "backup verify"])
def test_ctrl_c_while_waiting(project: Project, name: str) -> None:
    run = start_and_wait(project, name)
    press(run, WAITS[name][1])
    assert_ended(run)


@pytest.mark.parametrize("name", ["firewall block", "preview remove"])
def test_ctrl_c_at_the_question(project: Project, name: str) -> None:
    run = project.start(*(word for word in line_of(name) if word != "--yes"))
    run.wait_for("Continue? [y/N]: ")
    time.sleep(0.2)  # a person; Python loses a signal between its last check and read(2) until the next key
    press(run, f"{NOTHING}\r\n{terminal.AGAIN}")
    assert_ended(run)


@pytest.mark.long  # 108 processes
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("moment", ["start", "waiting", "twice"])
def test_ctrl_c_in_every_command(project: Project, name: str, moment: str) -> None:
    if moment == "start":
        run = project.start(*line_of(name))
        run.wait_for("make is here")
        time.sleep(0.1)
        press(run, NOTHING)
    elif name != "access" and WAITS[name][0] in (AWS, PLATFORM, CDK):
        run = start_and_wait(project, name)
        press(run, WAITS[name][1])
        if moment == "twice":
            run.press_ctrl_c()
    else:
        pytest.skip("works on this machine, in less than a second or covered by tests/faults/test_tools.py; access: by test_ctrl_c.py")
    assert_ended(run)
