"""CarmenPipelineAccess of a team: production from main, staging from develop, on GitHub and on GitLab."""

from __future__ import annotations

import pytest

from settings.constants import PIPELINE_ACCESS as NAME
from tests.conftest import Built
from tests.pipeline_access import access, settings
from tools.reports.security.policies import Document, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account


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
    (found,) = (role for role in account.roles.values() if role.logical_id[:-8] == name)
    assert found.stack.startswith(NAME)
    return found.arn
