"""Ownership tags, and the pipeline that deploys an environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings import types
from settings.sections.base import Section


class Tags(Section):
    """Tags on every resource, for ownership and cost allocation."""

    owner: types.TagValue = Field("platform-team", min_length=2, max_length=64, description="The team responsible for this environment.")
    cost_center: types.TagValue = Field("carmen", min_length=2, max_length=64, description="The cost center that pays for it.")
    repository: types.TagValue = Field("carmen-infrastructure", min_length=2, max_length=128, description="The repository with its code.")


class Pipeline(Section):
    """The pipeline that deploys this environment, without access keys (`CarmenPipelineAccess`). Source: manual "CI/CD Pipeline"."""

    platform: Literal["github", "gitlab"] = Field("github", description="Where the pipeline runs.")
    gitlab_host: types.HostName = Field("gitlab.com", description="The host of a self-managed GitLab.")
    repository: types.RepositoryName = Field(
        description="This code's repository, such as example/carmen-infrastructure; on GitHub as shown in its OIDC settings, "
        "such as example@1234/carmen-infrastructure@5678 with ids."
    )
    application_repository: types.RepositoryName | None = Field(
        None, description="The application's repository, whose pipeline pushes and releases images; default: none."
    )
    branch: types.BranchName = Field(description="The branch that is deployed, in both repositories.")
    protected_environment: types.ProtectedEnvironment = Field(
        description="The platform's protected environment that must approve a deployment, such as production."
    )
    provider_exists: bool = Field(
        False, description="true: the account already has an identity provider for the platform (one per account)."
    )
