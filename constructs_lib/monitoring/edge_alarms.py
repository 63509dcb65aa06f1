"""Alarms of CloudFront and its firewall, which CloudWatch knows in us-east-1 only, and their way home (ADR 0015)."""

from __future__ import annotations

from functools import partial

from aws_cdk import Aws
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.alarm import FIVE_MINUTES, Alarm, Alerting, Expression, Metric
from constructs_lib.foundation.service_principals import same_account_principal
from settings import sections

STATE_CHANGE = "CloudWatch Alarm State Change"


class EdgeAlarms(Construct):
    """`failing` tells that users get errors or wait at the edge, `blocks` that the firewall refuses unusually many."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        settings: sections.Edge,
        distribution_id: str,
        firewall_metric: str,
        backend_down: Alarm | None,
    ) -> None:
        super().__init__(scope, construct_id)
        limits = alerting.settings
        metric = partial(
            Metric, "AWS/CloudFront", dimensions={"DistributionId": distribution_id, "Region": "Global"}, period_seconds=FIVE_MINUTES
        )
        self.requests = metric(name="Requests", statistic="Sum", label="requests")
        self.errors = alerting.alarm(
            self,
            "ErrorRate",
            description="CloudFront answers users with 5xx.",
            runbook="edge-errors",
            severity="page",
            metric=metric(name="5xxErrorRate", label="5xx (%)"),
            at_least=limits.edge_error_percent,
            missing="notBreaching",
            actions_enabled=False,
        )
        self.latency = None
        if settings.origin_metrics:
            self.latency = alerting.alarm(
                self,
                "OriginLatency",
                description="CloudFront waits long for Carmen: every tenth request is slow.",
                runbook="slow-responses",
                severity="page",
                metric=metric(name="OriginLatency", statistic="p90", label="origin latency p90 (ms)"),
                at_least=limits.origin_latency_seconds * 1000,
                periods=3,
                missing="notBreaching",
                actions_enabled=False,
            )
        self.failing = alerting.composite(
            self,
            "Failing",
            description="Users get errors at the edge, or wait there.",
            runbook="edge-errors",
            severity="page",
            alarms=[alarm for alarm in (self.errors, self.latency) if alarm],
            suppressor=backend_down,
            suppressor_wait_seconds=300,  # the service waits 180 for its own cause
        )
        requests = {
            name: Metric("AWS/WAFV2", f"{name.capitalize()}Requests", {"WebACL": firewall_metric, "Rule": "ALL"}, "Sum", FIVE_MINUTES, name)
            for name in ("blocked", "allowed")
        }
        self.blocks = alerting.alarm(
            self,
            "Blocks",
            description="The firewall refuses far more requests than it ever should: an attack, or a rule that hits users.",
            runbook="ddos",
            severity="ticket",
            # A ratio with a floor, not an anomaly band: it means something on the first day, and says so in words.
            metric=Expression(
                f"IF(FILL(blocked, 0) >= {limits.firewall_blocked_requests}, 100 * blocked / (blocked + FILL(allowed, 0)), 0)",
                requests,
                label="blocked (%)",
            ),
            at_least=limits.firewall_blocked_percent,
            periods=2,
            missing="notBreaching",
        )

    @property
    def notifying(self) -> list[Alarm]:
        """Those that tell somebody."""
        return [self.failing, self.blocks]


class CrossRegionForwarder(Construct):
    """Passes state changes of alarms of this region on to the event bus of another, where `CrossRegionReceiver` waits."""

    def __init__(self, scope: Construct, construct_id: str, *, alarms: list[Alarm], region: str) -> None:
        super().__init__(scope, construct_id)
        bus = f"arn:{Aws.PARTITION}:events:{region}:{Aws.ACCOUNT_ID}:event-bus/default"
        role = iam.Role(
            self,
            "Role",
            assumed_by=same_account_principal("events.amazonaws.com"),
            description=f"Passes the edge's alarms on to {region}",
        )
        role.add_to_policy(iam.PolicyStatement(sid="PassOn", actions=["events:PutEvents"], resources=[bus]))
        events.CfnRule(
            self,
            "Rule",
            description=f"Passes the edge's alarms on to {region}, where the alert topic is",
            event_pattern={"source": ["aws.cloudwatch"], "detail-type": [STATE_CHANGE], "resources": [alarm.arn for alarm in alarms]},
            targets=[events.CfnRule.TargetProperty(id="Home", arn=bus, role_arn=role.role_arn)],
        )


class CrossRegionReceiver(Construct):
    """Gives what `CrossRegionForwarder` passes on to `target_arn`, in the words in which CloudWatch itself would tell it."""

    def __init__(self, scope: Construct, construct_id: str, *, from_region: str, from_stack: str, target_arn: str) -> None:
        super().__init__(scope, construct_id)
        # By the beginning of their names, which CloudFormation takes from the stack: a reference would have to be kept in step.
        alarms = f"arn:{Aws.PARTITION}:cloudwatch:{from_region}:{Aws.ACCOUNT_ID}:alarm:{from_stack}-"
        paths = {
            "AlarmName": "$.detail.alarmName",
            "AlarmDescription": "$.detail.configuration.description",
            "AWSAccountId": "$.account",
            "NewStateValue": "$.detail.state.value",
            "NewStateReason": "$.detail.state.reason",
            "StateChangeTime": "$.detail.state.timestamp",
            "Region": "$.region",
            "AlarmArn": "$.resources[0]",
            "OldStateValue": "$.detail.previousState.value",
        }
        fields = ", ".join(f'"{name}": <{name}>' for name in paths)
        events.CfnRule(
            self,
            "Rule",
            description=f"Tells the edge's alarms, which stand in {from_region}",
            event_pattern={"source": ["aws.cloudwatch"], "detail-type": [STATE_CHANGE], "resources": [{"prefix": alarms}]},
            targets=[
                events.CfnRule.TargetProperty(
                    id="Alerts",
                    arn=target_arn,
                    input_transformer=events.CfnRule.InputTransformerProperty(input_paths_map=paths, input_template=f"{{{fields}}}"),
                )
            ],
        )
