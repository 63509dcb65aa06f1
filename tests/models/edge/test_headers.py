"""The response headers, graded by Mozilla's HTTP Observatory, with the reasons for the grade.

Rules and points are those of mdn/mdn-http-observatory at commit 94042bb (src/analyzer/tests/, src/grader/charts.js), published as
"HTTP Observatory tests & scoring" on developer.mozilla.org. The package itself brings a web server, a database client and a browser,
so its rules for headers are copied here. Other inputs are assumed as Carmen has them: scripts from its own origin, HTTP redirected
to HTTPS, no CORS, and no cookie on the graded page.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import Built
from tests.models.edge.cloudfront import Distribution

STACK = "CarmenProdEdge"
Headers = dict[str, str]

BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
UNSAFE = {"'unsafe-inline'", "data:"}
POINTS = {
    "csp-implemented-with-no-unsafe-default-src-none": 10,
    "csp-implemented-with-no-unsafe": 5,
    "csp-implemented-with-unsafe-inline-in-style-src-only": 0,
    "csp-implemented-with-insecure-scheme-in-passive-content-only": -10,
    "csp-implemented-with-unsafe-eval": -10,
    "csp-implemented-with-unsafe-inline": -20,
    "csp-implemented-with-insecure-scheme": -20,
    "csp-not-implemented": -25,
    "referrer-policy-private": 5,
    "referrer-policy-not-implemented": 0,
    "referrer-policy-unsafe": -5,
    "hsts-implemented-max-age-at-least-six-months": 0,
    "hsts-implemented-max-age-less-than-six-months": -10,
    "hsts-not-implemented": -20,
    "x-content-type-options-nosniff": 0,
    "x-content-type-options-not-implemented": -5,
    "x-frame-options-implemented-via-csp": 5,
    "x-frame-options-sameorigin-or-deny": 5,
    "x-frame-options-not-implemented": -20,
    "cross-origin-opener-policy-same-origin": 10,
    "cross-origin-opener-policy-not-implemented": 0,
    "cross-origin-embedder-policy-require-corp": 10,
    "cross-origin-embedder-policy-not-implemented": 0,
    "cross-origin-resource-policy-same-origin": 10,
    "cross-origin-resource-policy-not-implemented": 0,
}
GRADES = (
    (100, "A+"),
    (90, "A"),
    (85, "A-"),
    (80, "B+"),
    (70, "B"),
    (65, "B-"),
    (60, "C+"),
    (50, "C"),
    (45, "C-"),
    (40, "D+"),
    (30, "D"),
    (25, "D-"),
)
EXTRA_FROM = 90  # bonuses count only from this score on


def graded(headers: Headers) -> tuple[int, str, set[str]]:
    """Return the score, the grade, and the results that cost points."""
    results = [_csp(headers), _frames(headers), _referrer(headers), _transport(headers), _sniffing(headers)]
    results += [
        _isolation(headers, name, best)
        for name, best in (("opener", "same-origin"), ("embedder", "require-corp"), ("resource", "same-origin"))
    ]
    points = [POINTS[result] for result in results]
    score = 100 + sum(point for point in points if point < 0)
    if score >= EXTRA_FROM:
        score = 100 + sum(points)
    return score, next((grade for least, grade in GRADES if score >= least), "F"), {r for r in results if POINTS[r] < 0}


def _policy(headers: Headers) -> dict[str, set[str]]:
    directives = [part.lower().split() for part in headers.get("content-security-policy", "").split(";") if part.strip()]
    return {name: set(sources) or {"'none'"} for name, *sources in directives}


def _csp(headers: Headers) -> str:
    policy = _policy(headers)
    if not policy:
        return "csp-not-implemented"
    default = policy.get("default-src", {"*"})
    script, style, objects = (set(policy.get(name, default)) for name in ("script-src", "style-src", "object-src"))
    for sources in (script, style):
        if any(re.match(r"'(sha(256|384|512)|nonce)-", source) for source in sources):
            sources.discard("'unsafe-inline'")
    active = script.union(*(sources for name, sources in policy.items() if name not in ("img-src", "media-src", "script-src")))
    passive = policy.get("img-src", default) | policy.get("media-src", default)
    if script & (BROAD | UNSAFE) or objects & BROAD:
        return "csp-implemented-with-unsafe-inline"
    if any(source.startswith(("http:", "ftp:")) for source in active):
        return "csp-implemented-with-insecure-scheme"
    if "'unsafe-eval'" in script | style:
        return "csp-implemented-with-unsafe-eval"
    if any(source.startswith(("http:", "ftp:")) for source in passive):
        return "csp-implemented-with-insecure-scheme-in-passive-content-only"
    if style & (BROAD | UNSAFE):
        return "csp-implemented-with-unsafe-inline-in-style-src-only"
    return "csp-implemented-with-no-unsafe" + ("-default-src-none" if policy.get("default-src") == {"'none'"} else "")


def _frames(headers: Headers) -> str:
    if "frame-ancestors" in _policy(headers):
        return "x-frame-options-implemented-via-csp"
    return "x-frame-options-" + (
        "sameorigin-or-deny" if headers.get("x-frame-options", "").lower() in ("deny", "sameorigin") else "not-implemented"
    )


def _referrer(headers: Headers) -> str:
    private = ("no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin")
    value = headers.get("referrer-policy")
    return "referrer-policy-" + ("not-implemented" if value is None else "private" if value in private else "unsafe")


def _transport(headers: Headers) -> str:
    found = re.search(r"max-age=(\d+)", headers.get("strict-transport-security", ""))
    if not found:
        return "hsts-not-implemented"
    return "hsts-implemented-max-age-" + ("at-least-six-months" if int(found[1]) >= 15_552_000 else "less-than-six-months")


def _sniffing(headers: Headers) -> str:
    return "x-content-type-options-" + ("nosniff" if headers.get("x-content-type-options") == "nosniff" else "not-implemented")


def _isolation(headers: Headers, name: str, best: str) -> str:
    name = f"cross-origin-{name}-policy"
    return f"{name}-{best}" if headers.get(name) == best else f"{name}-not-implemented"


@pytest.fixture
def sent(built: Built) -> Headers:
    return Distribution(built.templates[STACK]).security_headers()


def _without_unsafe(headers: Headers) -> Headers:
    """Return the policy without unsafe-inline and unsafe-eval: with nonces, the application would not need them."""
    return {"content-security-policy": re.sub(r" 'unsafe-(inline|eval)'", "", headers["content-security-policy"])}


def test_headers_are_those_of_the_manual(sent: Headers) -> None:
    assert sent == {
        "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-eval' 'unsafe-inline'; style-src 'self' 'unsafe-inline' "
        "https://fonts.googleapis.com; font-src 'self' https://fonts.gstatic.com; img-src 'self' data: https: blob:; "
        "connect-src 'self' https: wss:; frame-ancestors 'none'",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "referrer-policy": "origin-when-cross-origin",
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-xss-protection": "1; mode=block",
    }


def test_manuals_headers_get_grade_b(sent: Headers) -> None:
    assert graded(sent) == (75, "B", {"csp-implemented-with-unsafe-inline", "referrer-policy-unsafe"})


ISOLATED = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}
STRICT_REFERRER = {"referrer-policy": "strict-origin-when-cross-origin"}


def test_only_other_values_raise_the_grade(sent: Headers) -> None:
    """Bonuses count from 90 on, and the manual's policy for scripts alone takes 20."""
    assert graded(sent | ISOLATED)[:2] == (75, "B")
    assert graded(sent | STRICT_REFERRER)[:2] == (80, "B+")
    assert graded(sent | STRICT_REFERRER | ISOLATED)[:2] == (80, "B+")
    assert graded(sent | _without_unsafe(sent))[:2] == (105, "A+")
    assert graded(sent | _without_unsafe(sent) | STRICT_REFERRER | ISOLATED)[:2] == (145, "A+")


@pytest.mark.parametrize(
    ("header", "score", "grade"),
    [
        ("content-security-policy", 70, "B"),
        ("strict-transport-security", 55, "C"),
        ("x-content-type-options", 70, "B"),
        ("x-frame-options", 75, "B"),  # frame-ancestors has the same effect
        ("x-xss-protection", 75, "B"),  # browsers have dropped it; the manual wants it
        ("permissions-policy", 75, "B"),
        ("referrer-policy", 80, "B+"),
    ],
)
def test_missing_header_changes_the_grade(sent: Headers, header: str, score: int, grade: str) -> None:
    assert graded({name: value for name, value in sent.items() if name != header})[:2] == (score, grade)


def test_every_behaviour_sends_the_same_headers(built: Built) -> None:
    config: dict[str, Any] = Distribution(built.templates[STACK]).config
    policies = [behavior["ResponseHeadersPolicyId"] for behavior in (config["DefaultCacheBehavior"], *config["CacheBehaviors"])]
    assert all(policy == policies[0] for policy in policies)
    removed = Distribution(built.templates[STACK]).referred(policies[0])["ResponseHeadersPolicyConfig"]["RemoveHeadersConfig"]["Items"]
    assert {one["Header"].lower() for one in removed} == {"x-powered-by", "server"}
