"""The role of a Lambda function: its own log group, and in a VPC its network interfaces. Everything else is granted by name."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.acknowledgements import acknowledge

# Source: AWS "Giving Lambda functions access to resources in an Amazon VPC", required permissions and security best practice.
NETWORK_INTERFACE_ACTIONS = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)
SOURCE_FUNCTION = "lambda:SourceFunctionArn"


def function_role(scope: Construct, construct_id: str, *, log_group: logs.ILogGroup, description: str, in_vpc: bool = False) -> iam.Role:
    """What AWS's managed policies for functions give on every log group of the account, on one.

    `in_vpc` adds what Lambda itself needs to attach the function to its subnets, which the function's own code is denied.
    """
    role = iam.Role(scope, construct_id, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"), description=description)
    log_group.grant_write(role)
    if in_vpc:
        _allow_network_interfaces(role)
    return role


def _allow_network_interfaces(role: iam.Role) -> None:
    own_functions = f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:{Aws.STACK_NAME}-*"
    role.add_to_policy(iam.PolicyStatement(sid="AttachToVpc", actions=list(NETWORK_INTERFACE_ACTIONS), resources=["*"]))
    role.add_to_policy(
        iam.PolicyStatement(
            sid="NotByItsOwnCode",
            effect=iam.Effect.DENY,
            actions=list(NETWORK_INTERFACE_ACTIONS),
            resources=["*"],
            conditions={"ArnLike": {SOURCE_FUNCTION: own_functions}},
        )
    )
    changing = [action for action in NETWORK_INTERFACE_ACTIONS if "Describe" not in action]
    reason = (
        "Lambda makes a VPC function's network interfaces under its role before they have names, and requires the actions on all "
        "resources (AWS Lambda Developer Guide, Giving Lambda functions access to resources in an Amazon VPC); the function's own "
        "code is denied them."
    )
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            "AwsSolutions-IAM5[Resource::*]": reason,
            f"Parliament::RESOURCE_STAR[{', '.join(changing)}]": reason,
            **{f"Cloudsplaining::InfrastructureModification[{action}]": reason for action in changing},
            **{
                f"Parliament::UNKNOWN_CONDITION_FOR_ACTION[Unknown condition {SOURCE_FUNCTION} for action {action}]": (
                    f"Lambda sets {SOURCE_FUNCTION} on every call of a function's code (AWS Lambda Developer Guide, Using source function "
                    "ARN); parliament knows only the keys of the service called."
                )
                for action in NETWORK_INTERFACE_ACTIONS
            },
        },
    )
