"""The alert topic, which alarms publish to, and the topic that e-mail addresses subscribe to."""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from constructs_lib.foundation.alarm import Alarm
from settings import sections

# Services that publish alerts → their source ARN. CloudWatch User Guide, "Notify users on alarm changes"; Cost Management User
# Guide, "Creating an Amazon SNS topic for budget notifications" and "… for anomaly notifications" (which names no ARN).
# Not EventBridge: SNS Developer Guide, "Key management": source conditions in a KMS policy "not supported for
# EventBridge-to-encrypted topics", so its rules send to the notifier's queue.
PUBLISHERS = {
    "cloudwatch.amazonaws.com": f"arn:{Aws.PARTITION}:cloudwatch:{Aws.REGION}:{Aws.ACCOUNT_ID}:alarm:*",
    "budgets.amazonaws.com": f"arn:{Aws.PARTITION}:budgets::{Aws.ACCOUNT_ID}:*",
    "costalerts.amazonaws.com": None,
}


class AlertTopics(Construct):
    """AWS services of this account publish to `alarms`; only the notifier and its own alarms publish to `email_topic`."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Alerts) -> None:
        super().__init__(scope, construct_id)
        self.key = self._define_key()
        self.alarms = sns.Topic(self, "Topic", display_name="Carmen alerts", master_key=self.key, enforce_ssl=True)
        self.email_topic = sns.Topic(self, "EmailTopic", display_name="Carmen", master_key=self.key, enforce_ssl=True)
        for service, source in PUBLISHERS.items():
            self._allow_service(self.alarms, service, "ArnLike", source)
        for email in settings.emails:
            self.email_topic.add_subscription(subscriptions.EmailSubscription(email))

    def allow_alarm(self, alarm: Alarm) -> None:
        """Allow this alarm to publish to the e-mail topic directly."""
        self._allow_service(self.email_topic, "cloudwatch.amazonaws.com", "ArnEquals", alarm.arn)

    def allow_publish(self, role: iam.IRole) -> None:
        """Allow `role` to publish to the e-mail topic."""
        role.add_to_principal_policy(
            iam.PolicyStatement(sid="PublishToEmailTopic", actions=["sns:Publish"], resources=[self.email_topic.topic_arn])
        )
        role.add_to_principal_policy(
            iam.PolicyStatement(
                sid="EncryptForEmailTopic",
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=[self.key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"sns.{Aws.REGION}.amazonaws.com"}},
            )
        )

    def _allow_service(self, topic: sns.Topic, service: str, operator: str, source: str | None) -> None:
        """Allow a service explicitly: the topic's policy (`enforce_ssl` creates one) replaces the default that let alarms publish."""
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal(service)],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    **({operator: {"aws:SourceArn": source}} if source else {}),
                },
            )
        )

    def _define_key(self) -> kms.Key:
        """A customer-managed key: CloudWatch cannot publish to a topic under the AWS-managed one, whose policy is fixed."""
        key = kms.Key(
            self,
            "Key",
            description="Encrypts alerts in SNS",
            enable_key_rotation=True,
            pending_window=Duration.days(7),
            removal_policy=RemovalPolicy.DESTROY,
        )
        key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowPublishersToEncryptAlerts",
                principals=[iam.ServicePrincipal(service) for service in PUBLISHERS],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in a key policy: this key
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        return key
