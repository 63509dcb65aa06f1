"""Trust in CI platforms' OIDC tokens: which repository, branch and protected environment may assume a role."""

from __future__ import annotations

import re

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from settings import sections

AUDIENCE = "sts.amazonaws.com"
GITHUB = "token.actions.githubusercontent.com"


def issuer(settings: sections.Pipeline) -> str:
    """Return the host that issues the pipeline's OIDC tokens."""
    return GITHUB if settings.platform == "github" else settings.gitlab_host


class Platform(Construct):
    """The OIDC identity provider of one CI platform, and the principals for its tokens.

    Sources: GitHub Docs, "OpenID Connect reference" (subjects, immutable ones with ids); AWS, "STS supports validation of identity
    provider specific claims" (January 2026: GitHub's repository, repository_id, ref and environment; for GitLab's tokens only the
    subject); GitLab Docs, "Retrieve temporary credentials from AWS".
    """

    def __init__(self, scope: Construct, construct_id: str, *, host: str, exists: bool) -> None:
        super().__init__(scope, construct_id)
        self._host = host
        if exists:  # an account has at most one provider for each address
            self._arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:oidc-provider/{host}"
        else:
            provider = iam.OidcProviderNative(self, "Provider", url=f"https://{host}", client_ids=[AUDIENCE])
            self._arn = provider.oidc_provider_arn

    def deployment(self, repository: str, settings: sections.Pipeline) -> iam.IPrincipal:
        """A job of the branch, approved by the protected environment. GitLab's tokens do not name the environment."""
        if self._host != GITHUB:
            return self.branch(repository, settings)
        environment = settings.protected_environment
        return self._github(repository, f"environment:{environment}", ref=f"refs/heads/{settings.branch}", environment=environment)

    def reviewed(self, repository: str, settings: sections.Pipeline) -> iam.IPrincipal:
        """A job of any branch, approved by the protected environment's reviewers. GitLab's tokens do not name the environment."""
        if self._host != GITHUB:
            return self.pull_request(repository)
        environment = settings.protected_environment
        return self._github(repository, f"environment:{environment}", environment=environment)

    def branch(self, repository: str, settings: sections.Pipeline) -> iam.IPrincipal:
        """Any job of the branch without an environment."""
        ref = f"refs/heads/{settings.branch}"
        if self._host == GITHUB:
            return self._github(repository, f"ref:{ref}", ref=ref)
        return self._principal({"StringEquals": self._claims(sub=f"project_path:{repository}:ref_type:branch:ref:{settings.branch}")})

    def pull_request(self, repository: str) -> iam.IPrincipal:
        """A job of a pull request within the repository; forks get no token. On GitLab it runs on a branch of any name."""
        if self._host == GITHUB:
            return self._github(repository, "pull_request")
        branches = {f"{self._host}:sub": f"project_path:{repository}:ref_type:branch:ref:*"}
        return self._principal({"StringEquals": self._claims(), "StringLike": branches})

    def _github(self, repository: str, job: str, **claims: str) -> iam.IPrincipal:
        """Checks the repository's id too, where GitHub supplies it: another owner could take over the name."""
        names, ids = re.sub(r"@\d+", "", repository), re.findall(r"@(\d+)$", repository)
        claims |= {"repository": names} | ({"repository_id": ids[0]} if ids else {})
        return self._principal({"StringEquals": self._claims(sub=f"repo:{repository}:{job}", **claims)})

    def _claims(self, **claims: str) -> dict[str, str]:
        return {f"{self._host}:{name}": value for name, value in {"aud": AUDIENCE, **claims}.items()}

    def _principal(self, conditions: dict[str, dict[str, str]]) -> iam.IPrincipal:
        return iam.WebIdentityPrincipal(self._arn, conditions)
