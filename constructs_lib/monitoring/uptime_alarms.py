"""Alarms on the public endpoints that the uptime function checks, and on their certificate."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.foundation.alarm import HOUR, Alarm, Alerting

EVALUATED_MINUTES = 5
GRACE_SECONDS = 300


class UptimeAlarms(Construct):
    """`down`: endpoints fail or are not checked. Suppressed while the service or its data stores are down, which notify themselves."""

    def __init__(self, scope: Construct, construct_id: str, *, alerting: Alerting, origin_down: Alarm) -> None:
        super().__init__(scope, construct_id)
        self.endpoints = alerting.alarm(
            self,
            "EndpointsDown",
            description="Public endpoints of Carmen fail their checks.",
            runbook="endpoints-down",
            severity="page",
            metric=alerting.function_metric("EndpointsDown", service="uptime", label="endpoints down"),
            at_least=1,
            periods=EVALUATED_MINUTES,
            breaching_periods=alerting.settings.endpoints_down_minutes,
            missing="breaching",
            actions_enabled=False,
        )
        self.challenged = alerting.function_metric("EndpointsChallenged", service="uptime", label="challenged in attack mode")
        self.down = alerting.composite(
            self,
            "Down",
            description="Users cannot reach Carmen, or the endpoints are not checked.",
            runbook="endpoints-down",
            severity="page",
            alarms=[self.endpoints],
            suppressor=origin_down,
            suppressor_wait_seconds=GRACE_SECONDS,
        )
        self.certificate = alerting.alarm(
            self,
            "CertificateExpiring",
            description="The public certificate expires soon and has not been renewed.",
            runbook="certificate",
            severity="ticket",
            metric=alerting.function_metric(
                "CertificateDays", service="uptime", statistic="Minimum", period_seconds=HOUR, label="days left"
            ),
            below=alerting.settings.certificate_days,
            periods=3,
            missing="notBreaching",  # EndpointsDown covers missing data
        )

    @property
    def notifying(self) -> list[Alarm]:
        """The alarms that notify people."""
        return [self.down, self.certificate]
