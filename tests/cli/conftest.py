"""The command line in this process, without this process's signal handlers and without AWS credentials."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.cli import cdk, cli, terminal

NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
}


def main(arguments: Sequence[str]) -> int:
    """Exit code of a command line, as `./carmen` returns it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "handle_signals", lambda: None)
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)  # `main` replaces it after Ctrl-C
        return cli.main(arguments)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "CARMEN_")):
            monkeypatch.delenv(name)
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fake_cdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CDK CLI that prints its arguments; tests add what else it does."""
    script = tmp_path / "cdk"
    script.write_text('echo "$@"\n', encoding="utf-8")
    monkeypatch.setattr(cdk, "node", lambda: Path("/bin/sh"))
    monkeypatch.setattr(cdk, "CLI", script)
    return script


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a command slept, without sleeping."""
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(seconds))
    return seconds
