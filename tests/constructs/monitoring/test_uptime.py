"""The uptime function in a small stack: schedule, limits, and the settings it gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from uptime.checks import Endpoint

from constructs_lib.monitoring.uptime import Uptime
from settings import sections
from tests.conftest import only
from tests.constructs.conftest import Synthesized, alerting, libraries, settings, stack, template

URL = "https://carmen.example.com"


def _built(**uptime: Any) -> Synthesized:
    small = stack()
    one = settings(uptime=uptime).uptime
    Uptime(small, "Uptime", settings=one, alerting=alerting(), environment="prod", url=URL, libraries=libraries(small))
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def _function(built: Synthesized) -> dict[str, Any]:
    return only(built.resources("AWS::Lambda::Function"))


def _variables(built: Synthesized) -> dict[str, Any]:
    variables: dict[str, Any] = _function(built)["Environment"]["Variables"]
    return variables


def test_function_runs_every_minute_outside_the_vpc(built: Synthesized) -> None:
    schedule = only(built.resources("AWS::Scheduler::Schedule"))
    assert (schedule["ScheduleExpression"], schedule["State"]) == ("cron(* * * * ? *)", "ENABLED")
    assert "UptimeFunction" in json.dumps(schedule["Target"]["Arn"])
    function = _function(built)
    assert "VpcConfig" not in function
    assert (function["Timeout"], function["MemorySize"], function["Handler"]) == (20, 512, "uptime.handler.handler")
    assert len(function["Layers"]) == 1


def test_function_gets_the_manuals_endpoints(built: Synthesized) -> None:
    variables = _variables(built)
    assert (variables["SITE_URL"], variables["ENVIRONMENT"]) == (URL, "prod")
    found = Endpoint.parse_list(variables["ENDPOINTS"])
    assert {endpoint.path: endpoint.deadline_seconds for endpoint in found} == {"/api/health": 5, "/dashboard": 10, "/api/auth/session": 5}
    assert {(endpoint.expected_statuses, endpoint.follow_redirects) for endpoint in found} == {((200,), 3)}


def test_longest_deadline_ends_before_the_next_minute() -> None:
    built = _built(endpoints=[{"path": "/api/health", "deadline_seconds": 30}, {"path": "/"}])
    assert _function(built)["Timeout"] == 40


def test_every_setting_of_an_endpoint_reaches_the_function() -> None:
    given: dict[str, Any] = {
        "path": "/api/old",
        "deadline_seconds": 7,
        "expected_statuses": (301, 308),
        "follow_redirects": 0,
        "redirects_to": "/new",
        "body_contains": "สวัสดี",
        "json_fields": {"database.state": "up"},
    }
    assert given.keys() == sections.Endpoint.model_fields.keys()
    text = _variables(_built(endpoints=[given]))["ENDPOINTS"]
    assert text.isascii()  # CloudFormation replaces other characters with question marks
    assert Endpoint.parse_list(text) == [Endpoint(**given)]
