"""Service principals of roles, restricted to this account."""

from __future__ import annotations

from aws_cdk import aws_iam as iam

from constructs_lib.foundation.arns import ACCOUNT, account_arn

# Service → service and resource of the aws:SourceArn that AWS documents for its AssumeRole calls.
SOURCES = {
    "ecs-tasks.amazonaws.com": ("ecs", "*"),  # ECS Developer Guide, "Amazon ECS task IAM role"
    "events.amazonaws.com": ("events", "rule/*"),  # EventBridge User Guide, "Cross-service confused deputy prevention"
    "scheduler.amazonaws.com": ("scheduler", "schedule-group/default"),  # Scheduler User Guide, "Confused deputy prevention"
    "vpc-flow-logs.amazonaws.com": ("ec2", "vpc-flow-log/*"),  # VPC User Guide, "IAM role for publishing flow logs to CloudWatch Logs"
}


def same_account_principal(service: str) -> iam.ServicePrincipal:
    """The principal of `service` when it acts for this account: prevents the confused deputy problem.

    Lambda, RDS Proxy and the execution role of ECS tasks have no such condition: AWS documents none, and a condition key that the
    service does not send would deny it access.
    """
    source, resource = SOURCES[service]
    return iam.ServicePrincipal(
        service,
        conditions={
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": account_arn(source, resource)},
        },
    )
