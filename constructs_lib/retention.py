"""Log retention: days in the settings become the CDK's enumeration, and groups that AWS names itself are bounded too."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.acknowledgements import acknowledge

_NAMES = {
    1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH", 60: "TWO_MONTHS",
    90: "THREE_MONTHS", 120: "FOUR_MONTHS", 150: "FIVE_MONTHS", 180: "SIX_MONTHS", 365: "ONE_YEAR", 400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1096: "THREE_YEARS", 1827: "FIVE_YEARS", 3653: "TEN_YEARS",
}  # fmt: skip


def retention_days(days: int) -> logs.RetentionDays:
    """The enumeration's member for `days`; the settings admit only days that CloudWatch offers."""
    return logs.RetentionDays[_NAMES[days]]


def bound_log_group(scope: Construct, construct_id: str, *, name: str, days: int) -> None:
    """Gives the log group `name`, which an AWS service makes for itself, a retention of `days`."""
    logs.LogRetention(scope, construct_id, log_group_name=name, retention=retention_days(days))
    function = Stack.of(scope).node.find_child("LogRetentionaae0aa3c5b4d4f87b02d85b201efdd8a")
    role = function.node.find_child("ServiceRole")
    acknowledge(
        role,
        {
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]": (
                "The CDK's own log-retention function; the managed policy lets it write its log and no more."
            ),
            "AwsSolutions-IAM5[Resource::*]": (
                "The CDK's own log-retention function: it may set a retention on any log group, and neither read nor delete one."
            ),
        },
    )
