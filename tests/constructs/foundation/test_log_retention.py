from __future__ import annotations

import json

import pytest
from aws_cdk import aws_logs as logs

from constructs_lib.foundation.log_retention import retention_days, set_log_retention
from tests.constructs.conftest import stack, template


@pytest.mark.parametrize(("days", "member"), [(1, "ONE_DAY"), (90, "THREE_MONTHS"), (3653, "TEN_YEARS")])
def test_retention_days_is_the_member_of_the_enumeration(days: int, member: str) -> None:
    assert retention_days(days) is logs.RetentionDays[member]


def test_set_log_retention_creates_the_group_first_and_bounds_it() -> None:
    one = stack()
    set_log_retention(one, "Retention", name="/aws/rds/instance/one/postgresql", days=90)
    calls = template(one).resources("Custom::AWS")
    (create,) = [json.loads(call["Properties"]["Create"]) for name, call in calls.items() if name.startswith("/RetentionGroup")]
    assert (create["action"], create["ignoreErrorCodesMatching"]) == ("CreateLogGroup", "ResourceAlreadyExistsException")
    (bound,) = [call for name, call in calls.items() if not name.startswith("/RetentionGroup")]
    put = json.loads(bound["Properties"]["Create"])
    assert (put["action"], put["parameters"]) == (
        "PutRetentionPolicy",
        {"logGroupName": "/aws/rds/instance/one/postgresql", "retentionInDays": 90},
    )
    assert json.loads(bound["Properties"]["Update"])["parameters"] == put["parameters"]
    assert any(name.startswith("RetentionGroup") for name in bound["DependsOn"])


def test_set_log_retention_may_change_one_group() -> None:
    one = stack()
    set_log_retention(one, "Retention", name="one", days=30)
    policies = template(one).resources("AWS::IAM::Policy")
    allowed = [
        (statement["Action"], json.dumps(statement["Resource"]).rpartition(":log-group:")[2])
        for name, policy in policies.items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "CustomResourcePolicy" in name
    ]
    assert sorted(allowed) == [("logs:CreateLogGroup", 'one:*"]]}'), ("logs:PutRetentionPolicy", 'one:*"]]}')]
