"""CarmenProdAlerts: the topic alarms publish to."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.alert_topic import AlertTopic
from environments.schema import Settings
from stacks.base import CarmenStack


class AlertsStack(CarmenStack):
    """Before everything that has an alarm."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, "Alerts", settings=settings, description="The topic every alarm publishes to")
        self.topic = AlertTopic(self, "Alerts", settings=settings.alerts).topic
