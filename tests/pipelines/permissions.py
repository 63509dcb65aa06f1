"""The permissions of the pipelines' roles; `tests/models/iam/permissions.py` has those of the environments. Add a new permission here first."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import Context


@dataclass(frozen=True)
class May:
    """Actions on resources, both separated by spaces; `context` is the required context of the request."""

    actions: str
    resources: str = "*"
    context: Context = field(default_factory=dict)


HERE = f"us-east-1:{ACCOUNT}"
SEE = "cloudformation:DescribeStacks cloudformation:ListStackResources"


def stacks(environment: str) -> str:
    return f"arn:aws:cloudformation:{HERE}:stack/Carmen{environment}*/*"


def bootstrap(*kinds: str) -> May:
    return May("sts:AssumeRole", " ".join(f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-{kind}-role-{ACCOUNT}-us-east-1" for kind in kinds))


def notify(environment: str) -> tuple[May, ...]:
    return (
        May(SEE, stacks(environment)),
        May("sns:Publish", f"arn:aws:sns:{HERE}:Carmen{environment}Alerts-AlertsTopic*"),
        May(
            "kms:Decrypt kms:GenerateDataKey",
            f"arn:aws:kms:{HERE}:key/*",
            {"kms:ViaService": "sns.us-east-1.amazonaws.com", "aws:ResourceTag/environment": environment.lower()},
        ),
    )


def images(environment: str) -> str:
    return f"arn:aws:ecr:{HERE}:repository/carmen{environment.lower()}storage-images*"


def release(environment: str) -> tuple[May, ...]:
    service = f"Carmen{environment}Service"
    run, tasks = ("Migration", "ReleaseFiles"), f"{service}-Cluster*/*"
    update_role = f"arn:aws:iam::{ACCOUNT}:role/Carmen{environment}Release"
    in_cluster = {"ecs:cluster": f"arn:aws:ecs:{HERE}:cluster/{service}-Cluster1"}
    return (
        May(
            "ssm:GetParameter ssm:GetParameterHistory ssm:GetParameters ssm:PutParameter",
            f"arn:aws:ssm:{HERE}:parameter/carmen/{environment.lower()}/image",
        ),
        May(
            "ssm:DeleteParameter ssm:GetParameterHistory ssm:PutParameter",
            f"arn:aws:ssm:{HERE}:parameter/carmen/{environment.lower()}/image-release-lock",
        ),
        May("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/cdk-bootstrap/hnb659fds/version"),
        May("ecr:BatchGetImage ecr:DescribeImageScanFindings ecr:DescribeImages", images(environment)),
        May("inspector2:ListCoverage inspector2:ListFindings"),  # ECR's, for enhanced scanning
        May("cloudformation:DescribeStackEvents", f"arn:aws:cloudformation:{HERE}:stack/{service}/*"),
        May(
            "cloudformation:UpdateStack",
            f"arn:aws:cloudformation:{HERE}:stack/{service}/*",
            {"cloudformation:RoleArn": update_role, "cloudformation:TemplateUrl": None},
        ),
        May("iam:PassRole", update_role, {"iam:PassedToService": "cloudformation.amazonaws.com"}),
        May("ecs:DeregisterTaskDefinition ecs:DescribeTaskDefinition ecs:RegisterTaskDefinition"),
        *(May("ecs:RunTask", f"arn:aws:ecs:{HERE}:task-definition/{service}{one}Task*:*", in_cluster) for one in run),
        May("ecs:DescribeTasks ecs:StopTask", f"arn:aws:ecs:{HERE}:task/{tasks}", in_cluster),
        May("ecs:ListTasks", "*", in_cluster),
        May("ecs:DescribeServices", f"arn:aws:ecs:{HERE}:service/{service}-Cluster*/{service}-Web*", in_cluster),
        *(
            May(
                "iam:PassRole",
                f"arn:aws:iam::{ACCOUNT}:role/carmen/{service}-{one}Task*",
                {"iam:PassedToService": "ecs-tasks.amazonaws.com"},
            )
            for one in run
        ),
        *notify(environment),
    )


def update(environment: str) -> tuple[May, ...]:
    """CloudFormation's role for a release."""
    service = f"Carmen{environment}Service"
    services = f"arn:aws:ecs:{HERE}:service/{service}-Cluster*/{service}-Web*"
    deployments = f"arn:aws:ecs:{HERE}:service-deployment/{service}-Cluster*/{service}-Web*/*"
    roles = " ".join(f"arn:aws:iam::{ACCOUNT}:role/carmen/{service}-{one}Task*" for one in ("Web", "Migration", "ReleaseFiles"))
    return (
        May("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/carmen/{environment.lower()}/image"),
        May("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/cdk-bootstrap/hnb659fds/version"),
        May("cloudformation:DescribeStacks", stacks(environment)),
        May("ecs:DeregisterTaskDefinition ecs:DescribeTaskDefinition ecs:RegisterTaskDefinition"),
        May("ecs:DescribeServices ecs:ListServiceDeployments ecs:UpdateService", services),
        May("ecs:DescribeServiceDeployments ecs:StopServiceDeployment", f"{services} {deployments}"),
        May("ecs:ListTagsForResource ecs:TagResource", f"{services} arn:aws:ecs:{HERE}:task-definition/{service}*:*"),
        May("iam:GetRole", roles),
        May("iam:PassRole", roles, {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
    )


OF_PRODUCTION = {  # with a backup before each release, and signed images only
    **dict.fromkeys(("Deploy", "Update"), ()),
    "Push": (May("signer:SignPayload", f"arn:aws:signer:{HERE}:/signing-profiles/carmen"),),
    "Release": (
        May("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:CarmenProdOperations-BackupFunction*"),
        May("ecr:DescribeImageSigningStatus", images("Prod")),
    ),
}
PUSH = "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart"
ROLES = {
    "ReadDiff": (
        May(f"{SEE} cloudformation:DescribeStackResourceDrifts cloudformation:GetTemplate", f"{stacks('Prod')} {stacks('Staging')}"),
    ),
    "ReadDrift": (bootstrap("lookup"), *notify("Prod"), *notify("Staging")),
    **{
        f"{environment}{kind}": (*rows, *(OF_PRODUCTION[kind] if environment == "Prod" else ()))
        for environment in ("Prod", "Staging")
        for kind, rows in {
            "Deploy": (bootstrap("deploy", "file-publishing", "lookup"), *notify(environment)),
            "Push": (May("ecr:GetAuthorizationToken"), May(PUSH, images(environment))),
            "Release": release(environment),
            "Update": update(environment),
        }.items()
    },
}

OF_PREVIEWS = f"arn:aws:cloudformation:{HERE}:stack/CarmenPreview-*/*"
PREVIEW = (
    bootstrap("deploy", "file-publishing", "lookup"),
    May("cloudformation:DescribeStacks"),
    May("cloudformation:DeleteStack cloudformation:DescribeStackEvents cloudformation:ListStackResources", OF_PREVIEWS),
    May("s3:ListBucketVersions", "arn:aws:s3:::carmenpreview-*"),
    May("s3:DeleteObject s3:DeleteObjectVersion", "arn:aws:s3:::carmenpreview-*/*"),
    May(
        "logs:DeleteLogGroup",
        " ".join(
            f"arn:aws:logs:{HERE}:log-group:/aws/{name}*:*"
            for name in ("rds/instance/carmenpreview", "rds/proxy/CarmenPreview", "ecs/containerinsights/CarmenPreview")
        ),
    ),
    May("ssm:DeleteParameter", f"arn:aws:ssm:{HERE}:parameter/carmen/preview-*"),
)

# Forbidden to every pipeline role. The CDK's execution role does it, within its boundary (test_boundary.py).
NEVER = {
    f"arn:aws:iam::{ACCOUNT}:role/CarmenPipelineAccess-ProdDeploy1": (
        "iam:AttachRolePolicy iam:DeleteRole iam:PutRolePolicy iam:UpdateAssumeRolePolicy iam:PassRole sts:AssumeRole"
    ),
    f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1": "iam:PassRole sts:AssumeRole",
    f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdService-WebTaskRole1": "iam:PassRole iam:PutRolePolicy sts:AssumeRole",
    f"arn:aws:iam::{ACCOUNT}:policy/CarmenBoundary": "iam:CreatePolicyVersion iam:DeletePolicy iam:SetDefaultPolicyVersion",
    f"arn:aws:cloudformation:{HERE}:stack/CarmenPipelineAccess/1": (
        "cloudformation:DeleteStack cloudformation:UpdateStack cloudformation:UpdateTerminationProtection"
    ),
    f"arn:aws:cloudformation:{HERE}:stack/CarmenProdData/1": (
        "cloudformation:CreateChangeSet cloudformation:DeleteStack cloudformation:UpdateStack cloudformation:UpdateTerminationProtection"
    ),
    "arn:aws:s3:::carmenprodstorage-uploads1/one": "s3:GetObject s3:PutObject s3:DeleteObject",
    f"arn:aws:secretsmanager:{HERE}:secret:one-AbCdEf": "secretsmanager:GetSecretValue secretsmanager:PutSecretValue",
    f"arn:aws:rds:{HERE}:db:carmenproddata-database1": "rds:DeleteDBInstance rds:ModifyDBInstance",
    f"arn:aws:ecr:{HERE}:repository/carmenprodstorage-images1": "ecr:BatchDeleteImage ecr:DeleteRepository ecr:SetRepositoryPolicy",
    f"arn:aws:ecr:{HERE}:repository/another-application": "ecr:PutImage ecr:InitiateLayerUpload",
}
