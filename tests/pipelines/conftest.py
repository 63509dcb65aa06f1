"""CarmenPipelineAccess of a team: production from main, staging from develop, on GitHub and on GitLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from settings.loader import validated
from settings.model import Settings
from stacks.pipeline_access import NAME, build_pipeline_access
from tests.conftest import Built, build
from tools.reports.security.policies import ACCOUNT, Document, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account

REPOSITORY, APPLICATION = "example@12/carmen-infrastructure@34", "example@12/carmen@56"
SIGNING_PROFILE = f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/carmen"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/CarmenBoundary"


def settings(name: str, branch: str, environment: str, **more: Any) -> Settings:
    """Production makes a backup before each release and accepts signed images only."""
    pipeline = {"repository": REPOSITORY, "application_repository": APPLICATION, "branch": branch, "protected_environment": environment}
    service = {"backup_before_release": True, "signing_profile": SIGNING_PROFILE} if name == "prod" else {}
    return validated({"permissions_boundary": "CarmenBoundary", "pipeline": {**pipeline, **more}, "service": service}, name)


def access(folder: Path, *environments: Settings, previews: Settings | None = None) -> Built:
    """Only the stack, for these environments."""
    return build([], folder, lambda app: build_pipeline_access(app, environments, previews))


@pytest.fixture(scope="session")
def github(tmp_path_factory: pytest.TempPathFactory) -> Built:
    both = settings("prod", "main", "production"), settings("staging", "develop", "staging")
    return access(tmp_path_factory.mktemp("github"), *both)


@pytest.fixture(scope="session")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Built:
    gitlab = {"platform": "gitlab", "repository": "example/platform/carmen-infrastructure", "application_repository": "example/carmen"}
    both = settings("prod", "main", "production", **gitlab), settings("staging", "develop", "staging", **gitlab)
    return access(tmp_path_factory.mktemp("gitlab"), *both)


@pytest.fixture(scope="session")
def previews(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An account for previews only, from the same repository on GitHub."""
    return access(tmp_path_factory.mktemp("previews"), previews=settings("preview-any", "develop", "preview"))


@pytest.fixture(scope="session")
def account(github: Built) -> Account:
    return Account.of(ResolvedAssembly(github.assembly))


@pytest.fixture(scope="session")
def boundary(github: Built) -> Document:
    ((_, _, policy),) = ResolvedAssembly(github.assembly).resources("AWS::IAM::ManagedPolicy")
    document: Document = policy["Properties"]["PolicyDocument"]
    return document


def role(account: Account, name: str) -> str:
    """The ARN of the role whose construct id ends with `name`, such as `ProdDeploy`."""
    (arn,) = (arn for arn in account.roles if arn.rsplit("-", 1)[1][:-8] == name)
    assert arn.startswith(f"arn:aws:iam::{ACCOUNT}:role/{NAME}-")
    return arn
