"""CarmenPipelineAccess: roles of pipelines in an account, and the boundary of the CDK's role. Not part of an environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.pipelines.oidc_trust import Platform, issuer
from constructs_lib.pipelines.permissions_boundary import PermissionsBoundary
from constructs_lib.pipelines.roles import PipelineReaders, PipelineWriters, PreviewPipeline
from settings.constants import EDGE_REGION, PIPELINE_ACCESS
from settings.model import Settings
from settings.sections import Pipeline
from stacks.base import owner_tags


class AccessStack(cdk.Stack):
    """A stack of roles that a person deploys with their own credentials, before the bootstrap and at any time later.

    LegacyStackSynthesizer: the CDK passes the template in the request (at most 51,200 bytes: CloudFormation User Guide, "Understand
    CloudFormation quotas") and no role, so CloudFormation acts with the caller's credentials. The CDK's own execution role has
    CarmenBoundary, which forbids to change these roles; CliCredentialsStackSynthesizer "requires an S3 bucket" (CDK API Reference).
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str, owner: Settings, description: str) -> None:
        super().__init__(
            scope,
            construct_id,
            stack_name=name,
            env=cdk.Environment(account=owner.account, region=EDGE_REGION),  # IAM is global
            description=f"Carmen pipelines: {description}",
            termination_protection=True,
            synthesizer=cdk.LegacyStackSynthesizer(),
        )
        for key, value in owner_tags(owner).items():
            cdk.Tags.of(self).add(key, value)

    def define_platforms(self, environments: Iterable[Settings], *, exist: bool = False) -> dict[str, Platform]:
        """Define one identity provider for each issuer of tokens, unless they `exist`."""
        exists: dict[str, bool] = {}
        for pipeline in (settings.pipeline for settings in environments if settings.pipeline):
            host = issuer(pipeline)
            exists[host] = exists.get(host, exist) or pipeline.provider_exists
        return {
            host: Platform(self, "".join(part.capitalize() for part in host.split(".")), host=host, exists=there)
            for host, there in exists.items()
        }

    def define_outputs(self, roles: Mapping[str, iam.Role | None]) -> None:
        """Define an output for each role."""
        for name, role in roles.items():
            if role:
                cdk.CfnOutput(self, name, value=role.role_arn, description="For the platform's variables (docs/first-pipeline.md)")


class PipelineAccessStack(AccessStack):
    """What an account has once: the permissions boundary, identity providers, and the roles that only read."""

    def __init__(
        self, scope: Construct, construct_id: str, *, deployed: list[Settings], environments: list[Settings], pipelines: list[Pipeline]
    ) -> None:
        """`deployed` are in this account, `environments` without previews; `pipelines` are those of all accounts, because scheduled jobs
        run on one branch for all."""
        description = "identity providers, permissions boundary of the CDK's execution role, roles that read"
        super().__init__(scope, construct_id, name=PIPELINE_ACCESS, owner=deployed[0], description=description)
        self.boundary = PermissionsBoundary(self, "Boundary")
        platforms = self.define_platforms(deployed)
        if environments:
            readers = PipelineReaders(self, "Read", environments=environments, pipelines=pipelines, platforms=platforms)
            self.define_outputs({"DiffRole": readers.diff, "DriftRole": readers.drift})


class EnvironmentAccessStack(AccessStack):
    """The roles of one environment: deploy, push and release. With all of them, one template would exceed 51,200 bytes."""

    def __init__(self, scope: Construct, *, settings: Settings, pipeline: Pipeline) -> None:
        name = settings.name.capitalize()
        super().__init__(
            scope, f"{PIPELINE_ACCESS}{name}", name=f"{PIPELINE_ACCESS}{name}", owner=settings, description=f"roles of {settings.name}"
        )
        platform = self.define_platforms([settings], exist=True)[issuer(pipeline)]
        roles = PipelineWriters(self, name, settings=settings, pipeline=pipeline, platform=platform)
        self.define_outputs({f"DeployRole{name}": roles.deploy, f"PushRole{name}": roles.push, f"ReleaseRole{name}": roles.release})


class PreviewAccessStack(AccessStack):
    """The role of previews; `settings` represent all of them."""

    def __init__(self, scope: Construct, *, settings: Settings, pipeline: Pipeline) -> None:
        name = f"{PIPELINE_ACCESS}Previews"
        super().__init__(scope, name, name=name, owner=settings, description="role of previews")
        platform = self.define_platforms([settings], exist=True)[issuer(pipeline)]
        self.define_outputs({"PreviewRole": PreviewPipeline(self, "Preview", settings=settings, pipeline=pipeline, platform=platform).role})


def build_pipeline_access(scope: Construct, environments: Iterable[Settings], previews: Settings | None = None) -> None:
    """Define the stacks for the environments with a `[pipeline]`: one for each account, always with the same name, and one for each
    environment.

    `previews`: settings that represent all previews, if a pipeline deploys them.
    """
    with_pipeline = [settings for settings in environments if settings.pipeline]
    pipelines = [settings.pipeline for settings in with_pipeline if settings.pipeline]
    deployed = [*with_pipeline, *([previews] if previews else [])]
    accounts = [list(group) for _, group in groupby(sorted(deployed, key=_account), key=_account)]
    for group in accounts:
        construct_id = PIPELINE_ACCESS if len(accounts) == 1 else f"{PIPELINE_ACCESS}{_account(group[0])}"
        one_account = PipelineAccessStack(
            scope, construct_id, deployed=group, environments=[one for one in group if one is not previews], pipelines=pipelines
        )
        for settings in group:
            assert settings.pipeline
            if settings is previews:
                stack: AccessStack = PreviewAccessStack(scope, settings=settings, pipeline=settings.pipeline)
            else:
                stack = EnvironmentAccessStack(scope, settings=settings, pipeline=settings.pipeline)
            stack.add_stack_dependency(one_account, "The roles trust its identity providers.")


def _account(settings: Settings) -> str:
    return settings.account or ""
