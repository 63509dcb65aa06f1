from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from constructs_lib.foundation.alarm import HOUR, Alerting, Expression, Metric
from settings.sections import Alarms

TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
METRIC = Metric("Carmen", "One", {"Environment": "test"})
VALID: dict[str, Any] = {
    "description": "Something is wrong.",
    "runbook": "one",
    "severity": "page",
    "metric": METRIC,
    "missing": "ignore",
    "at_least": 1,
}


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"description": "two\nlines of it"}, "one line"),
        ({"description": "short"}, "10 to 600"),
        ({"runbook": "docs/runbooks/one.md"}, "without .md"),
        ({"runbook": "../secrets"}, "without .md"),
        ({"below": 1}, "exactly one"),
        ({"at_least": None}, "exactly one"),
        ({"periods": 1441}, "CloudWatch evaluates"),
        ({"metric": Metric("Carmen", "One", {}, period_seconds=HOUR), "periods": 169}, "CloudWatch evaluates"),
        ({"metric": Expression("a + b", {"a": METRIC, "b": Metric("Carmen", "Two", {}, period_seconds=HOUR)})}, "needs one period"),
    ],
)
def test_alarm_rejects_what_cloudwatch_refuses(invalid: dict[str, Any], message: str) -> None:
    alerting = Alerting("test", Alarms(), TOPIC)
    stack = cdk.Stack()
    alerting.alarm(stack, "Valid", **VALID)
    with pytest.raises(ValueError, match=message):
        alerting.alarm(stack, "Invalid", **{**VALID, **invalid})


def test_composite_sends_for_its_silent_children() -> None:
    alerting, stack = Alerting("test", Alarms(), TOPIC), cdk.Stack()
    cause = alerting.alarm(stack, "Cause", **VALID)
    children = [alerting.alarm(stack, name, **VALID, actions_enabled=False) for name in ("A", "B")]
    both: dict[str, Any] = {"description": "Both are wrong.", "runbook": "two", "severity": "ticket", "alarms": children}
    alerting.composite(stack, "All", operator="AND", suppressor=cause, suppressor_wait_seconds=300, **both)
    alerting.composite(stack, "Any", actions_enabled=False, **both)
    template = Template.from_stack(stack)
    alarms = template.find_resources("AWS::CloudWatch::Alarm")
    assert alarms["Cause"]["Properties"]["AlarmActions"] == alarms["Cause"]["Properties"]["OKActions"] == [TOPIC]
    assert "AlarmActions" not in alarms["A"]["Properties"]
    composites = template.find_resources("AWS::CloudWatch::CompositeAlarm")
    assert composites["All"]["Properties"] == {
        "ActionsSuppressor": {"Fn::GetAtt": ["Cause", "Arn"]},
        "ActionsSuppressorExtensionPeriod": 300,
        "ActionsSuppressorWaitPeriod": 300,
        "AlarmActions": [TOPIC],
        "AlarmDescription": "Both are wrong.\nRunbook: docs/runbooks/two.md\nSeverity: ticket",
        "AlarmRule": {"Fn::Join": ["", ['ALARM("', {"Ref": "A"}, '") AND ALARM("', {"Ref": "B"}, '")']]},
        "OKActions": [TOPIC],
    }
    rule = composites["Any"]["Properties"]["AlarmRule"]["Fn::Join"][1]
    assert rule[2] == '") OR ALARM("'
    assert "AlarmActions" not in composites["Any"]["Properties"]


def test_percentiles_ignore_low_sample_counts() -> None:
    stack = cdk.Stack()
    Alerting("test", Alarms(), None).alarm(stack, "Slow", **{**VALID, "metric": Metric("Carmen", "Seconds", {}, "p99")})
    alarm = Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm")["Slow"]["Properties"]
    assert (alarm["ExtendedStatistic"], alarm["EvaluateLowSampleCountPercentile"]) == ("p99", "ignore")
    assert not {"Statistic", "AlarmActions"} & alarm.keys()


def test_disabled_alerting_creates_nothing_unless_always_enabled() -> None:
    stack = cdk.Stack()
    alerting = Alerting("test", Alarms(), TOPIC, enabled=False)
    absent = alerting.alarm(stack, "Absent", **VALID)
    composite = alerting.composite(stack, "Composite", description="All is wrong.", runbook="one", severity="page", alarms=[absent])
    alerting.always_enabled.alarm(stack, "Present", **VALID)
    assert (absent.name, absent.arn, composite.name, composite.children) == ("", "", "", (absent,))
    assert Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm").keys() == {"Present"}
