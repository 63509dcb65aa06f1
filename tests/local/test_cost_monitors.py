"""The embedded AWS refuses the cost monitors that a member account cannot have."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.emulator.handlers import base
from local.emulator.handlers.alerts import check_monitor

KIND = "AWS::CE::AnomalyMonitor"
OF_SERVICES = {"MonitorName": "one", "MonitorType": "DIMENSIONAL", "MonitorDimension": "SERVICE"}


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    installed: dict[str, dict[str, Callable[..., Any]]] = {}
    monkeypatch.setattr(base, "put_handler", installed.__setitem__)
    base.record(KIND, check_monitor)
    return installed[KIND]


def test_monitor_of_a_tag_is_refused(handler: dict[str, Callable[..., Any]]) -> None:
    specification = json.dumps({"Tags": {"Key": "environment", "Values": ["prod"]}})
    with pytest.raises(ValueError, match="management account"):
        handler["create"]("One", {"MonitorName": "one", "MonitorType": "CUSTOM", "MonitorSpecification": specification}, "Stack")


def test_second_monitor_of_services_is_refused(handler: dict[str, Callable[..., Any]]) -> None:
    name, _ = handler["create"]("One", OF_SERVICES, "Stack")
    with pytest.raises(ValueError, match="AlreadyExists"):
        handler["create"]("Two", OF_SERVICES, "Other")
    handler["delete"](name, OF_SERVICES)
    assert handler["create"]("Two", OF_SERVICES, "Other")
