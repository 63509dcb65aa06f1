"""Execution role of a Lambda function: write its log group and, in a VPC, manage network interfaces. Constructs grant the rest."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.foundation.arns import account_arn

# Source: AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an Amazon VPC"; Service Authorization Reference,
# EC2, for the resource types of each action.
DESCRIBE_NETWORK = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
CREATE_INTERFACES = ("ec2:CreateNetworkInterface",)
MODIFY_INTERFACES = ("ec2:AssignPrivateIpAddresses", "ec2:DeleteNetworkInterface", "ec2:UnassignPrivateIpAddresses")
SOURCE_FUNCTION = "lambda:SourceFunctionArn"


def function_role(scope: Construct, construct_id: str, *, log_group: logs.ILogGroup, description: str, in_vpc: bool = False) -> iam.Role:
    """Create an execution role with AWS's managed policy for functions, limited to one log group.

    `in_vpc` adds what Lambda needs to attach the function to its subnets, and denies it to the function's code.
    """
    role = iam.Role(scope, construct_id, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"), description=description)
    log_group.grant_write(role)
    if in_vpc:
        _allow_network_interfaces(role)
    return role


def _allow_network_interfaces(role: iam.Role) -> None:
    interfaces, subnets, security_groups = (account_arn("ec2", f"{kind}/*") for kind in ("network-interface", "subnet", "security-group"))
    for sid, actions, resources in (
        ("DescribeNetworkInterfacesAndSubnets", DESCRIBE_NETWORK, ["*"]),
        ("CreateNetworkInterfaces", CREATE_INTERFACES, [interfaces, subnets, security_groups]),
        ("ManageNetworkInterfaces", MODIFY_INTERFACES, [interfaces]),
    ):
        role.add_to_policy(iam.PolicyStatement(sid=sid, actions=list(actions), resources=resources))
    own_functions = account_arn("lambda", f"function:{Aws.STACK_NAME}-*")
    denied = (*DESCRIBE_NETWORK, *CREATE_INTERFACES, *MODIFY_INTERFACES)
    role.add_to_policy(
        iam.PolicyStatement(
            sid="DenyNetworkInterfacesToFunctionCode",
            effect=iam.Effect.DENY,
            actions=list(denied),
            resources=["*"],
            conditions={"ArnLike": {SOURCE_FUNCTION: own_functions}},
        )
    )
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            "AwsSolutions-IAM5[Resource::*]": (
                "EC2's Describe actions do not support resources (AWS Service Authorization Reference, EC2). Lambda needs them to attach "
                "the function to its VPC; the function's code is denied them."
            ),
            **{
                f"AwsSolutions-IAM5[Resource::{resource_in_finding(role, resources)}]": (
                    "Lambda creates the function's network interfaces, whose ids are not known before, and requires all resources of the "
                    "account (AWS Lambda Developer Guide, Giving Lambda functions access to resources in an Amazon VPC); the function's "
                    "code is denied them."
                )
                for resources in (interfaces, subnets, security_groups)
            },
            **{
                f"Parliament::UNKNOWN_CONDITION_FOR_ACTION[Unknown condition {SOURCE_FUNCTION} for action {action}]": (
                    f"Lambda sets {SOURCE_FUNCTION} on every call by a function's code (AWS Lambda Developer Guide, Using source function "
                    "ARN); parliament knows only the condition keys of the called service."
                )
                for action in denied
            },
        },
    )
