"""The service's alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.monitoring.service_alarms import ServiceAlarms
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, settings, template
from tests.constructs.monitoring.alarms import ALARM, COMPOSITE, described, dimensions, listed
from tests.constructs.monitoring.conftest import alarm
from tests.constructs.neighbours import REASON
from tests.constructs.service.conftest import Service

WITHOUT_INSIGHTS = {"container_insights": "disabled", "container_insights_opt_out_reason": REASON}
NIGHT = {"schedule": "cron(0 20 ? * MON-FRI *)", "min_tasks": 1, "max_tasks": 1}


def _built(**changes: Any) -> Synthesized:
    service = Service(**changes)
    ServiceAlarms(
        service.stack,
        "ServiceAlarms",
        alerting=alerting(),
        settings=settings(service=changes).service,
        balancer=service.balancer,
        cluster=service.cluster,
        web=service.web,
        data_stores_down=alarm(service.stack, "", "DataStoresDown"),
    )
    return template(service.stack)


def test_alarms_are_those_listed() -> None:
    built = _built()
    lines = described(built)
    del lines["DataStoresDown"]
    assert lines == listed("Service/")
    (service,), (cluster,) = (built.resources(f"AWS::ECS::{kind}") for kind in ("Service", "Cluster"))
    expected = {"ClusterName": {"Ref": cluster.removeprefix("/")}, "ServiceName": {"Fn::GetAtt": [service.removeprefix("/"), "Name"]}}
    alarms = built.resources(ALARM)
    assert dimensions(by_id(alarms, "ServiceAlarmsCpu")) == {"CPUUtilization": expected}
    assert dimensions(by_id(alarms, "TasksMissing")) == {"DesiredTaskCount": expected, "RunningTaskCount": expected}
    assert dimensions(by_id(alarms, "SlowResponses"))["TargetResponseTime"].keys() == {"LoadBalancer", "TargetGroup"}
    assert "AlarmActions" not in by_id(built.resources(COMPOSITE), "OriginDown")["Properties"]


def test_without_container_insights_the_smallest_number_counts() -> None:
    lines = described(_built(**WITHOUT_INSIGHTS))
    assert "CPUUtilization SampleCount < 2 | 10 of 10 × 60 s | breaching" in lines["ServiceAlarmsTasksMissing"]
    lines = described(_built(**WITHOUT_INSIGHTS, scheduled_scaling=[NIGHT]))
    assert "SampleCount < 1 |" in lines["ServiceAlarmsTasksMissing"]


def test_zero_tasks_may_be_right() -> None:
    assert "ServiceAlarmsTasksMissing" not in described(_built(**WITHOUT_INSIGHTS, min_tasks=0))


def test_fixed_number_of_tasks_has_no_maximum_alarm() -> None:
    lines = described(_built(min_tasks=6, max_tasks=6))
    assert lines.keys() - {"DataStoresDown"} == listed("Service/").keys() - {"ServiceAlarmsAtMaximum"}
