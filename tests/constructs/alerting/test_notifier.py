"""The notifier in a small stack: queue, function, state table, schedules, and the alarm that bypasses it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.alerting.notifier import Notifier
from constructs_lib.alerting.topics import AlertTopics
from constructs_lib.foundation.alarm import Alerting
from settings.sections import WorkingHours
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, libraries, settings, stack, template

HOURS = WorkingHours(time_zone="Europe/Berlin")  # from Monday to Friday, 07:00 to 19:00


def _built(*, working_hours: WorkingHours | None = None, digest: bool = True, **alerts: Any) -> Synthesized:
    small = stack()
    one = settings(alerts=alerts)
    topics = AlertTopics(small, "Alerts", settings=one.alerts)
    Notifier(
        small,
        "Notifier",
        settings=one.alerts,
        environment_name="prod",
        topics=topics,
        fallback_alerting=Alerting("prod", one.alarms, topics.email_topic.topic_arn),
        digest=digest,
        libraries=libraries(small),
        working_hours=working_hours,
    )
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def _function(built: Synthesized) -> dict[str, Any]:
    properties: dict[str, Any] = by_id(built.resources("AWS::Lambda::Function"), "/NotifierFunction")["Properties"]
    return properties


def _variables(built: Synthesized) -> dict[str, Any]:
    variables: dict[str, Any] = _function(built)["Environment"]["Variables"]
    return variables


def _queue(built: Synthesized) -> dict[str, Any]:
    properties: dict[str, Any] = by_id(built.resources("AWS::SQS::Queue"), "/NotifierQueue")["Properties"]
    return properties


def test_alert_topic_feeds_the_queue_with_a_dlq(built: Synthesized) -> None:
    subscription = only(built.resources("AWS::SNS::Subscription"))
    assert subscription["Protocol"] == "sqs"
    assert "AlertsTopic" in subscription["TopicArn"]["Ref"]
    assert "NotifierQueue" in subscription["Endpoint"]["Fn::GetAtt"][0]
    assert "NotifierFunctionDeadLetters" in json.dumps(subscription["RedrivePolicy"])


def test_queue_gives_the_function_time_and_keeps_failures(built: Synthesized) -> None:
    queue = _queue(built)
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 4 * 86_400)
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 8
    assert "NotifierFunctionDeadLetters" in json.dumps(queue["RedrivePolicy"])
    source = only(built.resources("AWS::Lambda::EventSourceMapping"))
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"], source["ScalingConfig"]) == (100, 5, {"MaximumConcurrency": 2})
    assert queue["VisibilityTimeout"] == 6 * _function(built)["Timeout"] + source["MaximumBatchingWindowInSeconds"]


def test_queue_accepts_the_topic_and_rules_of_this_account(built: Synthesized) -> None:
    policy = by_id(built.resources("AWS::SQS::QueuePolicy"), "/NotifierQueue")["Properties"]["PolicyDocument"]
    denied, topic, rules = policy["Statement"]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert topic["Principal"] == {"Service": "sns.amazonaws.com"}
    assert "AlertsTopic" in json.dumps(topic["Condition"])
    assert rules["Principal"] == {"Service": "events.amazonaws.com"}
    assert rules["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_state_table_is_protected_and_deleted_with_the_stack(built: Synthesized) -> None:
    (table,) = built.resources("AWS::DynamoDB::Table").values()
    properties = table["Properties"]
    assert [key["AttributeName"] for key in properties["KeySchema"]] == ["kind", "id"]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert table["DeletionPolicy"] == "Delete"


def test_function_outside_the_vpc_gets_only_the_secrets_arn(built: Synthesized) -> None:
    assert "VpcConfig" not in _function(built)
    variables = _variables(built)
    (secret,) = built.resources("AWS::SecretsManager::Secret")
    assert secret.startswith("/NotifierSlackWebhook")
    assert variables["WEBHOOK_SECRET"] == {"Ref": secret.removeprefix("/")}
    assert variables["EMAIL_TOPIC"] == {"Ref": next(name[1:] for name in built.resources("AWS::SNS::Topic") if "EmailTopic" in name)}
    assert {"TABLE", "QUEUE_URL", "ENVIRONMENT"} <= variables.keys()
    assert not {"SecretString", "GenerateSecretString"} & only(built.resources("AWS::SecretsManager::Secret")).keys()


def test_defaults_reach_the_function(built: Synthesized) -> None:
    variables = _variables(built)
    names = ("RUNBOOKS_URL", "SETTLE_SECONDS", "FLAPPING_OPENINGS", "FLAPPING_MINUTES")
    assert [variables[name] for name in names] == ["", "300", "4", "60"]


def test_settings_reach_the_function_and_the_digest() -> None:
    url = "https://github.com/example/carmen/blob/main"
    built = _built(runbooks_url=url, settle_seconds=0, flapping_openings=7, flapping_minutes=90, digest_schedule="cron(0 7 * * ? *)")
    variables = _variables(built)
    names = ("RUNBOOKS_URL", "SETTLE_SECONDS", "FLAPPING_OPENINGS", "FLAPPING_MINUTES")
    assert [variables[name] for name in names] == [url, "0", "7", "90"]
    assert only(built.resources("AWS::Scheduler::Schedule"))["ScheduleExpression"] == "cron(0 7 * * ? *)"


def test_digest_is_sent_once_a_day(built: Synthesized) -> None:
    schedule = only(built.resources("AWS::Scheduler::Schedule"))
    assert (schedule["ScheduleExpression"], schedule["State"]) == ("cron(30 12 * * ? *)", "ENABLED")
    assert '"action":"digest"' in schedule["Target"]["Input"]
    assert "NotifierFunction" in json.dumps(schedule["Target"]["Arn"])


def test_quiet_hours_end_45_minutes_after_the_start_of_the_day() -> None:
    schedules = _built(working_hours=HOURS, digest=False).resources("AWS::Scheduler::Schedule")
    found = {
        json.loads(schedule["Properties"]["Target"]["Input"])["action"]: (
            schedule["Properties"]["ScheduleExpression"],
            schedule["Properties"]["ScheduleExpressionTimezone"],
        )
        for schedule in schedules.values()
    }
    assert found == {
        "night": ("cron(0 19 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin"),
        "morning": ("cron(45 7 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin"),
    }


def test_its_alarms_notify_people_directly(built: Synthesized) -> None:
    (topic,) = [name.removeprefix("/") for name in built.resources("AWS::SNS::Topic") if "EmailTopic" in name]
    alarms = built.resources("AWS::CloudWatch::Alarm")
    assert len(alarms) == 2
    for alarm in alarms.values():
        assert alarm["Properties"]["AlarmActions"] == alarm["Properties"]["OKActions"] == [{"Ref": topic}]
    policy = by_id(built.resources("AWS::SNS::TopicPolicy"), "/AlertsEmailTopic")["Properties"]["PolicyDocument"]["Statement"]
    sources = [one["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::GetAtt"][0] for one in policy[1:]]
    assert sorted(f"/{source}" for source in sources) == sorted(alarms)


def test_undelivered_alerts_page(built: Synthesized) -> None:
    alarm = by_id(built.resources("AWS::CloudWatch::Alarm"), "/NotifierUndelivered")["Properties"]
    assert (alarm["MetricName"], alarm["Namespace"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "AWS/SQS", "Maximum")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert alarm["TreatMissingData"] == "notBreaching"
    assert "NotifierFunctionDeadLetters" in json.dumps(alarm["Dimensions"])
    assert alarm["AlarmDescription"].split("\n")[1:] == ["Runbook: docs/runbooks/undelivered-alerts.md", "Severity: page"]
