"""Retention of log groups: the CDK's enumeration for a number of days, and groups that AWS services create."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.foundation.arns import account_arn
from constructs_lib.foundation.sdk_call import SdkCall

_NAMES = {
    1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH", 60: "TWO_MONTHS",
    90: "THREE_MONTHS", 120: "FOUR_MONTHS", 150: "FIVE_MONTHS", 180: "SIX_MONTHS", 365: "ONE_YEAR", 400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1096: "THREE_YEARS", 1827: "FIVE_YEARS", 3653: "TEN_YEARS",
}  # fmt: skip


def retention_days(days: int) -> logs.RetentionDays:
    """Convert `days`; the settings allow only values that CloudWatch offers."""
    return logs.RetentionDays[_NAMES[days]]


def set_log_retention(scope: Construct, construct_id: str, *, name: str, days: int) -> None:
    """Set a retention of `days` on the log group `name`, which an AWS service creates; create it if it does not exist yet.

    The CDK's LogRetention is a function that may change every log group of the account, and its own log never expires.
    """
    # `:*` stands for the group's streams; IAM needs it (CloudWatch Logs User Guide, "Resources and operations").
    arn = account_arn("logs", f"log-group:{name}:*")
    create = SdkCall(
        scope,
        f"{construct_id}Group",
        service="CloudWatchLogs",
        action="CreateLogGroup",
        parameters={"logGroupName": name},
        physical_id=name,
        ignore_errors="ResourceAlreadyExistsException",
        permissions=[iam.PolicyStatement(actions=["logs:CreateLogGroup"], resources=[arn])],
    )
    retention = SdkCall(
        scope,
        construct_id,
        service="CloudWatchLogs",
        action="PutRetentionPolicy",
        parameters={"logGroupName": name, "retentionInDays": days},
        physical_id=name,
        permissions=[iam.PolicyStatement(actions=["logs:PutRetentionPolicy"], resources=[arn])],
    )
    retention.node.add_dependency(create)
    for call in (create, retention):
        acknowledge(
            call.node.find_child("CustomResourcePolicy"),
            {f"AwsSolutions-IAM5[Resource::{resource_in_finding(call, arn)}]": "One log group: `:*` in its ARN stands for its streams."},
        )
