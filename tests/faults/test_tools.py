"""./carmen in a folder whose name is hard to quote: without credentials, with nothing deployed, and interrupted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.deployment import Deployment
from tests.cli.conftest import NO_CREDENTIALS
from tests.isolated_checkout import Copy
from tests.terminal import Terminal


@pytest.fixture
def empty_account(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An account in which nothing is deployed, as variables."""
    deployment = Deployment(tmp_path / "empty" / "run")
    deployment.start()
    yield deployment.variables()
    deployment.stop()


def _fails_with(done: subprocess.CompletedProcess[str], *parts: str, code: int = 1) -> bool:
    """The message contains these parts and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    missing = [part for part in parts if part not in done.stderr]
    assert not missing, done.stderr
    return True


def test_secrets_without_credentials_shows_how_to_sign_in(copy: Copy) -> None:
    assert _fails_with(copy.run("./carmen", "secrets", **NO_CREDENTIALS), "AWS credentials", "AWS_PROFILE")


def test_secrets_names_an_unknown_profile(copy: Copy) -> None:
    assert _fails_with(
        copy.run("./carmen", "secrets", **NO_CREDENTIALS, AWS_PROFILE="unknown"), "The config profile (unknown) could not be found"
    )


def test_secrets_of_an_undeployed_environment_fails(copy: Copy, empty_account: dict[str, str]) -> None:
    assert _fails_with(copy.run("./carmen", "secrets", "--env", "staging", **empty_account), "CarmenStaging", "in us-east-1")


@pytest.mark.parametrize("command", ["secrets", "settings", "synth"])
def test_unknown_environment_lists_the_known_ones(copy: Copy, command: str) -> None:
    done = copy.run("./carmen", command, "--env", "production")
    assert _fails_with(done, "environments/production.toml does not exist", "Environments: dev, prod, staging, preview-NAME.", code=2)
    assert not (copy.root / "cdk.out").exists()


@pytest.mark.long
def test_diff_without_credentials_shows_how_to_sign_in(copy: Copy) -> None:
    done = copy.run("./carmen", "cdk", "diff", "CarmenProd", "-c", "env=prod", **NO_CREDENTIALS)
    assert _fails_with(done, "Unable to resolve AWS account to use", "No usable AWS credentials", "export AWS_PROFILE=NAME")


@pytest.mark.parametrize("arguments", [["synth"], ["cdk", "diff"], ["cost"]])
def test_ctrl_c_is_acknowledged_within_a_second(copy: Copy, arguments: list[str]) -> None:
    copy.environment |= {**NO_CREDENTIALS, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": os.devnull}
    run = Terminal(copy, "./carmen", *arguments)
    time.sleep(3.5)
    run.press_ctrl_c()
    pressed = time.monotonic()
    run.wait_for("continues in AWS" if arguments[0] == "cdk" else "Stopping.", 20)
    assert time.monotonic() - pressed < 1
    assert run.exit_code() == 130
    assert "Traceback" not in run.shown
    assert copy.nothing_runs()
