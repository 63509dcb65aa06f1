"""The alert topic and the e-mail topic in a small stack: encryption, publishers and subscriptions."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import aws_iam as iam

from constructs_lib.alerting.topics import AlertTopics
from constructs_lib.foundation.alarm import Metric
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, alerting, settings, stack, template

THIS_ACCOUNT = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


@pytest.fixture(scope="module")
def built() -> Synthesized:
    """Topics with one address, a role that may publish, and one alarm that may."""
    small = stack()
    topics = AlertTopics(small, "Alerts", settings=settings(alerts={"emails": ["on-call@example.com"]}).alerts)
    topics.allow_publish(iam.Role(small, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")))
    alarm = alerting().alarm(
        small,
        "Alarm",
        description="Something is wrong.",
        runbook="one",
        severity="page",
        metric=Metric("Carmen", "One", {}),
        at_least=1,
        missing="ignore",
    )
    topics.allow_alarm(alarm)
    return template(small)


def _statements(built: Synthesized, part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = by_id(built.resources("AWS::SNS::TopicPolicy"), part)["Properties"]["PolicyDocument"]["Statement"]
    return found


def test_both_topics_share_a_key_that_publishers_may_use(built: Synthesized) -> None:
    (key_id,) = built.resources("AWS::KMS::Key")
    topics = built.resources("AWS::SNS::Topic").values()
    assert [topic["Properties"]["KmsMasterKeyId"] for topic in topics] == [{"Fn::GetAtt": [key_id.removeprefix("/"), "Arn"]}] * 2
    key = only(built.resources("AWS::KMS::Key"))
    assert key["EnableKeyRotation"] is True
    _, publishers = key["KeyPolicy"]["Statement"]
    assert publishers["Principal"] == {"Service": [f"{name}.amazonaws.com" for name in ("budgets", "cloudwatch", "costalerts")]}
    assert publishers["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert publishers["Condition"] == {"StringEquals": THIS_ACCOUNT}


def test_alert_topic_takes_alerts_of_this_accounts_services(built: Synthesized) -> None:
    denied, *allowed = _statements(built, "/AlertsTopic")
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    # The topic's policy replaces the default that let alarms publish.
    services = [statement["Principal"]["Service"].removesuffix(".amazonaws.com") for statement in allowed]
    assert services == ["cloudwatch", "budgets", "costalerts"]
    for statement in allowed:
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sns:Publish")
        assert statement["Condition"]["StringEquals"] == THIS_ACCOUNT


def test_email_topic_takes_only_the_allowed_alarm(built: Synthesized) -> None:
    denied, allowed = _statements(built, "/AlertsEmailTopic")
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    (alarm,) = built.resources("AWS::CloudWatch::Alarm")
    arn = {"Fn::GetAtt": [alarm.removeprefix("/"), "Arn"]}
    assert allowed["Condition"] == {"StringEquals": THIS_ACCOUNT, "ArnEquals": {"aws:SourceArn": arn}}


def test_people_are_subscribed_to_the_email_topic(built: Synthesized) -> None:
    subscription = only(built.resources("AWS::SNS::Subscription"))
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "on-call@example.com")
    assert "AlertsEmailTopic" in subscription["TopicArn"]["Ref"]


def test_role_may_publish_and_encrypt_through_sns(built: Synthesized) -> None:
    publish, encrypt = only(built.resources("AWS::IAM::Policy"))["PolicyDocument"]["Statement"]
    assert (publish["Action"], "AlertsEmailTopic" in publish["Resource"]["Ref"]) == ("sns:Publish", True)
    assert encrypt["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert "kms:ViaService" in str(encrypt["Condition"])
