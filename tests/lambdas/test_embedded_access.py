"""docs/first-pipeline.md, steps 1 and 2, on an empty account of the embedded AWS, with the real CDK CLI."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from settings.constants import PIPELINE_ACCESS
from settings.loader import environment_names
from tests.isolated_checkout import Copy, copy_of_the_tree

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("aws")]
ACCOUNT = "111111111111"  # a key of 12 digits belongs to the account of this number
SIGNING_PROFILE = f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/carmen"
TOML = """
account = "{account}"
permissions_boundary = "CarmenBoundary"
[pipeline]
repository = "example/carmen-infrastructure"
application_repository = "example/carmen"
branch = "{branch}"
protected_environment = "{environment}"
"""
PROVIDER_EXISTS = "provider_exists = true\n"


class Checkout:
    """A fork with one environment: production, deployed by a pipeline."""

    def __init__(self, copy: Copy, address: str) -> None:
        self._copy, self._address = copy, address
        for name in environment_names():
            (copy.root / "environments" / f"{name}.toml").unlink()
        self.write("prod", TOML.format(account=ACCOUNT, branch="main", environment="production"))

    def write(self, environment: str, text: str) -> None:
        (self._copy.root / "environments" / f"{environment}.toml").write_text(text, encoding="utf-8")

    def append(self, environment: str, text: str) -> None:
        path = self._copy.root / "environments" / f"{environment}.toml"
        self.write(environment, path.read_text(encoding="utf-8") + text)

    def carmen(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}
        where = {"AWS_ENDPOINT_URL": self._address, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        return self._copy.run(".venv/bin/python", "-m", "tools.cli", *arguments, **keys, **where)


@pytest.fixture
def checkout(tmp_path: Path, aws: str) -> Iterator[Checkout]:
    with copy_of_the_tree(tmp_path / "tree" / "carmen") as copy:
        yield Checkout(copy, aws)


def client(service: str) -> Any:
    return boto3.client(service, aws_access_key_id=ACCOUNT, aws_secret_access_key="test")  # pragma: allowlist secret (the embedded AWS)


def outputs() -> dict[str, str]:
    """Of all stacks of roles."""
    found = [one for one in client("cloudformation").describe_stacks()["Stacks"] if one["StackName"].startswith(PIPELINE_ACCESS)]
    return {output["OutputKey"]: output["OutputValue"] for one in found for output in one.get("Outputs", [])}


def test_guide_works_on_an_empty_account(checkout: Checkout) -> None:
    iam = client("iam")
    iam.create_open_id_connect_provider(Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"])
    refused = checkout.carmen("access", "--yes")
    assert refused.returncode != 0
    assert "already exists" in refused.stdout + refused.stderr

    checkout.append("prod", PROVIDER_EXISTS)  # the message's row in the guide
    done = checkout.carmen("access", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    before = outputs()
    assert set(before) == {"DiffRole", "DriftRole", "DeployRoleProd", "PushRoleProd", "ReleaseRoleProd"}

    done = checkout.carmen("bootstrap", f"aws://{ACCOUNT}/us-east-1", "--custom-permissions-boundary", "CarmenBoundary")
    assert done.returncode == 0, done.stdout + done.stderr
    execution = iam.get_role(RoleName=f"cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1")["Role"]
    assert execution["PermissionsBoundary"]["PermissionsBoundaryArn"] == f"arn:aws:iam::{ACCOUNT}:policy/CarmenBoundary"

    checkout.write("staging", TOML.format(account=ACCOUNT, branch="develop", environment="staging") + PROVIDER_EXISTS)
    checkout.append("prod", f'[service]\nsigning_profile = "{SIGNING_PROFILE}"\n')
    done = checkout.carmen("access", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    after = outputs()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"DeployRoleStaging", "PushRoleStaging", "ReleaseRoleStaging"}
    push = after["PushRoleProd"].rsplit("/", 1)[1]
    (policy,) = iam.list_role_policies(RoleName=push)["PolicyNames"]
    assert SIGNING_PROFILE in str(iam.get_role_policy(RoleName=push, PolicyName=policy)["PolicyDocument"])
