"""The viewer functions, run on realistic events within CloudFront's limits. Redirects never loop, whatever the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constructs_lib.edge.distribution import viewer_request
from settings.loader import SettingsError, validated
from settings.sections import Edge, PathRule
from settings.url_paths import LONGEST, normal_form
from tests.conftest import Built
from tests.models.edge.cloudfront import Distribution
from tests.models.edge.events import PRODUCTION, WITH_RULES, Row
from tests.models.edge.functions import LONGEST_CODE, LONGEST_URL, Event, Runtime, event, faults

STACK = "CarmenProdEdge"


def _event(row: Row) -> Event:
    return event(row.target, row.method, row.headers, row.cookie)


def _expected(row: Row) -> dict[str, Any]:
    """Return the function's expected result for the row."""
    kind, _, value = row.expected.partition(" ")
    if kind in ("307", "308"):
        words = {"307": "Temporary Redirect", "308": "Permanent Redirect"}
        return {"statusCode": int(kind), "statusDescription": words[kind], "headers": {"location": {"value": value}}}
    request: dict[str, Any] = _event(row)["request"]
    if kind == "→":
        request["uri"] = value
    elif kind == "accept":
        request["headers"]["accept"] = {"value": value}
    elif kind == "without":
        for name in value.split():
            del request["headers"][name]
    request["headers"]["x-forwarded-for"] = {"value": _event(row)["viewer"]["ip"]}
    if kind != "id":
        request["headers"]["x-request-id"] = {"value": _event(row)["context"]["requestId"]}
    return request


def test_at_least_100_events_are_different() -> None:
    assert len(PRODUCTION) >= 100
    assert len({str(_event(row)) for row in PRODUCTION}) == len(PRODUCTION)


@pytest.mark.parametrize("row", PRODUCTION, ids=str)
def test_production_handles_events_as_listed(built: Built, runtime: Runtime, row: Row) -> None:
    _check(Distribution(built.templates[STACK]), runtime, row)


@pytest.mark.parametrize("row", WITH_RULES, ids=str)
def test_redirects_and_rewrites_handle_events_as_listed(with_rules: dict[str, Any], runtime: Runtime, row: Row) -> None:
    _check(Distribution(with_rules), runtime, row)


def _check(distribution: Distribution, runtime: Runtime, row: Row) -> None:
    before = _event(row)
    returned = runtime.run(distribution.code("viewer-request"), before)
    assert returned == _expected(row)
    # Requests that HTTP does not have ("GET constructor") prove the look-up; CloudFront answers them itself.
    expected = [] if row.target.startswith("/") else [f"uri {row.target!r} does not begin with /"]
    assert faults(before, returned) == expected


@pytest.mark.parametrize(
    ("returned", "fault"),
    [
        ({"statusCode": 308, "headers": {"location": {"value": "//evil.example"}}}, "may lead to another site"),
        ({"statusCode": 308, "headers": {"location": {"value": "/a\r\nset-cookie: s=1"}}}, "header location"),
        ({"statusCode": 308, "headers": {"Location": {"value": "/a"}}}, "header name 'Location'"),
        ({"statusCode": "308", "headers": {"location": {"value": "/a"}}}, "status '308'"),
        ({**event("/")["request"], "method": "POST"}, "method changed"),
        ({**event("/")["request"], "uri": "a"}, "does not begin with /"),
        ({**event("/")["request"], "uri": "/" + "a" * 9000}, "9001 characters"),
        ({**event("/")["request"], "uri": "/a b"}, "holds a space"),
        ({**event("/")["request"], "headers": {}}, "read-only header host"),
        ({"method": "GET", "uri": "/", "querystring": {}, "headers": {"x-edge-a": {"value": "1"}}}, "disallowed header x-edge-a"),
    ],
)
def test_results_that_cloudfront_rejects_are_found(returned: dict[str, Any], fault: str) -> None:
    assert fault in "; ".join(faults(event("/"), returned))


@pytest.mark.parametrize(
    "code",
    [
        "let handler = 1",
        "function handler() { return eval('1') }",
        "function handler() { return handler.constructor('return 1')() }",
        "function handler() { return require('fs') }",
        "function handler() { setTimeout(handler, 1) }",
        "function handler() { return Buffer.from('a') }",
        "function handler() { return console }",
        "function handler() { return 'a'.replaceAll('a', 'b') }",
        "function handler() { undeclared = 1 }",
    ],
)
def test_code_beyond_cloudfronts_runtime_fails(runtime: Runtime, code: str) -> None:
    with pytest.raises(RuntimeError):
        runtime.run(code, event("/"))


@pytest.mark.parametrize("kind", ["viewer-request", "viewer-response"])
def test_functions_are_published_and_within_the_size_limit(built: Built, with_rules: dict[str, Any], kind: str) -> None:
    for one in (built.templates[STACK], with_rules):
        distribution = Distribution(one)
        assert len(distribution.code(kind).encode()) <= LONGEST_CODE
        function = distribution.function(kind)
        assert (function["AutoPublish"], function["FunctionConfig"]["Runtime"]) == (True, "cloudfront-js-2.0")


def test_every_event_takes_less_than_a_millisecond(with_rules: dict[str, Any], runtime: Runtime) -> None:
    """Roughly CloudFront's limit. Without its compiler, Node is as slow as CloudFront's interpreter."""
    code = Distribution(with_rules).code("viewer-request")
    rows = [*PRODUCTION, *WITH_RULES]
    taken = {str(row): min(runtime.microseconds(code, _event(row), times=7) for _ in range(3)) for row in rows}
    assert [name for name, microseconds in taken.items() if microseconds > 1000] == []


@pytest.mark.parametrize(
    ("status", "kept"), [(200, True), (206, True), (304, True), (301, False), (302, False), (307, False), (204, False)]
)
def test_static_files_are_immutable_only_on_success(built: Built, runtime: Runtime, status: int, kept: bool) -> None:
    before = event("/images/a.png") | {
        "response": {
            "statusCode": status,
            "statusDescription": "",
            "headers": {"cache-control": {"value": "private"}, "via": {"value": "1.1 x"}, "etag": {"value": '"a"'}},
            "cookies": {"session": {"value": "x", "attributes": "Secure"}},
        }
    }
    answer = runtime.run(Distribution(built.templates[STACK]).code("viewer-response"), before)
    assert answer["headers"] == {
        "cache-control": {"value": "public, max-age=31536000, immutable" if kept else "no-store"},
        "via": {"value": "1.1 x"},
        "etag": {"value": '"a"'},
    }
    assert (answer["cookies"], answer["statusCode"]) == ({}, status)


# Few paths, so that loops and chains are frequent, and spellings that browsers or CloudFront normalise.
PATHS = st.sampled_from(
    ["/a", "/b", "/a/", "/a/b", "/dashboard/", "/constructor", "/__proto__", "/images/a", "/images/b", "/api/me", "/errors/a"]
)
SPELLINGS: list[Callable[[str], str]] = [
    lambda path: path,
    lambda path: f"/{path}",
    lambda path: f"/evil.example/..{path}",
    lambda path: f"/x/%2e%2E/.{path}",
    lambda path: f"/%{ord(path[1]):02x}{path[2:]}",
    lambda path: f"{path}*",
    lambda path: f"{path}?q=1",
    lambda path: f"{path}#x",
]


def _edges(spellings: list[Callable[[str], str]]) -> st.SearchStrategy[dict[str, Any]]:
    paths = st.builds(lambda path, spelling: spelling(path), PATHS, st.sampled_from(spellings))
    redirects = st.fixed_dictionaries({"source": paths, "destination": paths, "permanent": st.booleans()})
    rewrites = st.fixed_dictionaries({"source": paths, "destination": paths})
    return st.fixed_dictionaries({"redirects": st.lists(redirects, max_size=3), "rewrites": st.lists(rewrites, max_size=2)})


def test_redirects_end_on_this_site_after_one_step(runtime: Runtime) -> None:
    tried: dict[bool, int] = {True: 0, False: 0}

    @settings(max_examples=800, deadline=None, derandomize=True, database=None)
    @given(values=_edges(SPELLINGS[:1]) | _edges(SPELLINGS), query=st.sampled_from(["", "?a=1&a=2", "?//evil.example"]))
    def holds(values: dict[str, Any], query: str) -> None:
        try:
            edge = validated({"edge": values}, "prod").edge
        except SettingsError:
            tried[False] += 1
            return
        tried[True] += bool(edge.redirects)
        code = viewer_request(edge)
        assert len(code.encode()) <= LONGEST_CODE
        rules: tuple[PathRule, ...] = (*edge.redirects, *edge.rewrites)
        for path in {path for rule in rules for path in (rule.source, rule.destination)}:
            before = event(path + query)
            returned = runtime.run(code, before)
            assert faults(before, returned) == []
            if "statusCode" in returned:
                location = urlsplit(returned["headers"]["location"]["value"])
                assert (location.scheme, location.netloc) == ("", "")
                # As written, and as browsers or CloudFront may normalise it.
                for asked in {location.path, normal_form(location.path)}:
                    assert "statusCode" not in runtime.run(code, event(f"{asked}?{location.query}"))

    holds()
    assert min(tried.values()) >= 50  # some settings are accepted, some rejected


def test_maximum_number_of_rules_fits_into_the_function() -> None:
    def edge(count: int) -> Edge:
        numbered = [{"source": "/" + "s" * 50 + str(n), "destination": "/" + "d" * 45 + str(n)} for n in range(count)]
        return validated({"edge": {"redirects": numbered[: count // 2], "rewrites": numbered[count // 2 :]}}, "prod").edge

    most = 50
    code = viewer_request(edge(most))
    assert LONGEST_CODE * 0.8 < len(code.encode()) <= LONGEST_CODE
    with pytest.raises(SettingsError, match="do not fit into CloudFront's function; the limit is 7500"):
        edge(most + 1)


def test_longest_location_is_a_valid_url() -> None:
    """WAF blocks queries above 2,048 bytes (SizeRestrictions_QUERYSTRING); escaping at most triples their length."""
    assert LONGEST + 1 + 3 * 2048 < LONGEST_URL
