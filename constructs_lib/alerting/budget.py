"""What the environment may cost a month, and who is told."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_ce as ce
from constructs import Construct

from settings import sections

OF_ACTUAL, OF_FORECAST = (80, 100), (100,)


class Budget(Construct):
    """By the cost allocation tag `environment`, which a person activates once in the billing console (docs/runbooks/budget.md)."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Budget, environment: str, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        self._topic_arn, self._environment = topic_arn, environment
        self._define_budget(settings)
        self._watch_anomalies(settings)

    def _define_budget(self, settings: sections.Budget) -> None:
        thresholds = {"ACTUAL": OF_ACTUAL, "FORECASTED": OF_FORECAST}
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
                for kind, percents in thresholds.items()
                for percent in percents
            ],
        )

    def _watch_anomalies(self, settings: sections.Budget) -> None:
        name = f"carmen-{self._environment}"
        monitor = ce.CfnAnomalyMonitor(
            self,
            "Monitor",
            monitor_name=name,
            monitor_type="CUSTOM",
            monitor_specification=_json({"Tags": {"Key": "environment", "Values": [self._environment]}}),
        )
        ce.CfnAnomalySubscription(
            self,
            "Anomalies",
            subscription_name=name,
            frequency="IMMEDIATE",
            monitor_arn_list=[monitor.ref],
            subscribers=[ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=self._topic_arn)],
            threshold_expression=_json(
                {
                    "Dimensions": {
                        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
                        "Values": [str(settings.anomaly_usd)],
                    }
                }
            ),
        )


def _json(expression: Mapping[str, object]) -> str:
    """These two properties are text to CloudFormation."""
    return json.dumps(expression)
