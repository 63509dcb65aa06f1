"""ARNs of resources in this account and region."""

from __future__ import annotations

from aws_cdk import Aws

PARTITION, REGION, ACCOUNT = Aws.PARTITION, Aws.REGION, Aws.ACCOUNT_ID  # read once: each access is a call to the CDK's Node process


def account_arn(service: str, resource: str) -> str:
    """The ARN of `resource` (`table/one`, `log-group:one:*`) in this account and region."""
    return f"arn:{PARTITION}:{service}:{REGION}:{ACCOUNT}:{resource}"
