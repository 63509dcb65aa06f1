"""CarmenProdAlerts: the path from alarms to people."""

from __future__ import annotations

from aws_cdk import CfnOutput, Fn
from constructs import Construct

from constructs_lib.alerting.notifier import Notifier
from constructs_lib.alerting.topics import AlertTopics
from constructs_lib.compute.python_function import libraries_layer
from constructs_lib.foundation.acknowledgements import record_opt_outs
from constructs_lib.foundation.alarm import Alerting
from settings.model import Settings
from stacks.base import CarmenStack


class AlertsStack(CarmenStack):
    """The stacks with alarms come later: alarms publish to `topic`, and EventBridge rules send to `notifier.queue`."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, "Alerts", settings=settings, description="Alert topic, notifier and the e-mail topic")
        topics = AlertTopics(self, "Alerts", settings=settings.alerts)
        self.topic = topics.alarms
        self.notifier = Notifier(
            self,
            "Notifier",
            settings=settings.alerts,
            environment_name=settings.name,
            topics=topics,
            fallback_alerting=Alerting(settings.name, settings.alarms, topics.email_topic.topic_arn),
            digest=settings.alarms.watched,
            libraries=libraries_layer(self),
            working_hours=settings.working_hours,
        )
        record_opt_outs(self.topic, settings.alarms, "watched")
        self.always_export(self.topic.topic_arn)
        CfnOutput(self, "TopicArn", value=self.topic.topic_arn, description="The topic that receives all alerts")

    @property
    def topic_arn_at_deployment(self) -> str:
        """For stacks of other regions, and those that must not block a change of the topic: no export (ADR 0006)."""
        return Fn.get_stack_output(self.stack_name, "TopicArn", self.region)
