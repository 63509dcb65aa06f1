"""Anonymous users against the edge: paths that WAF and Next.js read differently, and forged addresses.

`routes.json` is what the real Next.js 15.5 with next-auth 4.24 does with each path (tests/attacks/nextjs); the long test asks it again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settings.loader import SettingsError, validated
from tests.attacks.next_js import Application
from tests.conftest import Built
from tests.models.edge import waf
from tests.models.edge.cloudfront import Distribution, OriginRequest, Request
from tests.models.edge.functions import VIEWER, Runtime

ROUTES = Path(__file__).with_name("routes.json")
RECORDED: dict[str, dict[str, str]] = json.loads(ROUTES.read_text(encoding="utf-8"))
BROWSER = {"host": "carmen.example.com", "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0)"}
STATIC = ("page:images", "page:_next")
FORGED = dict.fromkeys(
    (
        *("x-forwarded-for", "forwarded", "forwarded-for", "x-forwarded", "true-client-ip", "client-ip", "x-client-ip", "cf-connecting-ip"),
        *("x-cluster-client-ip", "fastly-client-ip", "x-vercel-forwarded-for", "x-original-forwarded-for", "x-azure-clientip"),
        *("x-envoy-external-address", "x-remote-addr", "x-forwarded-host", "x-original-url", "x-middleware-subrequest"),
    ),
    "203.0.113.66",
)


@pytest.fixture(scope="module")
def acl(built: Built) -> dict[str, Any]:
    """Production's web ACL in which the managed groups only count: they must not hide a hole in our own rules."""
    (found,) = built.resources("AWS::WAFv2::WebACL", "CarmenProdEdgeGlobal").values()
    acl: dict[str, Any] = copy.deepcopy(found["Properties"])
    for rule in acl["Rules"]:
        if group := rule["Statement"].get("ManagedRuleGroupStatement"):
            rules = waf.MANAGED[group["Name"]][1]
            group["RuleActionOverrides"] = [{"Name": one.name, "ActionToUse": {"Count": {}}} for one in rules]
    return acl


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


def holes(acl: dict[str, Any], method: str, path: str, routed: str) -> list[str]:
    """What escapes the rules for this request, which Next.js answers by the route `routed`."""
    asked = waf.Request(path, method, headers=BROWSER)
    attacked = replace(asked, sets=frozenset({"AttackMode"}))
    is_dynamic = routed in ("auth", "api", "upload") or (routed.startswith("page:") and routed not in STATIC)
    large = replace(asked, headers=BROWSER | {"content-length": "25000000"})
    expected = {
        "sign-in limit": (routed == "auth" and method == "POST", replace(asked, recent=101)),
        "API limit": (routed in ("auth", "api", "upload"), replace(asked, recent=1001)),
        "site limit": (is_dynamic, replace(asked, recent=3001)),
        "attack mode's limit": (is_dynamic, replace(attacked, recent=301)),
        "challenge": (is_dynamic and routed.startswith("page:"), attacked),
        "size of bodies": (is_dynamic and routed != "upload" and method == "POST", large),
        "attacks in bodies": (is_dynamic and routed != "upload" and method == "POST", replace(asked, body="../../etc/passwd")),
    }
    return [name for name, (applies, request) in expected.items() if applies and waf.evaluate(acl, request).action == "Allow"]


@pytest.mark.parametrize(("method", "path"), [(method, path) for path, answers in RECORDED.items() for method in answers])
def test_rules_apply_to_what_next_js_routes(acl: dict[str, Any], method: str, path: str) -> None:
    assert holes(acl, method, path, RECORDED[path][method]) == []


def test_attacks_of_november_2026_are_blocked(built: Built) -> None:
    (found,) = built.resources("AWS::WAFv2::WebACL", "CarmenProdEdgeGlobal").values()
    guess = "/api/auth/callback/credentials/..%2f.%2f..%2f.%2f..%2f.%2f..%2fimages%2fx"
    attacks = [
        waf.Request("/x/..%2fimages%2fx", headers=BROWSER, recent=3001),
        waf.Request("/x/..%2fimages%2fx", headers=BROWSER, sets=frozenset({"AttackMode"})),
        waf.Request(guess, "POST", headers=BROWSER, recent=101),
        waf.Request("/api/orders/..%2fupload%2fx", "POST", headers=BROWSER | {"content-length": "25000000"}),
    ]
    assert [waf.evaluate(found["Properties"], one).rule for one in attacks] == ["ParentReference"] * 4


def test_normal_requests_keep_their_exemptions(acl: dict[str, Any]) -> None:
    """Static files are not counted and uploads may be large; a name that only contains dots is no parent reference."""
    for path in ("/images/a.svg", "/_next/static/chunks/a..b.js", "/images/...png", "/images/a%20b.svg"):
        assert waf.evaluate(acl, waf.Request(path, headers=BROWSER, recent=10**6)).action == "Allow"
    for path in ("/api/upload", "/api/upload/avatars/7"):
        large = waf.Request(path, "POST", headers=BROWSER | {"content-length": "25000000"})
        assert waf.evaluate(acl, large).action == "Allow"


def test_exemption_holds_by_itself(acl: dict[str, Any]) -> None:
    """Without `all_firewall_rules`, as in development, no rule blocks these paths."""
    acl = {**acl, "Rules": [rule for rule in acl["Rules"] if rule["Name"] in ("RateSite", "Common", "BodyAttacks")]}
    for path in ("/images/a%2fb/../../dashboard", "/images/a%2fb/%2e%2e/%2e%2e/dashboard", "/x/..%2fimages%2fx", "/images%2fx"):
        assert waf.evaluate(acl, waf.Request(path, headers=BROWSER, recent=3001)).rule == "RateSite"
    hidden = waf.Request("/api/upload/%2e%2e/orders", "POST", headers=BROWSER, body="../../etc/passwd")
    assert waf.evaluate(acl, hidden).rule == "BodyAttacks"


def test_rewrite_cannot_bypass_the_sign_in_limit() -> None:
    """WAF reads a path before the viewer function rewrites it."""
    with pytest.raises(SettingsError, match="the limit on sign-ins would not apply"):
        validated({"edge": {"rewrites": [{"source": "/start", "destination": "/api/auth/callback/credentials"}]}}, "prod")


def test_application_sees_only_the_viewers_address(built: Built, runtime: Runtime) -> None:
    """The manual's limiter counts by X-Forwarded-For (manual, "Rate Limiting"): a forged one must not make another client."""
    distribution = Distribution(built.templates["CarmenProdEdge"])
    seen = [_at_application(built, distribution, runtime, headers) for headers in ({}, FORGED, {"x-forwarded-for": "10.0.0.1, ::1"})]
    for headers in seen:
        assert {one.strip() for one in headers["x-forwarded-for"].split(",")} == {VIEWER}
        assert not FORGED.keys() - {"x-forwarded-for"} & headers.keys()
    assert len({headers["x-forwarded-for"] for headers in seen}) == 1


def _at_application(built: Built, distribution: Distribution, runtime: Runtime, headers: dict[str, str]) -> dict[str, str]:
    """Headers behind CloudFront and the load balancer.

    Source of the modes: Elastic Load Balancing, Application Load Balancers, "X-Forwarded headers": `append`, the default, adds the address
    of the caller, here one of CloudFront's; `preserve` leaves the header unchanged.
    """
    forwarded = distribution.forward(runtime, Request("/api/orders", headers=BROWSER | headers))
    assert isinstance(forwarded, OriginRequest)
    (balancer,) = built.resources("AWS::ElasticLoadBalancingV2::LoadBalancer", "CarmenProdEdge").values()
    attributes = {one["Key"]: one["Value"] for one in balancer["Properties"]["LoadBalancerAttributes"]}
    found = dict(forwarded.seen.headers)
    if attributes.get("routing.http.xff_header_processing.mode", "append") == "append":
        found["x-forwarded-for"] += ", 10.0.3.17"
    return found


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    with Application() as application:
        yield application


@pytest.mark.long
def test_recorded_routes_are_those_of_next_js(application: Application) -> None:
    found = {path: {method: application.route(method, path) for method in answers} for path, answers in RECORDED.items()}
    assert found == RECORDED


SEPARATORS = ("/", "//", "\\", "%2f", "%2F", "%5c", "%252f", "/./", ";/", "/%2e/")
PARTS = ("api", "auth", "callback", "credentials", "upload", "images", "_next", "static", "x", "a.svg", "dashboard", "", ".", "..", "...",
         "%2e", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..;", ";", "..%00", "API", "Images", "%61pi", "%61uth", "%69mages", "%75pload",
         "%2561pi", "%c0%ae%c0%ae", "%20", "%09", "a%2fb")  # fmt: skip
STARTS = ("/api/auth/callback/credentials", "/api/auth", "/api/upload", "/images", "/_next/static", "/x", "")
# /x, so that the first folder of a page is not always a static one
PATHS = st.builds(
    lambda start, parts: (start + "".join(map("".join, parts))) or "/",
    st.sampled_from(STARTS),
    st.lists(st.tuples(st.sampled_from(SEPARATORS), st.sampled_from(PARTS)), max_size=7),
).map(lambda path: path if path.startswith("/") else f"/{path}")


@pytest.mark.long
def test_no_path_escapes_a_rule(acl: dict[str, Any], built: Built, runtime: Runtime, application: Application) -> None:
    """10,000 paths through the viewer function, Next.js's own router, and the model of WAF."""
    distribution = Distribution(built.templates["CarmenProdEdge"])
    routes: set[str] = set()

    @settings(max_examples=10_000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(path=PATHS, method=st.sampled_from(["GET", "POST"]))
    def holds(path: str, method: str) -> None:
        forwarded = distribution.forward(runtime, Request(path, method, BROWSER))
        if isinstance(forwarded, OriginRequest):
            routed = application.route(method, forwarded.seen.target)
            routes.add(routed)
            assert holes(acl, method, path, routed) == []

    holds()
    assert {"auth", "api", "upload", "page:images", "page:x"} <= routes
