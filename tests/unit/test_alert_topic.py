from __future__ import annotations

from tests.conftest import Built
from tests.unit.conftest import Variant, only

STACK = "CarmenProdAlerts"


def test_the_topic_is_encrypted_with_a_key_that_alarms_may_use(built: Built) -> None:
    assert "KmsMasterKeyId" in only(built.resources("AWS::SNS::Topic", STACK))
    key = only(built.resources("AWS::KMS::Key", STACK))
    assert key["EnableKeyRotation"] is True
    (alarms,) = [s for s in key["KeyPolicy"]["Statement"] if s["Principal"] == {"Service": "cloudwatch.amazonaws.com"}]
    assert alarms["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_only_tls_and_alarms_of_this_account_may_publish(built: Built) -> None:
    denied, allowed = only(built.resources("AWS::SNS::TopicPolicy", STACK))["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    # With a policy of its own, the topic loses the default that let alarms publish.
    assert (allowed["Effect"], allowed["Action"]) == ("Allow", "sns:Publish")
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_people_are_subscribed(variant: Variant) -> None:
    subscription = only(variant(alerts={"emails": ["on-call@example.com"]}).resources("AWS::SNS::Subscription"))
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "on-call@example.com")
