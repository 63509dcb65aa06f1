"""The permissions boundary of the CDK's execution role and of every role it creates: only what Carmen needs."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding

NAME = "CarmenBoundary"
# Services of the templates' resources and roles. tests/models/iam/test_boundary.py checks that all are needed and none is missing.
SERVICES = [
    "acm", "application-autoscaling", "budgets", "ce", "cloudfront", "cloudwatch", "dynamodb", "ec2", "ecr", "ecs", "elasticache",
    "elasticloadbalancing", "events", "kms", "lambda", "logs", "rds", "rds-db", "route53", "s3", "scheduler", "secretsmanager", "sns",
    "sqs", "ssmmessages", "wafv2",
]  # fmt: skip
PARAMETERS = ["ssm:DeleteParameter", "ssm:GetParameter", "ssm:GetParameters", "ssm:PutParameter"]
ROLES = [
    *(f"iam:{verb}RolePolicy" for verb in ("Attach", "Delete", "Detach", "Get", "Put")),
    *("iam:CreateRole", "iam:DeleteRole", "iam:GetRole", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:PassRole"),
    *("iam:PutRolePermissionsBoundary", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole"),
]
# IAM User Guide, "Permissions boundaries": these actions support iam:PermissionsBoundary.
BOUNDED = ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"]
IDENTITY_RESOURCES = [
    "AccessKey", "AccountAlias", "AccountPasswordPolicy", "Group", "InstanceProfile", "LoginProfile", "MFADevice",
    "OpenIDConnectProvider", "SAMLProvider", "SSHPublicKey", "ServerCertificate", "ServiceSpecificCredential", "SigningCertificate",
    "User",
]  # fmt: skip
SECURITY_SERVICES = [
    "access-analyzer",
    "account",
    "cloudtrail",
    "config",
    "guardduty",
    "identitystore",
    "organizations",
    "securityhub",
    "sso",
]
RUN_OR_CHANGE_FUNCTION = ["AddPermission", "CreateFunction", "InvokeFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration"]


class PermissionsBoundary(Construct):
    """The managed policy `CarmenBoundary`, for `cdk bootstrap --custom-permissions-boundary` and the setting `permissions_boundary`.

    It has a physical name because the bootstrap command, the setting and its own statements refer to it. Its denials override any
    policy. Sources: IAM User Guide, "Permissions boundaries for IAM entities" (delegation), and Rhino Security Labs' list of
    privilege escalations; tests/models/iam/test_boundary.py tries each.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:policy/{NAME}"
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=NAME,
            description="Permissions boundary of the CDK's execution role and every role it creates",
            statements=[*self._allow_services(), *self._deny_unbounded_roles(), *self._deny_foreign_resources()],
        )
        acknowledge(self.policy, self._wildcard_reasons(self._allow_services()))

    def _allow_services(self) -> list[iam.PolicyStatement]:
        return [
            iam.PolicyStatement(
                sid="AllowServicesOfCarmen", actions=[*(f"{service}:*" for service in SERVICES), *PARAMETERS], resources=["*"]
            ),
            iam.PolicyStatement(sid="AllowManagingRolesOfCarmen", actions=ROLES, resources=[_iam("role/Carmen*")]),
            iam.PolicyStatement(
                sid="AllowCreatingServiceLinkedRoles", actions=["iam:CreateServiceLinkedRole"], resources=[_iam("role/aws-service-role/*")]
            ),
        ]

    def _deny_unbounded_roles(self) -> list[iam.PolicyStatement]:
        """A role without the boundary could do what its creator may not."""
        return [
            _deny("DenyRolesWithoutBoundary", BOUNDED, ["*"], {"StringNotEquals": {"iam:PermissionsBoundary": self.arn}}),
            _deny("DenyRemovingBoundary", ["iam:DeleteRolePermissionsBoundary"], ["*"]),
            _deny(
                "DenyChangingBoundaryAndDeploymentRoles",
                ["iam:*"],
                [self.arn, _iam("role/CarmenPipelineAccess*"), _iam("role/cdk-*"), _iam("oidc-provider/*")],
            ),
            _deny("DenyUserManagement", [f"iam:*{what}*" for what in IDENTITY_RESOURCES], ["*"]),
            _deny("DenyChangingManagedPolicies", ["iam:CreatePolicy*", "iam:DeletePolicy*", "iam:SetDefaultPolicyVersion"], ["*"]),
        ]

    def _deny_foreign_resources(self) -> list[iam.PolicyStatement]:
        """Deny changing or invoking the account's other resources: their roles may have more permissions."""
        functions = f"arn:{Aws.PARTITION}:lambda:*:{Aws.ACCOUNT_ID}:function:Carmen*"
        buckets = f"arn:{Aws.PARTITION}:s3:::carmen*"
        bootstrap = f"arn:{Aws.PARTITION}:ssm:*:{Aws.ACCOUNT_ID}:parameter/cdk-bootstrap/*"
        return [
            _deny("DenySecurityServicesAndAssumeRole", [*(f"{service}:*" for service in SECURITY_SERVICES), "sts:AssumeRole"], ["*"]),
            _deny("DenyInstanceProfilesAndEcsExec", ["ec2:*InstanceProfile*", "ecs:ExecuteCommand"], ["*"]),
            # Instances without a profile only forward packets (nat_instances); with a profile they would have its role's permissions.
            _deny("DenyInstancesWithProfile", ["ec2:RunInstances"], ["*"], {"Null": {"ec2:InstanceProfile": "false"}}),
            _deny("DenyFunctionsOfOthers", [f"lambda:{verb}" for verb in RUN_OR_CHANGE_FUNCTION], except_resources=[functions]),
            _deny("DenyBucketsOfOthers", ["s3:CreateBucket", "s3:Delete*", "s3:Put*"], except_resources=[buckets]),
            _deny("DenyChangingBootstrapVersion", ["ssm:DeleteParameter", "ssm:PutParameter"], [bootstrap]),
        ]

    def _wildcard_reasons(self, statements: list[iam.PolicyStatement]) -> dict[str, str]:
        reason = "A permissions boundary grants nothing: it limits the policies of the roles that have it."
        actions = {action for one in statements for action in one.actions if "*" in action}
        resources = {resource for one in statements for resource in one.resources if "*" in resource}
        return {
            **{f"AwsSolutions-IAM5[Action::{action}]": reason for action in sorted(actions)},
            **{f"AwsSolutions-IAM5[Resource::{resource_in_finding(self, resource)}]": reason for resource in sorted(resources)},
        }


def _iam(resource: str) -> str:
    return f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:{resource}"


def _deny(
    sid: str,
    actions: list[str],
    resources: list[str] | None = None,
    conditions: dict[str, dict[str, str]] | None = None,
    *,
    except_resources: list[str] | None = None,
) -> iam.PolicyStatement:
    """Deny `actions` on `resources`, or on all but `except_resources`."""
    deny = iam.Effect.DENY
    return iam.PolicyStatement(
        sid=sid, effect=deny, actions=actions, resources=resources, not_resources=except_resources, conditions=conditions
    )
