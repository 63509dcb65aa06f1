"""The budget in a small stack: amount, cost filter, thresholds and their subscriber."""

from __future__ import annotations

import pytest

from constructs_lib.alerting.budget import Budget
from tests.conftest import only
from tests.constructs.conftest import TOPIC, Synthesized, settings, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    small = stack()
    budget = settings(budget={"monthly_usd": 900}).budget
    Budget(small, "Budget", settings=budget, environment="prod", topic_arn=TOPIC)
    return template(small)


def test_budget_counts_the_environments_costs(built: Synthesized) -> None:
    budget = only(built.resources("AWS::Budgets::Budget"))["Budget"]
    assert (budget["BudgetLimit"], budget["TimeUnit"], budget["BudgetType"]) == ({"Amount": 900, "Unit": "USD"}, "MONTHLY", "COST")
    assert budget["CostFilters"] == {"TagKeyValue": ["user:environment$prod"]}


def test_budget_notifies_at_its_thresholds(built: Synthesized) -> None:
    notifications = only(built.resources("AWS::Budgets::Budget"))["NotificationsWithSubscribers"]
    sent = [one["Notification"] for one in notifications]
    assert {(one["NotificationType"], one["Threshold"]) for one in sent} == {("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)}
    assert {(one["ComparisonOperator"], one["ThresholdType"]) for one in sent} == {("GREATER_THAN", "PERCENTAGE")}
    assert [one["Subscribers"] for one in notifications] == [[{"Address": TOPIC, "SubscriptionType": "SNS"}]] * 3
