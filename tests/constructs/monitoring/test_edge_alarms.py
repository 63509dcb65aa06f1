"""The edge's alarms in a small stack, compared with alarms.txt, and forwarding them to another region."""

from __future__ import annotations

import json
import re
from typing import Any

from constructs_lib.monitoring.edge_alarms import CrossRegionForwarder, CrossRegionReceiver, EdgeAlarms
from tests.conftest import by_id, only
from tests.constructs.conftest import TOPIC, Synthesized, alerting, settings, stack, template
from tests.constructs.monitoring.alarms import ALARM, COMPOSITE, described, dimensions, listed
from tests.constructs.monitoring.conftest import alarm

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:queue"


def _built(**edge: Any) -> Synthesized:
    small = stack()
    EdgeAlarms(
        small,
        "EdgeAlarms",
        alerting=alerting(),
        settings=settings(edge=edge).edge,
        distribution_id="E1",
        firewall_metric="CarmenProdEdge",
        origin_down=alarm(small, "ServiceAlarms", "OriginDown"),
    )
    return template(small)


def test_alarms_are_those_listed() -> None:
    built = _built()
    found = {name: line for name, line in described(built).items() if name.startswith("EdgeAlarms")}
    assert found == listed("EdgeAlarms/EdgeAlarms")
    assert dimensions(by_id(built.resources(ALARM), "ErrorRate")) == {"5xxErrorRate": {"DistributionId": "E1", "Region": "Global"}}
    waf = {"WebACL": "CarmenProdEdge", "Rule": "ALL"}
    assert dimensions(by_id(built.resources(ALARM), "BlockedRequests")) == {"BlockedRequests": waf, "AllowedRequests": waf}
    assert by_id(built.resources(COMPOSITE), "Failing")["Properties"]["AlarmActions"] == [TOPIC]


def test_without_origin_metrics_there_is_no_latency_alarm() -> None:
    lines = described(_built(origin_metrics=False))
    assert "EdgeAlarmsOriginLatency" not in lines
    assert lines["EdgeAlarmsFailing"].startswith("EdgeAlarmsFailing | EdgeAlarmsErrorRate | ")


def test_forwarder_sends_state_changes_to_the_other_regions_bus() -> None:
    small = stack()
    forwarded = [alarm(small, "EdgeAlarms", name) for name in ("One", "Two")]
    CrossRegionForwarder(small, "Forwarder", alarms=forwarded, region="eu-central-1")
    built = template(small)
    rule = only(built.resources("AWS::Events::Rule"))
    assert rule["EventPattern"]["detail-type"] == ["CloudWatch Alarm State Change"]
    assert len(rule["EventPattern"]["resources"]) == 2
    (target,) = rule["Targets"]
    assert ":events:eu-central-1:" in json.dumps(target["Arn"])
    (statement,) = only(built.resources("AWS::IAM::Policy"))["PolicyDocument"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("events:PutEvents", target["Arn"])
    assert "event-bus/default" in json.dumps(target["Arn"])


def test_receiver_sends_what_the_notifier_reads() -> None:
    small = stack(region="eu-central-1")
    CrossRegionReceiver(small, "Receiver", from_region="us-east-1", from_stack="CarmenProdEdgeAlarms", target_arn=QUEUE)
    rule = only(template(small).resources("AWS::Events::Rule"))
    (target,) = rule["Targets"]
    assert target["Arn"] == QUEUE
    assert ":cloudwatch:us-east-1:" in json.dumps(rule["EventPattern"])
    assert ":alarm:CarmenProdEdgeAlarms-" in json.dumps(rule["EventPattern"])
    # The fields of CloudWatch's own notifications: lambda_src/notifier reads these.
    transformer = target["InputTransformer"]
    assert {"AlarmName", "AlarmDescription", "NewStateValue", "StateChangeTime", "AlarmArn"} <= transformer["InputPathsMap"].keys()
    fields = json.loads(re.sub(r"<(\w+)>", r'"\1"', transformer["InputTemplate"]))
    assert fields == {name: name for name in transformer["InputPathsMap"]}
