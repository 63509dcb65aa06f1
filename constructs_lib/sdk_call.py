"""One AWS API call at deployment, for what CloudFormation has no resource for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct

from constructs_lib.acknowledgements import acknowledge


class SdkCall(cr.AwsCustomResource):
    """The CDK's AwsCustomResource with our defaults: the call runs on creation and, unless `once`, when its parameters change.

    Uses the SDK that the Lambda runtime carries (a newer one would be downloaded at deployment), an own log group, and
    exactly the permissions given. Nothing is called on deletion.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        service: str,
        action: str,
        parameters: Mapping[str, Any],
        physical_id: str,
        permissions: Sequence[iam.PolicyStatement],
        output_paths: Sequence[str] = (),
        ignore_errors: str | None = None,
        once: bool = False,
    ) -> None:
        call = cr.AwsSdkCall(
            service=service,
            action=action,
            parameters=parameters,
            physical_resource_id=cr.PhysicalResourceId.of(physical_id),
            ignore_error_codes_matching=ignore_errors,
            # The response must stay under 4 KB: without paths, only the request id comes back.
            output_paths=list(output_paths) or ["$metadata.requestId"],
        )
        super().__init__(
            scope,
            construct_id,
            on_create=call,
            on_update=None if once else call,
            policy=cr.AwsCustomResourcePolicy.from_statements(list(permissions)),
            install_latest_aws_sdk=False,
            log_group=_log_group(Stack.of(scope)),
            timeout=Duration.minutes(2),
            service_timeout=Duration.minutes(5),
        )
        acknowledge(
            Stack.of(self).node.find_child(f"AWS{cr.AwsCustomResource.PROVIDER_FUNCTION_UUID.replace('-', '')}"),
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]": (
                    "The CDK's own custom-resource function; the managed policy lets it write its log and no more."
                )
            },
        )


def _log_group(stack: Stack) -> logs.ILogGroup:
    """One log group a stack: all its calls share one function."""
    existing = stack.node.try_find_child("SdkCallLogGroup")
    if isinstance(existing, logs.LogGroup):
        return existing
    return logs.LogGroup(stack, "SdkCallLogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
