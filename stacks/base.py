"""The base of all stacks of an environment: account and region, tags, protection."""

from __future__ import annotations

import json
from collections.abc import Iterable

import aws_cdk as cdk
import jsii
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import opt_out_name
from settings import changes
from settings.constants import PREVIEW_TAG, ROLE_PATH
from settings.model import Settings

# Stack traces name jsii's temporary folder: without them, two syntheses of one commit are byte-identical.
REPRODUCIBLE = {"aws:cdk:disable-creation-stack-traces": True, "aws:cdk:disable-stack-trace": True}
# A VPC origin's tags cannot change while a distribution uses it (aws/aws-cdk#35765); a proxy's target group has no tags.
UNTAGGED = ("AWS::CloudFront::VpcOrigin", "AWS::RDS::DBProxyTargetGroup")


class CarmenStack(cdk.Stack):
    """A stack named `Carmen<Environment><name>`. A stateful one has termination protection, unless the settings opt out."""

    def __init__(
        self, scope: Construct, name: str, *, settings: Settings, description: str, stateful: bool = False, region: str | None = None
    ) -> None:
        self._zones = list(settings.network.zones)
        super().__init__(
            scope,
            f"{settings.stack_prefix}{name}",
            env=cdk.Environment(account=settings.account, region=region or settings.region),
            description=f"Carmen {settings.name}: {description}",
            termination_protection=stateful and settings.termination_protection,
            tags={PREVIEW_TAG: settings.preview} if settings.preview else None,
        )
        self._add_tags(settings)
        self._set_permissions_boundary(settings)
        if stateful:
            for key, reason in settings.opt_outs("termination_protection").items():
                self.add_metadata(opt_out_name(key), reason)

    @property
    @jsii.member(jsii_name="availabilityZones")
    def availability_zones(self) -> list[str]:
        """The zones of the settings; the CDK would look them up in AWS."""
        return self._zones

    def _add_tags(self, settings: Settings) -> None:
        stack_tags = cdk.Tags.of(self)
        for key, value in {"environment": settings.name, **owner_tags(settings)}.items():
            stack_tags.add(key, value, exclude_resource_types=list(UNTAGGED))

    def always_export(self, *values: str) -> None:
        """Export attributes of resources that always exist, but that other stacks use with some settings only.

        CloudFormation refuses to remove an export while a stack that is deployed later still imports it.
        """
        for value in values:
            self.export_value(value)

    def record_settings(self, settings: Settings) -> None:
        """Add the values of the settings that are not changeable as an output, which every role that may deploy may read."""
        text = json.dumps(changes.record(settings), separators=(",", ":"))
        cdk.CfnOutput(self, changes.OUTPUT, value=text, description="Settings that cannot simply change; ./carmen deploy compares them")

    def _set_permissions_boundary(self, settings: Settings) -> None:
        if settings.permissions_boundary:
            policy = iam.ManagedPolicy.from_managed_policy_name(self, "PermissionsBoundary", settings.permissions_boundary)
            iam.PermissionsBoundary.of(self).apply(policy)


def owner_tags(settings: Settings) -> dict[str, str]:
    """The tags of every resource that do not depend on the environment's name."""
    return {"owner": settings.tags.owner, "cost-center": settings.tags.cost_center, "repository": settings.tags.repository}


def set_role_path(stacks: Iterable[cdk.Stack]) -> None:
    """Put every role of `stacks`, also those that the CDK's constructs create, under the IAM path ROLE_PATH. Call it last.

    IAM User Guide, "IAM identifiers", "Friendly names and paths": a policy can name all roles of a path, whatever their names.
    """
    roles = cdk.ConstructSelector.resources_of_type("AWS::IAM::Role")
    for role in (role for stack in stacks for role in roles.select(stack)):
        assert isinstance(role, cdk.CfnResource)
        role.add_property_override("Path", ROLE_PATH)
