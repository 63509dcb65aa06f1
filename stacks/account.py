"""CarmenAccount: what exists once in an account. One of its environments defines it with `[anomaly_detection]`."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from constructs_lib.alerting.anomaly_detection import AnomalyDetection
from settings import sections
from settings.constants import ACCOUNT_STACK, EDGE_REGION
from settings.model import Settings
from stacks.alerts import AlertsStack
from stacks.base import owner_tags


class AccountStack(cdk.Stack):
    """Anomalies go to the alert topic of the environment whose settings define them."""

    def __init__(self, scope: Construct, settings: Settings, detection: sections.AnomalyDetection, *, alerts: AlertsStack) -> None:
        # Another account's stack has the same name, so in one app it needs another id.
        several = scope.node.try_find_child(ACCOUNT_STACK) is not None
        super().__init__(
            scope,
            f"{ACCOUNT_STACK}{settings.account}" if several else ACCOUNT_STACK,
            stack_name=ACCOUNT_STACK,
            env=cdk.Environment(account=settings.account, region=EDGE_REGION),
            description=f"Carmen account: cost anomaly detection, reported to {settings.name}",
        )
        for key, value in owner_tags(settings).items():
            cdk.Tags.of(self).add(key, value)
        AnomalyDetection(self, "AnomalyDetection", settings=detection, topic_arn=alerts.topic_arn_at_deployment)
