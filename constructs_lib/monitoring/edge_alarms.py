"""Alarms of CloudFront and WAF, whose metrics are in us-east-1, and forwarding them to the home region (ADR 0015)."""

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
    """`failing`: users get errors or wait at the edge. `blocks`: WAF blocks an unusual share of requests."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        settings: sections.Edge,
        distribution_id: str,
        firewall_metric: str,
        origin_down: Alarm | None,
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
            description="CloudFront returns 5xx errors to users.",
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
                description="CloudFront waits too long for Carmen: one request in ten is slow.",
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
            description="Users get errors or slow answers from CloudFront.",
            runbook="edge-errors",
            severity="page",
            alarms=[alarm for alarm in (self.errors, self.latency) if alarm],
            suppressor=origin_down,
            suppressor_wait_seconds=300,  # the service's own alarm waits 180
        )
        requests = {
            name: Metric("AWS/WAFV2", f"{name.capitalize()}Requests", {"WebACL": firewall_metric, "Rule": "ALL"}, "Sum", FIVE_MINUTES, name)
            for name in ("blocked", "allowed")
        }
        self.blocks = alerting.alarm(
            self,
            "BlockedRequests",
            description="WAF blocks an unusual share of requests: an attack, or a rule that blocks users.",
            runbook="ddos",
            severity="ticket",
            # A ratio with a minimum, not an anomaly band: it works from the first day and is easy to explain.
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
        """The alarms that notify people."""
        return [self.failing, self.blocks]


class CrossRegionForwarder(Construct):
    """Forwards state changes of this region's alarms to the event bus of another region, for `CrossRegionReceiver`."""

    def __init__(self, scope: Construct, construct_id: str, *, alarms: list[Alarm], region: str) -> None:
        super().__init__(scope, construct_id)
        bus = f"arn:{Aws.PARTITION}:events:{region}:{Aws.ACCOUNT_ID}:event-bus/default"
        role = iam.Role(
            self,
            "Role",
            assumed_by=same_account_principal("events.amazonaws.com"),
            description=f"Forwards the edge's alarms to {region}",
        )
        role.add_to_policy(iam.PolicyStatement(sid="PutEvents", actions=["events:PutEvents"], resources=[bus]))
        events.CfnRule(
            self,
            "Rule",
            description=f"Forwards the edge's alarms to {region}, where the notifier is",
            event_pattern={"source": ["aws.cloudwatch"], "detail-type": [STATE_CHANGE], "resources": [alarm.arn for alarm in alarms]},
            targets=[events.CfnRule.TargetProperty(id="EventBus", arn=bus, role_arn=role.role_arn)],
        )


class CrossRegionReceiver(Construct):
    """Sends the events of `CrossRegionForwarder` to `target_arn`, in the format of CloudWatch's own notifications."""

    def __init__(self, scope: Construct, construct_id: str, *, from_region: str, from_stack: str, target_arn: str) -> None:
        super().__init__(scope, construct_id)
        # By name prefix, which CloudFormation takes from the stack: needs no references across regions.
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
            description=f"Sends the edge's alarms from {from_region} to the notifier",
            event_pattern={"source": ["aws.cloudwatch"], "detail-type": [STATE_CHANGE], "resources": [{"prefix": alarms}]},
            targets=[
                events.CfnRule.TargetProperty(
                    id="Alerts",
                    arn=target_arn,
                    input_transformer=events.CfnRule.InputTransformerProperty(input_paths_map=paths, input_template=f"{{{fields}}}"),
                )
            ],
        )
