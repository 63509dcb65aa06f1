"""Uptime alarms in a small stack, compared with alarms.txt, and what settings change in them."""

from __future__ import annotations

from typing import Any

from constructs_lib.monitoring.uptime_alarms import UptimeAlarms
from tests.conftest import by_id
from tests.constructs.conftest import Synthesized, alerting, stack, template
from tests.constructs.monitoring.alarms import ALARM, described, dimensions, listed
from tests.constructs.monitoring.conftest import alarm


def _built(**thresholds: Any) -> Synthesized:
    small = stack()
    UptimeAlarms(small, "UptimeAlarms", alerting=alerting(**thresholds), origin_down=alarm(small, "ServiceAlarms", "OriginDown"))
    return template(small)


def test_alarms_are_those_listed() -> None:
    built = _built()
    assert {name: line for name, line in described(built).items() if name.startswith("Uptime")} == listed("UptimeAlarms")
    assert dimensions(by_id(built.resources(ALARM), "EndpointsDown")) == {"EndpointsDown": {"Environment": "prod", "service": "uptime"}}


def test_thresholds_are_settings() -> None:
    lines = described(_built(endpoints_down_minutes=2, certificate_days=30))
    assert "| 2 of 5 × 60 s |" in lines["UptimeAlarmsEndpointsDown"]
    assert "CertificateDays Minimum < 30 |" in lines["UptimeAlarmsCertificateExpiring"]
