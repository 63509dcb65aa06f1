"""How far the CDK may go when it deploys, and every role that it makes: enough for Carmen, no step further."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding

NAME = "CarmenBoundary"
# What the templates are made of, and what their roles do. tests/models/iam/test_boundary.py holds that it is enough, and no more than used.
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
# IAM User Guide, "Permissions boundaries": the key is there for these.
BOUNDED = ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"]
PEOPLE = [
    "AccessKey", "AccountAlias", "AccountPasswordPolicy", "Group", "InstanceProfile", "LoginProfile", "MFADevice",
    "OpenIDConnectProvider", "SAMLProvider", "SSHPublicKey", "ServerCertificate", "ServiceSpecificCredential", "SigningCertificate",
    "User",
]  # fmt: skip
WATCHERS = ["access-analyzer", "account", "cloudtrail", "config", "guardduty", "identitystore", "organizations", "securityhub", "sso"]
MAKE_ACT = ["AddPermission", "CreateFunction", "InvokeFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration"]


class PermissionsBoundary(Construct):
    """The managed policy `CarmenBoundary`: given to `cdk bootstrap --custom-permissions-boundary` and to `permissions_boundary`.

    It has a name of its own since whoever is bounded by it is told it by name, and it tells of itself. What it denies, it denies to
    whatever policy would allow it: sources are the IAM User Guide, "Permissions boundaries for IAM entities" (delegation), and Rhino
    Security Labs' list of ways to escalate, each tried in tests/models/iam/test_boundary.py.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:policy/{NAME}"
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=NAME,
            description="Bounds the CDK's execution role and every role that it makes",
            statements=[*self._allowed(), *self._roles_stay_bounded(), *self._others_stay_others()],
        )
        acknowledge(self.policy, self._why_stars(self._allowed()))

    def _allowed(self) -> list[iam.PolicyStatement]:
        return [
            iam.PolicyStatement(sid="Services", actions=[*(f"{service}:*" for service in SERVICES), *PARAMETERS], resources=["*"]),
            iam.PolicyStatement(sid="OwnRoles", actions=ROLES, resources=[_iam("role/Carmen*")]),
            iam.PolicyStatement(
                sid="ServicesOwnRoles", actions=["iam:CreateServiceLinkedRole"], resources=[_iam("role/aws-service-role/*")]
            ),
        ]

    def _roles_stay_bounded(self) -> list[iam.PolicyStatement]:
        """A role without the boundary could do what its maker may not."""
        return [
            _deny("Unbounded", BOUNDED, ["*"], {"StringNotEquals": {"iam:PermissionsBoundary": self.arn}}),
            _deny("Unbound", ["iam:DeleteRolePermissionsBoundary"], ["*"]),
            _deny(
                "HowItIsDeployed",
                ["iam:*"],
                [self.arn, _iam("role/CarmenPipelineAccess*"), _iam("role/cdk-*"), _iam("oidc-provider/*")],
            ),
            _deny("People", [f"iam:*{what}*" for what in PEOPLE], ["*"]),
            _deny("Policies", ["iam:CreatePolicy*", "iam:DeletePolicy*", "iam:SetDefaultPolicyVersion"], ["*"]),
        ]

    def _others_stay_others(self) -> list[iam.PolicyStatement]:
        """What belongs to others in the account has roles that may more: it is neither changed nor made to act."""
        functions = f"arn:{Aws.PARTITION}:lambda:*:{Aws.ACCOUNT_ID}:function:Carmen*"
        buckets = f"arn:{Aws.PARTITION}:s3:::carmen*"
        bootstrap = f"arn:{Aws.PARTITION}:ssm:*:{Aws.ACCOUNT_ID}:parameter/cdk-bootstrap/*"
        return [
            _deny("Watchers", [*(f"{service}:*" for service in WATCHERS), "sts:AssumeRole"], ["*"]),
            _deny("Shells", ["ec2:*InstanceProfile*", "ecs:ExecuteCommand"], ["*"]),
            # A machine that may nothing passes packets on (nat_instances); one with a profile would act for whom it names.
            _deny("ActingMachines", ["ec2:RunInstances"], ["*"], {"Null": {"ec2:InstanceProfile": "false"}}),
            _deny("OthersFunctions", [f"lambda:{verb}" for verb in MAKE_ACT], but=[functions]),
            _deny("OthersBuckets", ["s3:CreateBucket", "s3:Delete*", "s3:Put*"], but=[buckets]),
            _deny("Bootstrap", ["ssm:DeleteParameter", "ssm:PutParameter"], [bootstrap]),
        ]

    def _why_stars(self, statements: list[iam.PolicyStatement]) -> dict[str, str]:
        reason = "A boundary gives nothing: it is the widest that the policies of those whom it bounds may be."
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
    but: list[str] | None = None,
) -> iam.PolicyStatement:
    """On `resources`, or on all `but` these."""
    deny = iam.Effect.DENY
    return iam.PolicyStatement(sid=sid, effect=deny, actions=actions, resources=resources, not_resources=but, conditions=conditions)
