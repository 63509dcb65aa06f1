"""Which AWS service may act under a role, and for whom."""

from __future__ import annotations

from aws_cdk import Aws
from aws_cdk import aws_iam as iam

# What a service acts for when it assumes a role, where AWS documents that it says so.
SOURCES = {
    "ecs-tasks.amazonaws.com": ("ecs", "*"),  # ECS Developer Guide, "Amazon ECS task IAM role"
    "events.amazonaws.com": ("events", "rule/*"),  # EventBridge User Guide, "Cross-service confused deputy prevention"
    "scheduler.amazonaws.com": ("scheduler", "schedule-group/default"),  # Scheduler User Guide, "Confused deputy prevention"
    "vpc-flow-logs.amazonaws.com": ("ec2", "vpc-flow-log/*"),  # VPC User Guide, "IAM role for publishing flow logs to CloudWatch Logs"
}


def same_account_principal(service: str) -> iam.ServicePrincipal:
    """`service`, as long as it acts for this account: no other customer can have it use the role (the confused deputy).

    Lambda, RDS Proxy and the execution role of ECS tasks have no such condition: AWS documents none for them, and one that
    the service does not fill would lock it out.
    """
    source, resource = SOURCES[service]
    return iam.ServicePrincipal(
        service,
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:{source}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"},
        },
    )
