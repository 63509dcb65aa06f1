"""Commands that call AWS, without credentials or in an empty account."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.deployment import Deployment
from tests.isolated_checkout import Copy

NO_CREDENTIALS = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}


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


def test_diff_without_credentials_shows_how_to_sign_in(copy: Copy) -> None:
    done = copy.run("./carmen", "cdk", "diff", "CarmenProd", "-c", "env=prod", **NO_CREDENTIALS)
    assert _fails_with(done, "Unable to resolve AWS account to use", "No usable AWS credentials", "export AWS_PROFILE=NAME")
