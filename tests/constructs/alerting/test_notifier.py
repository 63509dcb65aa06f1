from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Built, Variant, by_id, only

STACK = "CarmenProdAlerts"


def _policy(built: Built, kind: str, part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = by_id(built.resources(kind, STACK), part)["Properties"]["PolicyDocument"]["Statement"]
    return found


def _variables(built: Built) -> dict[str, Any]:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/NotifierFunction")["Properties"]
    variables: dict[str, Any] = function["Environment"]["Variables"]
    return variables


def test_both_topics_are_encrypted_with_a_key_that_publishers_may_use(built: Built) -> None:
    topics = built.resources("AWS::SNS::Topic", STACK)
    assert len(topics) == 2
    key = only(built.resources("AWS::KMS::Key", STACK))
    assert key["EnableKeyRotation"] is True
    _, publishers = key["KeyPolicy"]["Statement"]
    assert publishers["Principal"] == {"Service": [f"{name}.amazonaws.com" for name in ("budgets", "cloudwatch", "costalerts")]}
    assert publishers["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert publishers["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


@pytest.mark.parametrize("part", ["/AlertsTopic", "/AlertsEmailTopic"])
def test_only_tls_and_services_for_this_account_publish(built: Built, part: str) -> None:
    denied, *allowed = _policy(built, "AWS::SNS::TopicPolicy", part)
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    # With a policy of its own, a topic loses the default that let alarms publish.
    services = [statement["Principal"]["Service"].removesuffix(".amazonaws.com") for statement in allowed]
    assert services == (["cloudwatch", "budgets", "costalerts"] if part == "/AlertsTopic" else ["cloudwatch", "cloudwatch"])
    for statement in allowed:
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sns:Publish")
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_people_are_subscribed_to_what_the_notifier_says_and_not_to_alarms(variant: Variant) -> None:
    subscriptions = variant(alerts={"emails": ["on-call@example.com"]}).resources("AWS::SNS::Subscription")
    ends = {s["Properties"]["Protocol"]: s["Properties"] for s in subscriptions.values()}
    assert ends["email"]["Endpoint"] == "on-call@example.com"
    assert "AlertsEmailTopic" in ends["email"]["TopicArn"]["Ref"]
    assert "AlertsTopic" in ends["sqs"]["TopicArn"]["Ref"]
    assert "NotifierFunctionDeadLetters" in json.dumps(ends["sqs"]["RedrivePolicy"])


def test_the_queue_gives_the_function_time_and_puts_aside_what_fails(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/NotifierFunction")["Properties"]
    queue = by_id(built.resources("AWS::SQS::Queue", STACK), "/NotifierQueue")["Properties"]
    assert queue["SqsManagedSseEnabled"] is True
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 8
    assert "NotifierFunctionDeadLetters" in json.dumps(queue["RedrivePolicy"])
    source = only(built.resources("AWS::Lambda::EventSourceMapping", STACK))
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"], source["ScalingConfig"]) == (100, 5, {"MaximumConcurrency": 2})
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"] + source["MaximumBatchingWindowInSeconds"]


def test_the_queue_takes_what_the_topic_and_rules_of_this_account_send(built: Built) -> None:
    denied, topic, rules = _policy(built, "AWS::SQS::QueuePolicy", "/NotifierQueue")
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert topic["Principal"] == {"Service": "sns.amazonaws.com"}
    assert "AlertsTopic" in json.dumps(topic["Condition"])
    assert rules["Principal"] == {"Service": "events.amazonaws.com"}
    assert rules["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_the_notifier_remembers_in_a_table_that_may_go(built: Built) -> None:
    (table,) = built.resources("AWS::DynamoDB::Table", STACK).values()
    properties = table["Properties"]
    assert [key["AttributeName"] for key in properties["KeySchema"]] == ["kind", "id"]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert table["DeletionPolicy"] == "Delete"


def test_the_notifier_stands_outside_the_vpc_and_knows_no_secret(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/NotifierFunction")["Properties"]
    assert "VpcConfig" not in function
    variables = _variables(built)
    assert variables["WEBHOOK_SECRET"] == {"Ref": "NotifierSlackWebhookD145C4AB"}
    assert {"TABLE", "QUEUE_URL", "PEOPLE_TOPIC", "ENVIRONMENT"} <= variables.keys()
    secret = only(built.resources("AWS::SecretsManager::Secret", STACK))
    assert not {"SecretString", "GenerateSecretString"} & secret.keys()


def test_settings_reach_the_notifier(built: Built, variant: Variant) -> None:
    names = ("RUNBOOKS_URL", "SETTLE_SECONDS", "FLAPPING_OPENINGS", "FLAPPING_MINUTES")
    assert [_variables(built)[name] for name in names] == ["", "300", "4", "60"]
    url = "https://github.com/example/carmen/blob/main"
    given = {
        "runbooks_url": url,
        "settle_seconds": 0,
        "flapping_openings": 7,
        "flapping_minutes": 90,
        "digest_schedule": "cron(0 7 * * ? *)",
    }
    changed = variant(alerts=given)
    assert [_variables(changed)[name] for name in names] == [url, "0", "7", "90"]
    assert only(changed.resources("AWS::Scheduler::Schedule", STACK))["ScheduleExpression"] == "cron(0 7 * * ? *)"


def test_the_digest_comes_once_a_day(built: Built) -> None:
    schedule = only(built.resources("AWS::Scheduler::Schedule", STACK))
    assert schedule["ScheduleExpression"] == "cron(30 12 * * ? *)"
    assert '"action":"digest"' in schedule["Target"]["Input"]


def test_what_cannot_be_told_is_told_past_the_notifier(built: Built) -> None:
    for alarm in built.resources("AWS::CloudWatch::Alarm", STACK).values():
        assert alarm["Properties"]["AlarmActions"] == alarm["Properties"]["OKActions"] == [{"Ref": "AlertsPeople556B0626"}]
    alarm = by_id(built.resources("AWS::CloudWatch::Alarm", STACK), "/NotifierUndelivered")["Properties"]
    assert (alarm["MetricName"], alarm["Namespace"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "AWS/SQS", "Maximum")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert alarm["TreatMissingData"] == "notBreaching"
    assert "NotifierFunctionDeadLetters" in json.dumps(alarm["Dimensions"])
    assert alarm["AlarmDescription"].split("\n")[1:] == ["Runbook: docs/runbooks/undelivered-alerts.md", "Severity: page"]


def test_deployments_of_the_service_go_to_the_notifier(built: Built) -> None:
    rule = only(built.resources("AWS::Events::Rule", "CarmenProdService"))
    assert rule["EventPattern"] == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Deployment State Change"],
        "resources": [{"Ref": "WebServiceD04B5F3E"}],
    }
    (target,) = rule["Targets"]
    assert "NotifierQueue" in target["Arn"]["Fn::ImportValue"]


def test_the_operator_is_told_to_give_the_webhook(built: Built) -> None:
    assert "ALERTS_SLACK_WEBHOOK: " in json.dumps(built.templates["CarmenProd"]["Outputs"]["SecretsToFill"])


def test_what_alarms_say_reaches_the_notifier_and_is_kept_for_it(built: Built) -> None:
    subscription = only(built.resources("AWS::SNS::Subscription", STACK))
    assert "AlertsTopic" in subscription["TopicArn"]["Ref"]
    assert "NotifierQueue" in subscription["Endpoint"]["Fn::GetAtt"][0]
    queue = by_id(built.resources("AWS::SQS::Queue", STACK), "/NotifierQueue")["Properties"]
    assert queue["MessageRetentionPeriod"] == 4 * 86_400
