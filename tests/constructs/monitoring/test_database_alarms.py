"""PostgreSQL's and RDS Proxy's alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.monitoring.database_alarms import DatabaseAlarms
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, settings, stack, template
from tests.constructs.monitoring.alarms import ALARM, described, dimensions, listed
from tests.constructs.neighbours import ExistingNetwork, database, secret

OF_THE_PROXY = {"DatabaseAlarmsBorrowLatency", "DatabaseAlarmsClientConnections", "DatabaseAlarmsPinned", "DatabaseAlarmsProxyUnreachable"}


def _built(*, proxy: bool = True, thresholds: dict[str, Any] | None = None, **changes: Any) -> Synthesized:
    small = stack()
    network, one = ExistingNetwork(small), settings(database=changes)
    instance = database(small, network, **changes)
    DatabaseAlarms(
        small,
        "DatabaseAlarms",
        alerting=alerting(**thresholds or {}),
        settings=one.database,
        max_tasks=one.service.max_tasks,
        database=instance,
        proxy=DatabaseProxy(
            small,
            "Proxy",
            settings=one.database.pool,
            network=network,
            database=instance,
            users=[secret(small, "user")],
        )
        if proxy
        else None,
    )
    return template(small)


def test_alarms_are_those_listed() -> None:
    built = _built()
    assert described(built) == listed("Data/DatabaseAlarms")
    alarms = built.resources(ALARM)
    (instance,) = built.resources("AWS::RDS::DBInstance")
    assert dimensions(by_id(alarms, "FreeStorage")) == {"FreeStorageSpace": {"DBInstanceIdentifier": {"Ref": instance.removeprefix("/")}}}
    (proxy,) = dimensions(by_id(alarms, "ClientConnections")).values()
    assert list(proxy) == ["ProxyName"]
    assert dimensions(by_id(alarms, "DatabaseUnreachable")) == {"DatabaseUp": {"Environment": "prod", "service": "probe"}}


def test_without_a_proxy_it_has_no_alarms() -> None:
    lines = described(_built(proxy=False, thresholds={"database_cpu_percent": 70}))
    assert lines.keys() == listed("Data/DatabaseAlarms").keys() - OF_THE_PROXY
    assert "Proxy" not in lines["DatabaseAlarmsDown"]
    assert ">= 70 |" in lines["DatabaseAlarmsCpu"]


def test_only_burstable_instances_have_cpu_credits() -> None:
    lines = described(_built(instance_class="m7g.large"))
    assert lines.keys() == listed("Data/DatabaseAlarms").keys() - {"DatabaseAlarmsCpuCredits"}
    # A tenth of 8 GiB would be a different threshold: it follows the instance's memory.
    assert lines["DatabaseAlarmsFreeMemory"] != listed("Data/DatabaseAlarms")["DatabaseAlarmsFreeMemory"]
