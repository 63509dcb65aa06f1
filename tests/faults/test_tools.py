"""The commands that ask AWS, when it does not know who asks or has nothing to tell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.deployment import Deployment
from tests.isolated_checkout import Copy

NOBODY = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def empty_account(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An account in which nothing is deployed, as variables."""
    deployment = Deployment(tmp_path / "empty" / "run")
    deployment.start()
    yield deployment.variables()
    deployment.stop()


def _says(done: subprocess.CompletedProcess[str], *parts: str) -> bool:
    """A sentence that says it, a failure of make, and no more."""
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    missing = [part for part in parts if part not in done.stderr]
    assert not missing, done.stderr
    return True


def test_secrets_without_credentials_says_how_to_give_them(copy: Copy) -> None:
    assert _says(copy.run("make", "secrets", **NOBODY), "AWS credentials", "AWS_PROFILE")


def test_secrets_names_a_profile_that_is_not_there(copy: Copy) -> None:
    assert _says(copy.run("make", "secrets", **NOBODY, AWS_PROFILE="nobodys"), "The config profile (nobodys) could not be found")


def test_secrets_of_what_is_not_deployed_says_so(copy: Copy, empty_account: dict[str, str]) -> None:
    assert _says(copy.run("make", "secrets", "ENV=staging", **empty_account), "CarmenStaging", "in us-east-1")


@pytest.mark.parametrize("command", ["secrets", "settings", "synth"])
def test_an_environment_that_is_not_there_is_told_with_those_that_are(copy: Copy, command: str) -> None:
    done = copy.run("make", command, "ENV=production")
    assert _says(done, "environments/production.toml does not exist", "Environments: dev, prod, staging.")


def test_diff_without_credentials_shows_the_clis_own_error_and_how_to_give_them(copy: Copy) -> None:
    done = copy.run("make", "diff", **NOBODY)
    assert _says(done, "Unable to resolve AWS account to use", "There are no AWS credentials: name a profile (`aws configure sso`")
