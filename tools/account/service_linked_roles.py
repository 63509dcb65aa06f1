"""The service-linked roles that the stacks need in an account.

A service creates its role at its first use and then assumes it, too early in a fresh account: "Unable to assume the service linked
role. Please verify that the ECS service linked role exists" (aws-cloudformation/cloudformation-coverage-roadmap#818,
aws/containers-roadmap#2614). A template that creates the role fails where it exists (aws-samples/aws-container-devsecops-workshop#4).

Sources of the names: "Using service-linked roles" in the guide of each service. Source of the list: tests/cli/test_service_linked_roles.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

# Service principal → role.
ROLES = {
    "ecs.amazonaws.com": "AWSServiceRoleForECS",
    "ecs.application-autoscaling.amazonaws.com": "AWSServiceRoleForApplicationAutoScaling_ECSService",
    "elasticloadbalancing.amazonaws.com": "AWSServiceRoleForElasticLoadBalancing",
    "rds.amazonaws.com": "AWSServiceRoleForRDS",
    "elasticache.amazonaws.com": "AWSServiceRoleForElastiCache",
    "vpcorigin.cloudfront.amazonaws.com": "AWSServiceRoleForCloudFrontVPCOrigin",
    "wafv2.amazonaws.com": "AWSServiceRoleForWAFV2Logging",
    "backup.amazonaws.com": "AWSServiceRoleForBackup",
}


def create(iam: Any) -> Iterator[tuple[str, bool]]:
    """Create the roles that are missing; yield each name and whether it is new. Raises ClientError for other refusals.

    IAM's answer for an existing role is InvalidInput: "Service role name AWSServiceRoleForECS has been taken in this account, please
    try a different suffix" (Rayraegah/terraform-aws-hasura#17).
    """
    for principal, name in ROLES.items():
        try:
            iam.create_service_linked_role(AWSServiceName=principal)
        except ClientError as error:
            details = error.response["Error"]
            if details["Code"] != "InvalidInput" or "has been taken in this account" not in details["Message"]:
                raise
            yield name, False
        else:
            yield name, True
