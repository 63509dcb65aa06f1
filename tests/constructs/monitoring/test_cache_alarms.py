"""Redis's alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.monitoring.cache_alarms import CacheAlarms
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, settings, stack, template
from tests.constructs.monitoring.alarms import ALARM, described, listed
from tests.constructs.neighbours import REASON, ExistingNetwork, cache


def _built(*, thresholds: dict[str, Any] | None = None, **changes: Any) -> Synthesized:
    small = stack()
    redis = cache(small, ExistingNetwork(small), **changes)
    CacheAlarms(small, "CacheAlarms", alerting=alerting(**thresholds or {}), settings=settings(cache=changes).cache, cache=redis)
    return template(small)


def test_alarms_are_those_listed_for_every_node() -> None:
    built = _built()
    assert described(built) == listed("Data/CacheAlarms")
    metrics = by_id(built.resources(ALARM), "CacheAlarmsMemory")["Properties"]["Metrics"]
    nodes = [one["MetricStat"]["Metric"]["Dimensions"] for one in metrics if "MetricStat" in one]
    assert [node[0]["Name"] for node in nodes] == ["CacheClusterId"] * 2
    assert [node[0]["Value"]["Fn::Join"][1][-1] for node in nodes] == ["-001", "-002"]


def test_one_node_has_no_replication_lag() -> None:
    lines = described(_built(replicas=0, replicas_opt_out_reason=REASON, thresholds={"redis_cpu_percent": 70}))
    assert lines.keys() == listed("Data/CacheAlarms").keys() - {"CacheAlarmsReplicationLag"}
    assert "ReplicationLag" not in lines["CacheAlarmsOverloaded"]
    assert lines["CacheAlarmsCpu"].startswith("CacheAlarmsCpu | EngineCPUUtilization Maximum >= 70 |")
