"""CarmenPipelineAccess: roles of pipelines in an account, and the boundary of the CDK's role. Not part of an environment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import aws_cdk as cdk
from constructs import Construct

from constructs_lib.pipelines.oidc_trust import Platform, issuer
from constructs_lib.pipelines.permissions_boundary import PermissionsBoundary
from constructs_lib.pipelines.roles import PipelineReaders, PipelineWriters, PreviewPipeline
from settings.constants import EDGE_REGION
from settings.model import Settings
from settings.sections import Pipeline

NAME = "CarmenPipelineAccess"


class PipelineAccessStack(cdk.Stack):
    """Roles that pipeline jobs assume without access keys, for the environments of one account. A person deploys it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environments: list[Settings],
        pipelines: list[Pipeline],
        previews: Settings | None = None,
    ) -> None:
        """Define the roles.

        `environments` are in this account, `pipelines` in all accounts: scheduled jobs run on one branch for all. `previews`
        represents all previews, if they are in this account.
        """
        deployed = [*environments, *([previews] if previews else [])]
        first = deployed[0]
        super().__init__(
            scope,
            construct_id,
            stack_name=NAME,
            env=cdk.Environment(account=first.account, region=EDGE_REGION),  # IAM is global; this region is bootstrapped anyway
            description="Carmen pipelines: identity providers, roles, permissions boundary of the CDK's execution role",
            termination_protection=True,
        )
        self._add_tags(first)
        self.boundary = PermissionsBoundary(self, "Boundary")
        platforms = self._define_platforms(deployed)
        self.readers: PipelineReaders | None = None
        if environments:
            self.readers = PipelineReaders(self, "Read", environments=environments, pipelines=pipelines, platforms=platforms)
        self.writers = {
            settings.name: PipelineWriters(
                self, settings.name.capitalize(), settings=settings, pipeline=pipeline, platform=platforms[issuer(pipeline)]
            )
            for settings in environments
            if (pipeline := settings.pipeline)
        }
        self.previews: PreviewPipeline | None = None
        if previews and previews.pipeline:
            platform = platforms[issuer(previews.pipeline)]
            self.previews = PreviewPipeline(self, "Preview", settings=previews, pipeline=previews.pipeline, platform=platform)
        self._define_outputs()

    def _add_tags(self, settings: Settings) -> None:
        tags = {"owner": settings.tags.owner, "cost-center": settings.tags.cost_center, "repository": settings.tags.repository}
        for key, value in tags.items():
            cdk.Tags.of(self).add(key, value)

    def _define_platforms(self, environments: list[Settings]) -> dict[str, Platform]:
        """Define one identity provider for each issuer of tokens."""
        exists: dict[str, bool] = {}
        for pipeline in (settings.pipeline for settings in environments if settings.pipeline):
            host = issuer(pipeline)
            exists[host] = exists.get(host, False) or pipeline.provider_exists
        return {
            host: Platform(self, "".join(part.capitalize() for part in host.split(".")), host=host, exists=there)
            for host, there in exists.items()
        }

    def _define_outputs(self) -> None:
        roles = {"DiffRole": self.readers.diff, "DriftRole": self.readers.drift} if self.readers else {}
        if self.previews:
            roles["PreviewRole"] = self.previews.role
        for name, writers in self.writers.items():
            for kind, role in (("Deploy", writers.deploy), ("Push", writers.push), ("Release", writers.release)):
                if role:
                    roles[f"{kind}Role{name.capitalize()}"] = role
        for output, role in roles.items():
            cdk.CfnOutput(self, output, value=role.role_arn, description="For the platform's variables (docs/first-pipeline.md)")


def build_pipeline_access(
    scope: Construct, environments: Iterable[Settings], previews: Settings | None = None
) -> list[PipelineAccessStack]:
    """Define one stack, always with the same name, for each account of environments with a `[pipeline]`.

    `previews`: settings that represent all previews, if a pipeline deploys them.
    """
    with_pipeline = [settings for settings in environments if settings.pipeline]
    pipelines = [settings.pipeline for settings in with_pipeline if settings.pipeline]
    deployed = [*with_pipeline, *([previews] if previews else [])]
    accounts = [list(group) for _, group in groupby(sorted(deployed, key=_account), key=_account)]
    return [
        PipelineAccessStack(
            scope,
            NAME if len(accounts) == 1 else f"{NAME}{_account(group[0])}",
            environments=[one for one in group if one is not previews],
            pipelines=pipelines,
            previews=next((one for one in group if one is previews), None),
        )
        for group in accounts
    ]


def _account(settings: Settings) -> str:
    return settings.account or ""
