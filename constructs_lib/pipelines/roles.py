"""The roles of pipelines: read stacks, deploy, push images and release them, one role each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aws_cdk import Aws, DefaultStackSynthesizer, Duration, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.pipelines.oidc_trust import Platform, issuer, one_or_more
from settings.constants import PREVIEW_PREFIX, ROLE_PATH
from settings.loader import SettingsError
from settings.model import Settings
from settings.sections import Pipeline

TRUST_CHARACTERS = 2_048
MAX_SESSION = Duration.hours(2)  # the first deployment creates a database and a distribution
READ_STACKS = ["cloudformation:DescribeStacks", "cloudformation:ListStackResources"]
NAME_UNKNOWN = "CloudFormation names resources with their stack's name and a random suffix."
NO_RESOURCE_LEVEL = "The action supports no resource-level permissions (AWS Service Authorization Reference)."
NO_TYPE = "ECS checks the action against * (Amazon ECS Developer Guide, Identity-based policy examples)"
PUSH = [
    *("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage"),
    "ecr:UploadLayerPart",
]


class EnvironmentNames:
    """The names of an environment's resources before they exist: CloudFormation starts each name with its stack's name.

    `prefix`: of the stacks; by default the environment's.
    """

    def __init__(self, settings: Settings, prefix: str | None = None) -> None:
        self.settings = settings
        self.account = settings.account or Aws.ACCOUNT_ID
        self.regions = settings.regions
        self.prefix = prefix or settings.stack_prefix

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        """Return an ARN in the application's region, or in `region`."""
        return f"arn:{Aws.PARTITION}:{service}:{self.settings.region if region is None else region}:{self.account}:{resource}"

    def stacks(self, name: str = "*") -> list[str]:
        """Return the ARN patterns of all stacks, or of the stack `name`, in each region."""
        return [self.arn("cloudformation", f"stack/{self.prefix}{name}/*", region=region) for region in self.regions]

    def bootstrap_roles(self, *kinds: str) -> list[str]:
        """Return the ARNs of roles of `cdk bootstrap`, such as `deploy` or `lookup`."""
        qualifier = DefaultStackSynthesizer.DEFAULT_QUALIFIER
        return [
            self.arn("iam", f"role/cdk-{qualifier}-{kind}-role-{self.account}-{region}", region="")
            for region in self.regions
            for kind in kinds
        ]


class PipelineReaders(Construct):
    """`diff` for pull requests, whose code is not reviewed yet: reads stacks, but no data. `drift` for the branches: through the
    CDK's lookup role, since CloudFormation compares with the caller's permissions."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environments: Sequence[Settings],
        pipelines: Sequence[Pipeline],
        platforms: Mapping[str, Platform],
    ) -> None:
        super().__init__(scope, construct_id)
        names = [EnvironmentNames(settings) for settings in environments]
        known = [(platforms[host], of_host) for host in platforms if (of_host := [one for one in pipelines if issuer(one) == host])]
        self.diff = self._define_diff(names, [platform.pull_requests([one.repository for one in found]) for platform, found in known])
        self.drift = self._define_drift(
            names, [platform.branches([(one.repository, one.branch) for one in found]) for platform, found in known]
        )
        for role in (self.diff, self.drift):
            _expect_trust_fits(role, pipelines)

    def _define_diff(self, names: list[EnvironmentNames], trusted: list[iam.IPrincipal]) -> iam.Role:
        role = iam.Role(self, "Diff", description="Pull requests: reads the deployed stacks", assumed_by=iam.CompositePrincipal(*trusted))
        actions = [*READ_STACKS, "cloudformation:DescribeStackResourceDrifts", "cloudformation:GetTemplate"]
        _allow(role, "DescribeStacks", actions, [stack for one in names for stack in one.stacks()])
        return role

    def _define_drift(self, names: list[EnvironmentNames], trusted: list[iam.IPrincipal]) -> iam.Role:
        role = iam.Role(
            self,
            "Drift",
            description="Branches: reads the deployed stacks and detects drift",
            assumed_by=iam.CompositePrincipal(*trusted),
        )
        _allow(
            role, "AssumeLookupRole", ["sts:AssumeRole"], list(dict.fromkeys(arn for one in names for arn in one.bootstrap_roles("lookup")))
        )
        _allow_notify(role, names)
        return role


class PipelineWriters(Construct):
    """`deploy` for this repository; `push` and `release` for the application's repository, if set."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, pipeline: Pipeline, platform: Platform) -> None:
        super().__init__(scope, construct_id)
        names = EnvironmentNames(settings)
        self.deploy = self._define_deploy(names, platform.deployment(pipeline.repository, pipeline))
        self.push: iam.Role | None = None
        self.release: iam.Role | None = None
        if application := pipeline.application_repository:
            self.push = self._define_push(names, platform.branches([(application, pipeline.branch)]))
            self.release = self._define_release(names, platform.deployment(application, pipeline))

    def _define_deploy(self, names: EnvironmentNames, trusted: iam.IPrincipal) -> iam.Role:
        """Only assumes the CDK's roles, whose permissions and boundary `cdk bootstrap` defines."""
        role = iam.Role(self, "Deploy", description="Deploys the stacks", assumed_by=trusted, max_session_duration=MAX_SESSION)
        _allow(role, "AssumeCdkRoles", ["sts:AssumeRole"], names.bootstrap_roles("deploy", "file-publishing", "lookup"))
        _allow_notify(role, [names])
        return role

    def _define_push(self, names: EnvironmentNames, trusted: iam.IPrincipal) -> iam.Role:
        role = iam.Role(self, "Push", description="Pushes the application's images", assumed_by=trusted)
        _allow(role, "GetRegistryToken", ["ecr:GetAuthorizationToken"], ["*"], wildcard_reason=NO_RESOURCE_LEVEL)
        _allow(role, "PushImages", PUSH, [_images(names)])
        if profile := names.settings.service.signing_profile:  # ECR signs with the pusher's permissions
            _allow(role, "SignImages", ["signer:SignPayload"], [profile])
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                "Cloudsplaining::CredentialsExposure[ecr:GetAuthorizationToken]": (
                    "docker logs in with the token; what it may access depends on the statement for the repository."
                ),
            },
        )
        return role

    def _define_release(self, names: EnvironmentNames, trusted: iam.IPrincipal) -> iam.Role:
        """For tools/cli/commands/release.py: static files, the migration, the image parameter, and updating the service's stack."""
        role = iam.Role(self, "Release", description="Releases an image", assumed_by=trusted, max_session_duration=MAX_SESSION)
        _allow(
            role,
            "ReadAndWriteImageParameter",
            ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:PutParameter"],
            [_image_parameter(names)],
        )
        _allow(
            role,
            "HoldReleaseLock",
            ["ssm:DeleteParameter", "ssm:GetParameterHistory", "ssm:PutParameter"],
            [f"{_image_parameter(names)}-release-lock"],
        )
        _allow(role, "ReadBootstrapVersion", ["ssm:GetParameters"], [_bootstrap_version(names)])
        _allow(role, "ReadImage", ["ecr:BatchGetImage", "ecr:DescribeImageScanFindings", "ecr:DescribeImages"], [_images(names)])
        # With enhanced scanning, ECR asks Inspector with the caller's permissions (Amazon ECR User Guide, "IAM permissions
        # required for enhanced scanning"; alexjurkiewicz/ecr-scan-image#19).
        _allow(role, "ReadEnhancedScan", ["inspector2:ListCoverage", "inspector2:ListFindings"], ["*"], wildcard_reason=NO_RESOURCE_LEVEL)
        if names.settings.service.signing_profile:
            _allow(role, "ReadSigningStatus", ["ecr:DescribeImageSigningStatus"], [_images(names)])
            acknowledge(
                role.node.find_child("DefaultPolicy"),
                {
                    "Parliament::UNKNOWN_ACTION[Unknown action ecr:DescribeImageSigningStatus]": (
                        "The action exists since November 2025 (Amazon ECR API Reference); parliament's list is older."
                    ),
                },
            )
        self._allow_update(role, names)
        self._allow_tasks(role, names)
        if names.settings.service.backup_before_release:
            _allow(
                role,
                "InvokeBackupFunction",
                ["lambda:InvokeFunction"],
                [names.arn("lambda", f"function:{names.prefix}Operations-BackupFunction*")],
            )
        _allow_notify(role, [names])
        return role

    def _allow_update(self, role: iam.Role, names: EnvironmentNames) -> None:
        """Allow updates of the service's stack only with the role below. IAM cannot limit the template, which a request contains.

        Without RoleARN, CloudFormation would use the stack's role, the CDK's execution role, "even if the users don't have permission to
        pass it" (API Reference, UpdateStack). cloudformation:RoleArn, TemplateUrl: Service Authorization Reference, CloudFormation.
        """
        update_role = self._define_update_role(names)
        stack = [names.stacks("Service")[0]]
        _allow(role, "ReadEvents", ["cloudformation:DescribeStackEvents"], stack)
        conditions = {"ArnEquals": {"cloudformation:RoleArn": update_role}, "Null": {"cloudformation:TemplateUrl": "true"}}
        _allow(role, "RollOutService", ["cloudformation:UpdateStack"], stack, conditions)
        passed = {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
        _allow(role, "PassUpdateRole", ["iam:PassRole"], [update_role], passed)

    def _define_update_role(self, names: EnvironmentNames) -> str:
        """CloudFormation's role for a release; returns its ARN. It may do what a new image changes: three task definitions, one service.

        The actions are those of the types' handlers (resource schemas of AWS::ECS::TaskDefinition and AWS::ECS::Service); creating and
        deleting a service is not among them. It has a physical name because tools/cli/commands/release.py passes it.
        """
        service = f"{names.prefix}Service"
        role = iam.Role(
            self,
            "Update",
            role_name=names.settings.release_role,
            description="CloudFormation: updates the service to a released image",
            assumed_by=iam.ServicePrincipal("cloudformation.amazonaws.com"),
        )
        _allow(role, "ReadParameters", ["ssm:GetParameters"], [_image_parameter(names), _bootstrap_version(names)])
        _allow(role, "ReadStackOutputs", ["cloudformation:DescribeStacks"], names.stacks())  # Fn::GetStackOutput in the template
        _allow_task_definitions(role)
        cluster, web = f"{service}-Cluster*", f"{service}-Web*"
        services = names.arn("ecs", f"service/{cluster}/{web}")
        deployments = names.arn("ecs", f"service-deployment/{cluster}/{web}/*")
        _allow(role, "UpdateService", ["ecs:DescribeServices", "ecs:ListServiceDeployments", "ecs:UpdateService"], [services])
        _allow(role, "FollowDeployment", ["ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"], [services, deployments])
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                "Parliament::UNKNOWN_ACTION[Unknown action ecs:StopServiceDeployment]": (
                    "The action exists (Amazon ECS API Reference, StopServiceDeployment); parliament's list is older."
                ),
            },
        )
        definitions = names.arn("ecs", f"task-definition/{service}*:*")
        _allow(role, "TagTaskDefinitionsAndService", ["ecs:ListTagsForResource", "ecs:TagResource"], [services, definitions])
        families = [names.arn("iam", f"role{ROLE_PATH}{service}-{one}Task*", region="") for one in ("Web", "Migration", "ReleaseFiles")]
        _allow(role, "ReadTaskRoles", ["iam:GetRole"], families)
        _allow(role, "PassTaskRoles", ["iam:PassRole"], families, {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}})
        return names.arn("iam", f"role/{names.settings.release_role}", region="")

    def _allow_tasks(self, role: iam.Role, names: EnvironmentNames) -> None:
        """Register task definitions, and run the two families with the application's image in the environment's cluster."""
        service = f"{names.prefix}Service"
        cluster = names.arn("ecs", f"cluster/{service}-Cluster*")
        in_cluster = {"ArnLike": {"ecs:cluster": cluster}}
        families = [f"{one}Task*" for one in ("Migration", "ReleaseFiles")]
        definitions = [names.arn("ecs", f"task-definition/{service}{family}:*") for family in families]
        _allow_task_definitions(role)
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {"Parliament::RESOURCE_STAR[ecs:ListTasks]": f"{NO_TYPE}; ecs:cluster limits it to the environment's cluster."},
        )
        _allow(role, "RunTasks", ["ecs:RunTask"], definitions, in_cluster)
        _allow(
            role,
            "DescribeAndStopTasks",
            ["ecs:DescribeTasks", "ecs:StopTask"],
            [names.arn("ecs", f"task/{service}-Cluster*/*")],
            in_cluster,
        )
        _allow(role, "ListTasks", ["ecs:ListTasks"], ["*"], in_cluster, wildcard_reason=f"{NO_TYPE}.")
        _allow(
            role, "DescribeServices", ["ecs:DescribeServices"], [names.arn("ecs", f"service/{service}-Cluster*/{service}-Web*")], in_cluster
        )
        _allow(
            role,
            "PassTaskRoles",
            ["iam:PassRole"],
            [names.arn("iam", f"role{ROLE_PATH}{service}-{family}", region="") for family in families],
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        )


class PreviewPipeline(Construct):
    """`preview` deploys previews of any name through the CDK's roles, and removes resources with a preview's name prefix.

    An approved preview can deploy anything the CDK's roles can. So pipelines deploy previews only to a separate account
    or development's (settings/loader.py refuses all others).
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, pipeline: Pipeline, platform: Platform) -> None:
        super().__init__(scope, construct_id)
        self._names = EnvironmentNames(settings, prefix=f"Carmen{PREVIEW_PREFIX.capitalize()}")
        trusted = platform.reviewed(pipeline.repository, pipeline), platform.branches([(pipeline.repository, pipeline.branch)])
        self.role = iam.Role(
            self,
            "Role",
            description="Creates and removes previews",
            assumed_by=iam.CompositePrincipal(*trusted),
            max_session_duration=MAX_SESSION,
        )
        self._allow_removal()
        _allow(self.role, "AssumeCdkRoles", ["sts:AssumeRole"], self._names.bootstrap_roles("deploy", "file-publishing", "lookup"))

    def _allow_removal(self) -> None:
        """For what tools/cli/commands/preview.py does itself; CloudFormation's role deletes the stacks' resources."""
        names, bucket = self._names, f"arn:{Aws.PARTITION}:s3:::{self._names.prefix.lower()}*"
        _allow(
            self.role,
            "DescribeAllStacks",
            ["cloudformation:DescribeStacks"],
            ["*"],
            wildcard_reason="Lists all stacks to find those with the preview tag.",
        )
        actions = ["cloudformation:DeleteStack", "cloudformation:DescribeStackEvents", "cloudformation:ListStackResources"]
        _allow(self.role, "DeletePreviewStacks", actions, names.stacks())
        _allow(self.role, "ListObjectVersions", ["s3:ListBucketVersions"], [bucket])
        _allow(self.role, "DeleteObjects", ["s3:DeleteObject", "s3:DeleteObjectVersion"], [f"{bucket}/*"])
        named = names.prefix.removesuffix("-")  # the CDK omits the hyphen in the proxy's name
        groups = [f"/aws/rds/instance/{named.lower()}*", f"/aws/rds/proxy/{named}*", f"/aws/ecs/containerinsights/{named}*"]
        _allow(self.role, "DeleteLogGroups", ["logs:DeleteLogGroup"], [names.arn("logs", f"log-group:{group}:*") for group in groups])
        _allow(self.role, "DeleteImageParameters", ["ssm:DeleteParameter"], [names.arn("ssm", f"parameter/carmen/{PREVIEW_PREFIX}*")])


def _expect_trust_fits(role: iam.Role, pipelines: Sequence[Pipeline]) -> None:
    """Raise SettingsError when IAM would refuse the trust policy. It counts no white space
    (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)."""
    assert role.assume_role_policy
    policy = Stack.of(role).resolve(role.assume_role_policy.to_json())
    longest = max((issuer(one) for one in pipelines), key=len)
    for statement in policy["Statement"]:
        statement["Principal"] = {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{longest}"}
    if (length := len(json.dumps(policy, separators=(",", ":")))) > TRUST_CHARACTERS:
        repositories = len({one.repository for one in pipelines})
        raise SettingsError(
            f"environments/: [pipeline] repository: {len(pipelines)} environments of {repositories} repositories: the trust policy of the "
            f"role {role.node.id} would have {length:,} characters, and IAM allows {TRUST_CHARACTERS:,}. Use one repository for several "
            "environments, or shorter names of repositories and branches."
        )


def _image_parameter(names: EnvironmentNames) -> str:
    return names.arn("ssm", f"parameter/carmen/{names.settings.name}/image")


def _bootstrap_version(names: EnvironmentNames) -> str:
    return names.arn("ssm", f"parameter/cdk-bootstrap/{DefaultStackSynthesizer.DEFAULT_QUALIFIER}/version")


def _images(names: EnvironmentNames) -> str:
    return names.arn("ecr", f"repository/{names.prefix.lower()}storage-images*")


def _allow_task_definitions(role: iam.Role) -> None:
    """Of any family; which roles the principal may pass, and which families run, decides what may run."""
    actions = ["ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
    _allow(role, "ManageTaskDefinitions", actions, ["*"], wildcard_reason=f"{NO_TYPE}.")
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            "Parliament::RESOURCE_STAR[ecs:RegisterTaskDefinition]": f"{NO_TYPE}.",
            "Cloudsplaining::InfrastructureModification[ecs:RegisterTaskDefinition]": (
                f"{NO_TYPE}. The role can pass only the roles of the environment's tasks."
            ),
        },
    )


def _allow_notify(role: iam.Role, names: Sequence[EnvironmentNames]) -> None:
    """For `./carmen notify`: find the alert topic by its stack, publish to it, and use its key. One statement each for all environments,
    because a role's policies have at most 10,240 characters (IAM User Guide, "IAM and AWS STS quotas")."""
    _allow(role, "DescribeStacks", READ_STACKS, [stack for one in names for stack in one.stacks()])
    _allow(role, "PublishAlerts", ["sns:Publish"], [one.arn("sns", f"{one.prefix}Alerts-AlertsTopic*") for one in names])
    _allow(
        role,
        "EncryptAlerts",
        ["kms:Decrypt", "kms:GenerateDataKey"],
        list(dict.fromkeys(one.arn("kms", "key/*") for one in names)),
        {
            "StringEquals": {
                "aws:ResourceTag/environment": one_or_more([one.settings.name for one in names]),
                "kms:ViaService": one_or_more([f"sns.{one.settings.region}.amazonaws.com" for one in names]),
            }
        },
        wildcard_reason="The key's id is unknown before deployment; conditions on its tag and on SNS limit the access.",
    )


def _allow(
    role: iam.Role,
    sid: str,
    actions: Iterable[str],
    resources: list[str],
    conditions: dict[str, Any] | None = None,
    *,
    wildcard_reason: str = NAME_UNKNOWN,
) -> None:
    """Add a statement; `wildcard_reason` is the cdk-nag reason for resources with a wildcard."""
    role.add_to_policy(iam.PolicyStatement(sid=sid, actions=list(actions), resources=resources, conditions=conditions))
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            f"AwsSolutions-IAM5[Resource::{resource_in_finding(role, resource)}]": wildcard_reason
            for resource in resources
            if "*" in resource
        },
    )
