"""Trust in CI platforms' OIDC tokens: which repository, branch and protected environment may assume a role."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aws_cdk import Aws, RemovalPolicy
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
            # Kept when `provider_exists` is set later: without it, no role could be assumed.
            keep = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
            provider = iam.OidcProviderNative(self, "Provider", url=f"https://{host}", client_ids=[AUDIENCE], removal_policy=keep)
            self._arn = provider.oidc_provider_arn

    def deployment(self, repository: str, settings: sections.Pipeline) -> iam.IPrincipal:
        """A job of the branch, approved by the protected environment. GitLab's tokens do not name the environment."""
        if self._host != GITHUB:
            return self.branches([(repository, settings.branch)])
        environment = settings.protected_environment
        return self._github([(repository, f"environment:{environment}")], ref=[f"refs/heads/{settings.branch}"], environment=[environment])

    def reviewed(self, repository: str, settings: sections.Pipeline) -> iam.IPrincipal:
        """A job of any branch, approved by the protected environment's reviewers. GitLab's tokens do not name the environment."""
        if self._host != GITHUB:
            return self.pull_requests([repository])
        environment = settings.protected_environment
        return self._github([(repository, f"environment:{environment}")], environment=[environment])

    def branches(self, branches: Sequence[tuple[str, str]]) -> iam.IPrincipal:
        """Any job without an environment of these branches, given as repository and branch.

        One statement, because a trust policy has at most 2,048 characters
        (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html). Each subject names both, so that no other combination
        is possible.
        """
        if self._host == GITHUB:
            refs = [f"refs/heads/{branch}" for _, branch in branches]
            return self._github([(repository, f"ref:refs/heads/{branch}") for repository, branch in branches], ref=refs)
        subjects = [f"project_path:{repository}:ref_type:branch:ref:{branch}" for repository, branch in branches]
        return self._principal({"StringEquals": self._claims(aud=[AUDIENCE], sub=subjects)})

    def pull_requests(self, repositories: Sequence[str]) -> iam.IPrincipal:
        """A job of a pull request within a repository; forks get no token. On GitLab it runs on a branch of any name."""
        if self._host == GITHUB:
            return self._github([(repository, "pull_request") for repository in repositories])
        branches = [f"project_path:{repository}:ref_type:branch:ref:*" for repository in repositories]
        return self._principal({"StringEquals": self._claims(aud=[AUDIENCE]), "StringLike": self._claims(sub=branches)})

    def _github(self, jobs: Sequence[tuple[str, str]], **claims: list[str]) -> iam.IPrincipal:
        """Checks the repository's id too, where GitHub supplies it: another owner could take over the name."""
        ids = [found[1] for repository, _ in jobs if (found := re.search(r"@(\d+)$", repository))]
        claims["repository"] = [re.sub(r"@\d+", "", repository) for repository, _ in jobs]
        if len(ids) == len(jobs):
            claims["repository_id"] = ids
        subjects = [f"repo:{repository}:{job}" for repository, job in jobs]
        return self._principal({"StringEquals": self._claims(aud=[AUDIENCE], sub=subjects, **claims)})

    def _claims(self, **claims: list[str]) -> dict[str, str | list[str]]:
        return {f"{self._host}:{name}": one_or_more(values) for name, values in claims.items()}

    def _principal(self, conditions: dict[str, Any]) -> iam.IPrincipal:
        return iam.WebIdentityPrincipal(self._arn, conditions)


def one_or_more(values: Sequence[str]) -> str | list[str]:
    """The different values of a condition: a policy has a single one as a text."""
    different = list(dict.fromkeys(values))
    return different if len(different) > 1 else different[0]
