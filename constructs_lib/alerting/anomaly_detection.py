"""Alerts on cost anomalies of the account's services."""

from __future__ import annotations

import json

from aws_cdk import aws_ce as ce
from constructs import Construct

from settings import sections

NAME = "carmen"


class AnomalyDetection(Construct):
    """A subscription to the account's monitor of services, and the monitor itself unless the account has one.

    Member accounts can have no other monitor: those of tags, cost categories and linked accounts exist in the management account only
    (Cost Management User Guide, "Getting started with AWS Cost Anomaly Detection"). A second monitor of services is refused with
    "AlreadyExists" (aws-cloudformation/cloudformation-coverage-roadmap#2515).
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.AnomalyDetection, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        monitor = settings.monitor_arn or self._define_monitor().ref
        ce.CfnAnomalySubscription(
            self,
            "Subscription",
            subscription_name=NAME,
            frequency="IMMEDIATE",
            monitor_arn_list=[monitor],
            subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=topic_arn)],
            threshold_expression=json.dumps(
                {
                    "Dimensions": {
                        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
                        "Values": [str(settings.minimum_usd)],
                    }
                }
            ),
        )

    def _define_monitor(self) -> ce.CfnAnomalyMonitor:
        return ce.CfnAnomalyMonitor(self, "Monitor", monitor_name=NAME, monitor_type="DIMENSIONAL", monitor_dimension="SERVICE")
