"""Ownership, and the pipeline that deploys an environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings import types
from settings.sections.base import Section


class Tags(Section):
    """Tags on every resource, for ownership and cost allocation."""

    owner: types.TagValue = Field("platform-team", min_length=2, max_length=64, description="Who answers for this environment.")
    cost_center: types.TagValue = Field("carmen", min_length=2, max_length=64, description="Where its cost is booked.")
    repository: types.TagValue = Field("carmen-infrastructure", min_length=2, max_length=128, description="Where its code lives.")


class Pipeline(Section):
    """Whose pipeline deploys this environment, without a key (`CarmenPipelineAccess`). Source: manual "CI/CD Pipeline"."""

    platform: Literal["github", "gitlab"] = Field("github", description="Where the pipeline runs.")
    gitlab_host: types.HostName = Field("gitlab.com", description="GitLab's own address, if it is yours.")
    repository: types.RepositoryName = Field(
        description="This code's repository, such as example/carmen-infrastructure; on GitHub as its settings show it under OIDC: "
        "example@1234/carmen-infrastructure@5678 where ids are shown."
    )
    application_repository: types.RepositoryName | None = Field(
        None, description="The application's, whose pipeline pushes images and releases them; absent: none does."
    )
    branch: types.BranchName = Field(description="The one branch that is deployed here, in both repositories.")
    protected_environment: types.ProtectedEnvironment = Field(
        description="The platform's protected environment that the deployment waits for, such as production."
    )
    provider_exists: bool = Field(False, description="true: the account trusts the platform already (one identity provider an account).")
