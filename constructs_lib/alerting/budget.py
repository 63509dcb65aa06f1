"""The environment's monthly budget."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from constructs import Construct

from settings import sections

THRESHOLD_PERCENTS = {"ACTUAL": (80, 100), "FORECASTED": (100,)}


class Budget(Construct):
    """Filters by the cost allocation tag `environment`: activate it once in the billing console (docs/runbooks/budget.md)."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Budget, environment: str, topic_arn: str) -> None:
        super().__init__(scope, construct_id)
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=settings.monthly_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:environment${environment}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind, comparison_operator="GREATER_THAN", threshold=percent, threshold_type="PERCENTAGE"
                    ),
                    subscribers=[budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic_arn)],
                )
                for kind, percents in THRESHOLD_PERCENTS.items()
                for percent in percents
            ],
        )
