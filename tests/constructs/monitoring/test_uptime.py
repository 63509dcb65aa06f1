from __future__ import annotations

import json
from typing import Any

import pytest
from uptime.checks import Endpoint

from settings import sections
from tests.conftest import DOMAIN, Built, Variant, by_id, only

STACK = "CarmenProd"


def _function(built: Built) -> dict[str, Any]:
    properties: dict[str, Any] = by_id(built.resources("AWS::Lambda::Function", STACK), "/UptimeFunction")["Properties"]
    return properties


def _variables(built: Built) -> dict[str, Any]:
    variables: dict[str, Any] = _function(built)["Environment"]["Variables"]
    return variables


def test_it_runs_every_minute_outside_the_vpc_and_ends_before_it_begins_again(built: Built) -> None:
    schedule = only(built.resources("AWS::Scheduler::Schedule", STACK))
    assert (schedule["ScheduleExpression"], schedule["State"]) == ("cron(* * * * ? *)", "ENABLED")
    function = _function(built)
    assert "VpcConfig" not in function
    assert (function["Timeout"], function["MemorySize"], function["Handler"]) == (20, 512, "uptime.handler.handler")
    assert len(function["Layers"]) == 1


def test_the_longest_deadline_still_ends_before_the_next_minute(variant: Variant) -> None:
    built = variant(uptime={"endpoints": [{"path": "/", "deadline_seconds": 30}, {"path": "/a"}]})
    assert _function(built)["Timeout"] == 40


def test_the_public_address_is_asked(built: Built, variant: Variant) -> None:
    assert "DomainName" in json.dumps(_variables(built)["SITE_URL"])  # of the distribution
    assert _variables(built)["ENVIRONMENT"] == "prod"
    assert _variables(variant(domain=DOMAIN))["SITE_URL"] == "https://carmen.example.com"


def test_the_function_is_given_the_manuals_endpoints_with_its_limits(built: Built) -> None:
    found = Endpoint.parse_list(_variables(built)["ENDPOINTS"])
    assert {endpoint.path: endpoint.deadline_seconds for endpoint in found} == {"/api/health": 5, "/dashboard": 10, "/api/auth/session": 5}
    assert {(endpoint.expected_statuses, endpoint.follow_redirects) for endpoint in found} == {((200,), 3)}


def test_every_setting_of_an_endpoint_reaches_the_function(variant: Variant) -> None:
    given: dict[str, Any] = {
        "path": "/old",
        "deadline_seconds": 7,
        "expected_statuses": (301, 308),
        "follow_redirects": 0,
        "redirects_to": "/new",
        "body_contains": "สวัสดี",
        "json_fields": {"database.state": "up"},
    }
    assert given.keys() == sections.Endpoint.model_fields.keys()
    text = _variables(variant(uptime={"endpoints": [given]}))["ENDPOINTS"]
    assert text.isascii()  # CloudFormation makes question marks of the rest
    assert Endpoint.parse_list(text) == [Endpoint(**given)]


@pytest.mark.parametrize("stack", ["CarmenProd", "CarmenStaging"])
def test_what_is_watched_is_asked(built: Built, stack: str) -> None:
    assert by_id(built.resources("AWS::Lambda::Function", stack), "/UptimeFunction")


def test_development_is_not(built: Built) -> None:
    assert built.resources("AWS::Lambda::Function", "CarmenDev") == {}
