"""Notifications about deployments of the service."""

from __future__ import annotations

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class DeploymentEvents(Construct):
    """Send ECS's events (deployment started, completed, failed) to `queue`, whose policy already allows the account's rules.

    Source: ECS Developer Guide, "Amazon ECS service deployment state change events".
    """

    def __init__(self, scope: Construct, construct_id: str, *, service: ecs.FargateService, queue: sqs.IQueue) -> None:
        super().__init__(scope, construct_id)
        # The CDK's target class would add this rule to the queue's policy, which is in an earlier stack.
        events.CfnRule(
            self,
            "Rule",
            description="Sends deployment events of the service to the notifier",
            event_pattern={"source": ["aws.ecs"], "detail-type": ["ECS Deployment State Change"], "resources": [service.service_arn]},
            targets=[events.CfnRule.TargetProperty(arn=queue.queue_arn, id="Notifier")],
        )
