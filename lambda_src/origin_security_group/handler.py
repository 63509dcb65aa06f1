"""Find the security group of CloudFront's VPC origins, at deployment (a custom resource of the edge's stack).

AWS creates the group, CloudFormation does not return its id, and "the security group may be available after the distribution is
deployed" (CDK README of aws-cloudfront-origins, "The VPC origin service security group"). So the function waits for it, and fails the
deployment if it does not appear: CloudFormation then calls again at the next attempt.
"""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws, cloudformation
from common.scrubbed_logs import scrubbed_logger

NAME = "CloudFront-VPCOrigins-Service-SG"  # of the only such group in a VPC
POLL_SECONDS = 10

logger = scrubbed_logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Answer CloudFormation's request with the attribute GroupId, or with the reason why there is no group."""
    cloudformation.respond(event, NAME, lambda: {"GroupId": find(event["ResourceProperties"]["VpcId"])})


def find(vpc: str) -> str:
    """The group's id. Raises LookupError if it does not exist within WAIT_SECONDS (environment variable)."""
    wait = int(os.environ["WAIT_SECONDS"])
    filters = [{"Name": "group-name", "Values": [NAME]}, {"Name": "vpc-id", "Values": [vpc]}]
    deadline = time.monotonic() + wait
    while not (groups := aws.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]):
        if time.monotonic() >= deadline:
            raise LookupError(
                f"{vpc} has no security group {NAME}, {wait} s after the distribution was deployed. CloudFront creates it with the VPC "
                "origin. Check that the VPC origin's status is Deployed (`aws cloudfront list-vpc-origins`), then deploy again: the "
                "deployment then looks for the group again"
            )
        logger.info("security group does not exist yet", vpc=vpc)
        time.sleep(POLL_SECONDS)
    return str(groups[0]["GroupId"])
