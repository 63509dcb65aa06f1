"""Deployments of the service, told like everything else."""

from __future__ import annotations

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class DeploymentEvents(Construct):
    """ECS says when a deployment begins, is complete or has failed; `queue` admits the account's rules already.

    Source: ECS Developer Guide, "Amazon ECS service deployment state change events".
    """

    def __init__(self, scope: Construct, construct_id: str, *, service: ecs.FargateService, queue: sqs.IQueue) -> None:
        super().__init__(scope, construct_id)
        # The CDK's target would name this rule in the queue's policy, which stands in an earlier stack.
        events.CfnRule(
            self,
            "Rule",
            description="Deployments of the service, to the notifier",
            event_pattern={"source": ["aws.ecs"], "detail-type": ["ECS Deployment State Change"], "resources": [service.service_arn]},
            targets=[events.CfnRule.TargetProperty(arn=queue.queue_arn, id="Notifier")],
        )
