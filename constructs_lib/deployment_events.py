"""Deployments of the service, told like everything else."""

from __future__ import annotations

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class DeploymentEvents(Construct):
    """ECS says when a deployment begins, is complete or has failed; `queue` admits the account's rules already.

    Source: ECS Developer Guide, "Amazon ECS service deployment state change events".
    """

    def __init__(self, scope: Construct, construct_id: str, *, service: ecs.FargateService, queue: sqs.IQueue) -> None:
        super().__init__(scope, construct_id)
        # By its ARN: the CDK's target would otherwise name this rule in the queue's policy, in a stack that comes before.
        known = sqs.Queue.from_queue_arn(self, "Queue", queue.queue_arn)
        events.Rule(
            self,
            "Rule",
            description="Deployments of the service, to the notifier",
            event_pattern=events.EventPattern(
                source=["aws.ecs"], detail_type=["ECS Deployment State Change"], resources=[service.service_arn]
            ),
            targets=[targets.SqsQueue(known)],
        )
