"""The topic every alarm of an environment publishes to."""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from environments import schema


class AlertTopic(Construct):
    """An encrypted topic that CloudWatch alarms of this account may publish to, with people subscribed by e-mail."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: schema.Alerts) -> None:
        super().__init__(scope, construct_id)
        self._key = self._define_key()
        self.topic = sns.Topic(self, "Topic", display_name="Carmen alerts", master_key=self._key, enforce_ssl=True)
        self._admit_alarms()
        for email in settings.emails:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))

    def _admit_alarms(self) -> None:
        """A policy of its own (`enforce_ssl` makes one) takes the place of the default that let alarms publish."""
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsOfThisAccountPublish",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:cloudwatch:{Aws.REGION}:{Aws.ACCOUNT_ID}:alarm:*"},
                },
            )
        )

    def _define_key(self) -> kms.Key:
        """A key of its own: CloudWatch cannot publish to a topic under the AWS-managed one, whose policy is fixed."""
        key = kms.Key(
            self,
            "Key",
            description="Encrypts alerts on their way through SNS",
            enable_key_rotation=True,
            pending_window=Duration.days(7),
            removal_policy=RemovalPolicy.DESTROY,
        )
        key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in a key policy: this key
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        return key
