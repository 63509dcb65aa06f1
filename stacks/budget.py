"""CarmenProdBudget: the monthly budget. In a stack of its own, because an account without access to billing refuses it."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.alerting.budget import Budget
from settings.constants import EDGE_REGION
from settings.model import Settings
from stacks.alerts import AlertsStack
from stacks.base import CarmenStack


class BudgetStack(CarmenStack):
    """Always in us-east-1: some regions, such as eu-north-1, do not have AWS::Budgets::Budget (CloudFormation's schemas by region)."""

    def __init__(self, scope: Construct, settings: Settings, *, alerts: AlertsStack) -> None:
        super().__init__(scope, "Budget", settings=settings, description="Monthly budget", region=EDGE_REGION)
        Budget(self, "Budget", settings=settings.budget, environment=settings.name, topic_arn=alerts.topic_arn_at_deployment)
