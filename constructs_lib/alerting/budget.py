"""The environment's monthly budget, and alerts on cost anomalies."""

from __future__ import annotations

import json

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from constructs import Construct

from settings import sections

THRESHOLD_PERCENTS = {"ACTUAL": (80, 100), "FORECASTED": (100,)}


class Budget(Construct):
    """Filters by the cost allocation tag `environment`: activate it once in the billing console (docs/runbooks/budget.md)."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Budget, environment: str, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        self._topic_arn, self._environment = topic_arn, environment
        self._define_budget(settings)
        self._define_anomaly_detection(settings)

    def _define_budget(self, settings: sections.Budget) -> None:
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=settings.monthly_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:environment${self._environment}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind, comparison_operator="GREATER_THAN", threshold=percent, threshold_type="PERCENTAGE"
                    ),
                    subscribers=[budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=self._topic_arn)],
                )
                for kind, percents in THRESHOLD_PERCENTS.items()
                for percent in percents
            ],
        )

    def _define_anomaly_detection(self, settings: sections.Budget) -> None:
        name = f"carmen-{self._environment}"
        monitor = ce.CfnAnomalyMonitor(
            self,
            "AnomalyMonitor",
            monitor_name=name,
            monitor_type="CUSTOM",
            monitor_specification=json.dumps({"Tags": {"Key": "environment", "Values": [self._environment]}}),
        )
        ce.CfnAnomalySubscription(
            self,
            "AnomalySubscription",
            subscription_name=name,
            frequency="IMMEDIATE",
            monitor_arn_list=[monitor.ref],
            subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=self._topic_arn)],
            threshold_expression=json.dumps(
                {
                    "Dimensions": {
                        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
                        "Values": [str(settings.anomaly_usd)],
                    }
                }
            ),
        )
