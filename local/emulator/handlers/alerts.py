"""SNS, CloudWatch alarms, and the notifier's table."""

from __future__ import annotations

import json

from ministack.services import cloudwatch as ministack_cloudwatch

from local.emulator.handlers.base import (
    Attributes,
    Create,
    Created,
    Delete,
    Properties,
    Update,
    call,
    client,
    define,
    fit,
    name_for,
    refine,
)


def register() -> None:
    refine("AWS::SNS::Topic", complete_topic)
    refine("AWS::SNS::Subscription", complete_subscription)
    refine("AWS::DynamoDB::Table", complete_table)
    define("AWS::CloudWatch::Alarm", *alarm_handlers("put_metric_alarm"))
    define("AWS::CloudWatch::CompositeAlarm", *alarm_handlers("put_composite_alarm"))


def check_monitor(properties: Properties, existing: list[Properties]) -> None:
    """Refuse cost monitors as in a member account.

    Sources: Cost Management User Guide, "Getting started with AWS Cost Anomaly Detection"; coverage-roadmap#2515.
    """
    if properties["MonitorType"] != "DIMENSIONAL" or properties.get("MonitorDimension") != "SERVICE":
        raise ValueError("Cost monitors for linked accounts, cost allocation tags, and cost categories need the management account")
    if existing:
        raise ValueError("Limit exceeded on dimensional spend monitor creation (AlreadyExists)")


def complete_topic(topic: str, properties: Properties, old: Properties) -> None:
    if "KmsMasterKeyId" in properties or "KmsMasterKeyId" in old:
        client("sns").set_topic_attributes(
            TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue=properties.get("KmsMasterKeyId", "")
        )


def complete_subscription(subscription: str, properties: Properties, old: Properties) -> None:
    for name in ("RedrivePolicy", "RawMessageDelivery", "FilterPolicy", "FilterPolicyScope"):
        if name in properties:
            value = properties[name]
            text = value if isinstance(value, str) else json.dumps(value)
            client("sns").set_subscription_attributes(SubscriptionArn=subscription, AttributeName=name, AttributeValue=text)


def complete_table(table: str, properties: Properties, old: Properties) -> None:
    call("dynamodb", "update_continuous_backups", properties, TableName=table)
    for name, operation in (("SSESpecification", "update_table"), ("TimeToLiveSpecification", "update_time_to_live")):
        if name in properties and properties[name] != old.get(name):
            given = {("Enabled" if key == "SSEEnabled" else key): value for key, value in properties[name].items()}
            call("dynamodb", operation, {name: given}, TableName=table)


def alarm_handlers(operation: str) -> tuple[Create, Delete, Update]:
    """Handlers for both kinds of alarm; ministack's own handler refuses metric math."""

    def put(name: str, properties: Properties) -> Attributes:
        call("cloudwatch", operation, properties, AlarmName=name)
        if "Metrics" in properties:
            keep_metric_math(name, properties)
        if "ActionsSuppressor" in properties:
            keep_suppressor(name, properties)
        kind = "CompositeAlarms" if "composite" in operation else "MetricAlarms"
        alarms = client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=[kind.removesuffix("s")])
        return {"Arn": alarms[kind][0]["AlarmArn"]}

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        name = properties.get("AlarmName") or name_for(logical_id, stack, 255)
        return name, put(name, properties)

    def delete(name: str, properties: Properties) -> None:
        client("cloudwatch").delete_alarms(AlarmNames=[name])

    return create, delete, lambda name, old, new: put(name, new)


def keep_suppressor(name: str, properties: Properties) -> None:
    """Keep the suppressor for DescribeAlarms; PutCompositeAlarm drops it, and the emulator's composite alarms ignore it."""
    shape = client("cloudwatch").meta.service_model.operation_model("PutCompositeAlarm").input_shape
    names = ("ActionsSuppressor", "ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod")
    ministack_cloudwatch._composite_alarms[name] |= fit({key: properties[key] for key in names}, shape)


def keep_metric_math(name: str, properties: Properties) -> None:
    """Keep `Metrics` for DescribeAlarms; PutMetricAlarm drops them."""
    shape = client("cloudwatch").meta.service_model.operation_model("PutMetricAlarm").input_shape
    alarm = ministack_cloudwatch._alarms[name]
    alarm["Metrics"] = fit(properties["Metrics"], shape.members["Metrics"])
    for simple in ("MetricName", "Namespace", "Statistic", "Period"):
        alarm.pop(simple, None)
