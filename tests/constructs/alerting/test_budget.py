from __future__ import annotations

import json

from tests.conftest import Built, Variant, by_id, only


def test_the_budget_tells_before_and_when_it_is_spent(variant: Variant) -> None:
    built = variant(budget={"monthly_usd": 900, "anomaly_usd": 75})
    budget = only(built.resources("AWS::Budgets::Budget"))
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 900, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:environment$prod"]}
    anomalies = only(built.resources("AWS::CE::AnomalySubscription"))
    assert json.loads(anomalies["ThresholdExpression"])["Dimensions"]["Values"] == ["75"]
    assert (anomalies["Frequency"], anomalies["Subscribers"][0]["Type"]) == ("IMMEDIATE", "SNS")
    tags = json.loads(only(built.resources("AWS::CE::AnomalyMonitor"))["MonitorSpecification"])["Tags"]
    assert tags == {"Key": "environment", "Values": ["prod"]}


def test_what_is_spent_is_told_at_and_above_its_thresholds_and_what_the_edge_measures_is_switched_on(built: Built) -> None:
    budget = by_id(built.resources("AWS::Budgets::Budget", "CarmenProd"), "/Budget")["Properties"]
    told = [one["Notification"] for one in budget["NotificationsWithSubscribers"]]
    assert {(one["NotificationType"], one["Threshold"]) for one in told} == {("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)}
    assert {one["ComparisonOperator"] for one in told} == {"GREATER_THAN"}
    assert all("CarmenProdAlerts" in json.dumps(one["Subscribers"]) for one in budget["NotificationsWithSubscribers"])
    assert only(built.resources("AWS::CloudFront::MonitoringSubscription", "CarmenProdEdge"))
