"""One AWS API call at deployment, for what CloudFormation has no resource for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct

from constructs_lib.foundation.function_role import function_role


class SdkCall(cr.AwsCustomResource):
    """The CDK's AwsCustomResource with our defaults: the call runs on creation and, unless `once`, when its parameters change.

    Uses the SDK that the Lambda runtime carries (a newer one would be downloaded at deployment). All calls of a stack share
    one function, with a log group and a role of its own that holds exactly the permissions given. Nothing is called on
    deletion.
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
        log_group, role = _shared(Stack.of(scope))
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
            log_group=log_group,
            role=role,
            timeout=Duration.minutes(2),
            memory_size=256,
            service_timeout=Duration.minutes(5),
        )


def _shared(stack: Stack) -> tuple[logs.ILogGroup, iam.IRole]:
    """The log group and the role of the function that makes a stack's calls."""
    log_group, role = (stack.node.try_find_child(name) for name in ("SdkCallLogGroup", "SdkCallRole"))
    if isinstance(log_group, logs.LogGroup) and isinstance(role, iam.Role):
        return log_group, role
    log_group = logs.LogGroup(stack, "SdkCallLogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
    return log_group, function_role(stack, "SdkCallRole", log_group=log_group, description="Makes AWS API calls at deployment")
