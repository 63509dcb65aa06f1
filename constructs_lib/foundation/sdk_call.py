"""One AWS API call at deployment, where CloudFormation has no resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct

from constructs_lib.foundation.function_role import function_role

TIMEOUT, SERVICE_TIMEOUT = Duration.minutes(2), Duration.minutes(5)


class SdkCall(cr.AwsCustomResource):
    """The CDK's AwsCustomResource with our defaults: runs on creation and, unless `once`, when its parameters change.

    It uses the SDK of the Lambda runtime, as a newer one would be downloaded at deployment. All calls of a stack share one function
    with its own log group and a role that holds only the given `permissions`. Deletion calls nothing.
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
        log_group, role = _log_group_and_role(Stack.of(scope))
        call = cr.AwsSdkCall(
            service=service,
            action=action,
            parameters=parameters,
            physical_resource_id=cr.PhysicalResourceId.of(physical_id),
            ignore_error_codes_matching=ignore_errors,
            # The response must stay under 4 KB: without paths, return only the request id.
            output_paths=list(output_paths) or ["$metadata.requestId"],
        )
        super().__init__(
            scope,
            construct_id,
            on_create=call,
            on_update=None if once else call,
            policy=cr.AwsCustomResourcePolicy.from_statements(list(permissions)),
            install_latest_aws_sdk=False,
            log_group=log_group,
            role=role,
            timeout=TIMEOUT,
            memory_size=256,
            service_timeout=SERVICE_TIMEOUT,
        )


def _log_group_and_role(stack: Stack) -> tuple[logs.ILogGroup | None, iam.IRole | None]:
    """For the stack's first call, which defines the shared function; later calls use it as it is."""
    if stack.node.try_find_child("SdkCallRole"):
        return None, None
    log_group = logs.LogGroup(stack, "SdkCallLogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
    return log_group, function_role(stack, "SdkCallRole", log_group=log_group, description="Calls AWS APIs at deployment")
