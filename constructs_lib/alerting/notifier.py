"""Deliver alerts to people: a queue, the function that sends notifications, and the table with its state."""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib.alerting.topics import AlertTopics
from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.alarm import Alarm, Alerting, Metric
from constructs_lib.foundation.secret import operator_secret
from settings import sections
from settings.schedules import daily_cron, format_time, minute_of_day

WEBHOOK = "ALERTS_SLACK_WEBHOOK"  # its name in `./carmen secrets`; SLACK_WEBHOOK would be a variable of the application
TIMEOUT = Duration.minutes(1)
# Alerts within this time become one message. A single alert waits as long.
BATCHING_WINDOW = Duration.seconds(5)
BATCH_SIZE = 100
QUIET_AFTER_START_MINUTES = 45  # the database takes ten, tasks start at fifteen, alarms look back five or more
# With the function's delays (30 s, doubled up to 15 min), eight attempts take 48 minutes.
MAX_RECEIVE_COUNT = 8


class Notifier(Construct):
    """Sends alerts to Slack and e-mail. Undeliverable alerts go to the dead-letter queue, whose alarm bypasses this function."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Alerts,
        environment_name: str,
        topics: AlertTopics,
        fallback_alerting: Alerting,
        digest: bool,
        libraries: lambda_.ILayerVersion,
        working_hours: sections.WorkingHours | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.webhook = operator_secret(self, "SlackWebhook", name=WEBHOOK, description="Incoming webhook of Slack for alerts")
        self.table = self._define_table()
        self.function = self._define_function(settings, environment_name, topics, fallback_alerting, libraries)
        self.queue = self._define_queue(topics)
        self.function.add_environment("QUEUE_URL", self.queue.queue_url)
        self._allow_delivery(topics)
        self.undelivered = self._define_undelivered_alarm(fallback_alerting)
        for alarm in (self.function.failure_alarm, self.undelivered):
            topics.allow_alarm(alarm)
        if digest:
            self.function.add_schedule("Digest", settings.digest_schedule, description="Sends the daily digest", action="digest")
        if working_hours:
            self._define_quiet_hours(working_hours)

    def _define_table(self) -> dynamodb.Table:
        """Deleted with the stack: without it, an open incident is sent again and its recovery is not."""
        return dynamodb.Table(
            self,
            "AlertStore",
            partition_key=dynamodb.Attribute(name="kind", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True),
            time_to_live_attribute="expires",
            removal_policy=RemovalPolicy.DESTROY,
        )

    def _define_function(
        self,
        settings: sections.Alerts,
        environment_name: str,
        topics: AlertTopics,
        fallback_alerting: Alerting,
        libraries: lambda_.ILayerVersion,
    ) -> PythonFunction:
        """Outside the VPC: it calls Slack and AWS."""
        return PythonFunction(
            self,
            "Function",
            package="notifier",
            description="Sends alerts to Slack and e-mail, once per state change",
            timeout=TIMEOUT,
            layers=[libraries],
            environment={
                "ENVIRONMENT": environment_name,
                "TABLE": self.table.table_name,
                "EMAIL_TOPIC": topics.email_topic.topic_arn,
                "WEBHOOK_SECRET": self.webhook.secret_arn,
                "RUNBOOKS_URL": settings.runbooks_url or "",
                "SETTLE_SECONDS": str(settings.settle_seconds),
                "FLAPPING_OPENINGS": str(settings.flapping_openings),
                "FLAPPING_MINUTES": str(settings.flapping_minutes),
            },
            alerting=fallback_alerting,
        )

    def _define_queue(self, topics: AlertTopics) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "Queue",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            # Lambda Developer Guide, "Using Lambda with Amazon SQS": six times the function's time-out plus the batching window.
            visibility_timeout=Duration.seconds(6 * TIMEOUT.to_seconds() + BATCHING_WINDOW.to_seconds()),
            retention_period=Duration.days(4),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.function.dlq, max_receive_count=MAX_RECEIVE_COUNT),
        )
        topics.alarms.add_subscription(subscriptions.SqsSubscription(queue, dead_letter_queue=self.function.dlq))
        queue.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowEventBridgeRulesOfThisAccount",
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[queue.queue_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}:rule/*"},
                },
            )
        )
        self.function.add_event_source(
            sources.SqsEventSource(
                queue,
                batch_size=BATCH_SIZE,
                max_batching_window=BATCHING_WINDOW,
                max_concurrency=2,  # the minimum; Slack takes one message a second
                report_batch_item_failures=True,
            )
        )
        return queue

    def _define_quiet_hours(self, hours: sections.WorkingHours) -> None:
        """Send nothing from the end of a day until the next has started up; incidents still open then are sent."""
        morning = format_time(minute_of_day(hours.starts) + QUIET_AFTER_START_MINUTES)
        for name, time, description in (("Night", hours.ends, "Starts quiet hours"), ("Morning", morning, "Ends quiet hours")):
            cron = daily_cron(time, hours.days)
            self.function.add_schedule(name, cron, description=description, time_zone=hours.time_zone, action=name.lower())

    def _allow_delivery(self, topics: AlertTopics) -> None:
        function = self.function
        topics.allow_publish(function.execution_role)
        for sid, names, resource in (
            ("ReadSlackWebhook", ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"), self.webhook.secret_arn),
            (
                "ReadAndWriteAlertStore",
                ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"),
                self.table.table_arn,
            ),
            ("SendToNotifierQueue", ("sqs:SendMessage",), self.queue.queue_arn),
            ("ReadDigestMetrics", ("cloudwatch:GetMetricData",), "*"),
        ):
            function.add_to_role_policy(iam.PolicyStatement(sid=sid, actions=list(names), resources=[resource]))
        acknowledge(
            function.execution_role.node.find_child("DefaultPolicy"),
            {
                "AwsSolutions-IAM5[Resource::*]": (
                    "cloudwatch:GetMetricData supports no resource-level permissions (AWS Service Authorization Reference, CloudWatch). "
                    "It only reads metrics."
                )
            },
        )

    def _define_undelivered_alarm(self, fallback_alerting: Alerting) -> Alarm:
        """Publishes to people directly: through the notifier it would be the next undelivered alert."""
        return fallback_alerting.alarm(
            self,
            "Undelivered",
            description="An alert was not delivered. It is in the notifier's dead-letter queue.",
            runbook="undelivered-alerts",
            severity="page",
            metric=Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": self.function.dlq.queue_name}, "Maximum"),
            at_least=1,
            missing="notBreaching",  # SQS publishes no metrics for an idle queue
        )
