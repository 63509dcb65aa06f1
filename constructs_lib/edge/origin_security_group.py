"""The security group of CloudFront's VPC origins, which AWS creates."""

from __future__ import annotations

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.compute.python_function import python_package
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.function_role import function_role

PACKAGE = "origin_security_group"
WAIT_SECONDS = 240
TIMEOUT = Duration.seconds(WAIT_SECONDS + 60)


class OriginSecurityGroup(Construct):
    """`group_id` of the group, found at deployment once `distribution`, which uses `vpc_origin`, is deployed.

    A call of the SDK does not suffice: an empty answer is a success, so a retry does not call again, and the id's reader fails
    ("Vendor response doesn't contain SecurityGroups.0.GroupId"). CloudFormation returns no id of the group (CDK README of
    aws-cloudfront-origins, "The VPC origin service security group", which also documents the dependency on the distribution).
    The function has no dead-letter queue and no alarm: CloudFormation reports its failures.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        vpc_origin: cloudfront.VpcOrigin,
        distribution: cloudfront.Distribution,
        libraries: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        function = self._define_function(libraries)
        found = CustomResource(
            self,
            "Found",
            resource_type="Custom::OriginSecurityGroup",
            service_token=function.function_arn,
            service_timeout=Duration.seconds(WAIT_SECONDS + 120),
            # A changed property, such as another origin, asks again.
            properties={"VpcId": vpc.vpc_id, "VpcOriginId": vpc_origin.vpc_origin_id},
        )
        found.node.add_dependency(distribution)
        self.group_id = found.get_att_string("GroupId")

    def _define_function(self, libraries: lambda_.ILayerVersion) -> lambda_.Function:
        description = "Finds the security group of CloudFront's VPC origins at deployment"
        log_group = logs.LogGroup(self, "LogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
        role = function_role(self, "Role", log_group=log_group, description=description)
        role.add_to_policy(iam.PolicyStatement(actions=["ec2:DescribeSecurityGroups"], resources=["*"]))
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                "AwsSolutions-IAM5[Resource::*]": (
                    "ec2:DescribeSecurityGroups supports no resource-level permissions (AWS Service Authorization Reference, EC2)."
                )
            },
        )
        return lambda_.Function(
            self,
            "Function",
            **python_package(PACKAGE),
            description=description,
            layers=[libraries],
            memory_size=256,
            timeout=TIMEOUT,
            environment={"POWERTOOLS_SERVICE_NAME": PACKAGE.replace("_", "-"), "WAIT_SECONDS": str(WAIT_SECONDS)},
            log_group=log_group,
            role=role,
        )
