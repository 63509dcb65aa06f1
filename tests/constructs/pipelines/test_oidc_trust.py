"""Trust in OIDC tokens in a small stack: the claims that each kind of job must have. tests/pipelines evaluates them."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import aws_iam as iam

from constructs_lib.pipelines.oidc_trust import GITHUB, Platform, issuer
from settings.sections import Pipeline
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, stack, template

REPOSITORY = "example@12/carmen-infrastructure@34"
PIPELINE = Pipeline.model_validate({"repository": REPOSITORY, "branch": "main", "protected_environment": "production"})
GITLAB_PIPELINE = Pipeline.model_validate(
    {"platform": "gitlab", "repository": "example/carmen", "branch": "main", "protected_environment": "production"}
)


def _built(pipeline: Pipeline, *, exists: bool = False) -> Synthesized:
    """One role for each kind of job."""
    small = stack()
    platform, repository = Platform(small, "Platform", host=issuer(pipeline), exists=exists), pipeline.repository
    for name, principal in {
        "Deployment": platform.deployment(repository, pipeline),
        "Reviewed": platform.reviewed(repository, pipeline),
        "Branch": platform.branches([(repository, pipeline.branch)]),
        "PullRequest": platform.pull_requests([repository]),
    }.items():
        iam.Role(small, name, assumed_by=principal)
    return template(small)


@pytest.fixture(scope="module")
def github() -> Synthesized:
    return _built(PIPELINE)


def _conditions(built: Synthesized, role: str, host: str) -> dict[str, dict[str, str]]:
    """Operator → claim, without its host → value."""
    (statement,) = by_id(built.resources("AWS::IAM::Role"), f"/{role}")["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    conditions: dict[str, dict[str, Any]] = statement["Condition"]
    return {operator: {key.removeprefix(f"{host}:"): value for key, value in claims.items()} for operator, claims in conditions.items()}


CLAIMS = {"aud": "sts.amazonaws.com", "repository": "example/carmen-infrastructure", "repository_id": "34"}


@pytest.mark.parametrize(
    ("role", "subject", "claims"),
    [
        ("Deployment", "environment:production", {"ref": "refs/heads/main", "environment": "production"}),
        ("Reviewed", "environment:production", {"environment": "production"}),
        ("Branch", "ref:refs/heads/main", {"ref": "refs/heads/main"}),
        ("PullRequest", "pull_request", {}),
    ],
)
def test_github_tokens_need_these_claims(github: Synthesized, role: str, subject: str, claims: dict[str, str]) -> None:
    assert _conditions(github, role, GITHUB) == {"StringEquals": {**CLAIMS, "sub": f"repo:{REPOSITORY}:{subject}", **claims}}


def test_gitlab_tokens_need_project_and_branch() -> None:
    built, host = _built(GITLAB_PIPELINE), issuer(GITLAB_PIPELINE)
    branch = {"StringEquals": {"aud": "sts.amazonaws.com", "sub": "project_path:example/carmen:ref_type:branch:ref:main"}}
    assert _conditions(built, "Branch", host) == _conditions(built, "Deployment", host) == branch
    any_branch = {
        "StringEquals": {"aud": "sts.amazonaws.com"},
        "StringLike": {"sub": "project_path:example/carmen:ref_type:branch:ref:*"},
    }
    assert _conditions(built, "PullRequest", host) == _conditions(built, "Reviewed", host) == any_branch


def test_several_branches_share_one_statement() -> None:
    small = stack()
    platform = Platform(small, "Platform", host=GITHUB, exists=False)
    iam.Role(small, "Role", assumed_by=platform.branches([(REPOSITORY, "main"), (REPOSITORY, "develop"), (REPOSITORY, "main")]))
    branches = ["refs/heads/main", "refs/heads/develop"]
    subjects = [f"repo:{REPOSITORY}:ref:{branch}" for branch in branches]
    assert _conditions(template(small), "Role", GITHUB) == {"StringEquals": {**CLAIMS, "sub": subjects, "ref": branches}}


def test_provider_has_the_platforms_address(github: Synthesized) -> None:
    provider = only(github.resources("AWS::IAM::OIDCProvider"))
    assert (provider["Url"], provider["ClientIdList"]) == (f"https://{GITHUB}", ["sts.amazonaws.com"])


def test_existing_provider_is_used() -> None:
    built = _built(PIPELINE, exists=True)
    assert built.resources("AWS::IAM::OIDCProvider") == {}
    assert f":oidc-provider/{GITHUB}" in str(built.resources("AWS::IAM::Role"))
