"""CloudFront's caching and cache keys: a table of Next.js requests, and a proof that no user gets another user's response."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Built
from tests.models.edge.cloudfront import Distribution, OriginRequest, Outcome, Request, Response
from tests.models.edge.functions import Runtime

STACK = "CarmenProdEdge"
YEAR, DAY = 31_536_000, 86_400
SESSION = "__Secure-next-auth.session-token=alice"
PAGE = {"cache-control": "private, no-cache, no-store, max-age=0, must-revalidate", "content-type": "text/html"}
PUBLIC = {"cache-control": "public, max-age=31536000, s-maxage=31536000, immutable"}
BROWSER = {"accept-encoding": "gzip, deflate, br", "accept": "image/avif,image/webp,*/*;q=0.8", "user-agent": "Mozilla/5.0"}
IMAGE = "/_next/image?url=%2Fimages%2Fa.png&w=640&q=75"
CHUNK = "/_next/static/chunks/app/1a.js"
PARAMETER = "/_next/static/chunks/app/%5Bid%5D/page-1a.js"
AVIF, WEBP = "accept: image/avif,image/webp", "accept: image/webp"
BR = "accept-encoding: br,gzip"


@dataclass(frozen=True)
class Row:
    """A request, the origin's response, and the outcome. `origin`: what identifies the user to the origin."""

    name: str
    request: Request
    answer: Response
    seconds: int
    key: tuple[str, ...] = ()  # compared if the response is cached
    origin: str = "nothing"  # "cookie", "authorization", both, "nothing", or "not forwarded"
    status: int = 200
    bucket: Response | None = None  # S3's response for a static path; 403 (missing, or not readable) by default

    def __str__(self) -> str:
        return self.name


def _get(target: str, cookie: str = SESSION, **headers: str) -> Request:
    return Request(target, "GET", BROWSER | headers, cookie)


def _sent(method: str, target: str, **headers: str) -> Request:
    return Request(target, method, BROWSER | headers, SESSION)


TABLE = [
    # HTML, RSC payloads and data: never cached, everything forwarded
    Row("page with a session", _get("/dashboard"), Response(200, PAGE), 0, origin="cookie"),
    Row("page that says public", _get("/dashboard"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("page that sets a cookie and says public", _get("/"), Response(200, PUBLIC | {"set-cookie": "s=1"}), 0, origin="cookie"),
    Row("page that says nothing", _get("/"), Response(200), 0, origin="cookie"),
    Row("page without a session", _get("/login", cookie=""), Response(200, {"cache-control": "s-maxage=31536000"}), 0),
    Row("page behind HTTP authentication", _get("/docs", cookie="", authorization="Basic dTpw"), Response(200), 0, origin="authorization"),
    Row("RSC payload", _get("/dashboard?_rsc=1a2b", rsc="1"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("prefetch", _get("/dashboard?_rsc=1a2b", **{"next-router-prefetch": "1"}), Response(200, PUBLIC), 0, origin="cookie"),
    Row("_next/data", _get("/_next/data/Xk2/dashboard.json"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("middleware's redirect to the login", _get("/dashboard", cookie=""), Response(307, PUBLIC), 0, status=307),
    Row("server action", _sent("POST", "/dashboard", **{"next-action": "40a1"}), Response(200, PUBLIC), 0, origin="cookie"),
    Row("HEAD of a page", _sent("HEAD", "/dashboard"), Response(200, PUBLIC), 0, origin="cookie"),
    # API
    Row("API with a token", _get("/api/orders", cookie="", authorization="Bearer a"), Response(200, PUBLIC), 0, origin="authorization"),
    Row("API with both", _get("/api/orders", authorization="Bearer a"), Response(200, PUBLIC), 0, origin="cookie authorization"),
    Row("API, a change", _sent("PATCH", "/api/orders/1"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("API, a deletion", _sent("DELETE", "/api/orders/1", authorization="Bearer a"), Response(200), 0, origin="cookie authorization"),
    Row("API, preflight", _sent("OPTIONS", "/api/orders", origin="https://x.example"), Response(204, PUBLIC), 0, origin="cookie", status=204),
    Row("upload", _sent("PUT", "/api/upload"), Response(200), 0, origin="cookie"),
    Row("session of next-auth", _get("/api/auth/session"), Response(200), 0, origin="cookie"),
    Row("TRACE", _sent("TRACE", "/dashboard"), Response(200), 0, origin="not forwarded", status=403),
    # Static files: cached for a year, without cookies, whatever the origin's headers say
    Row("script", _get("/_next/static/chunks/a.js"), Response(200, PUBLIC), YEAR, ("/_next/static/chunks/a.js", BR)),
    Row("script for a client without brotli", _get("/_next/static/a.js", **{"accept-encoding": "gzip"}), Response(200), YEAR,
        ("/_next/static/a.js", "accept-encoding: gzip")),
    Row("script for a client without encodings", _get("/_next/static/a.js", **{"accept-encoding": "identity"}), Response(200), YEAR,
        ("/_next/static/a.js",)),
    # Release files: the bucket first, then the application if the bucket has no such file (ADR 0019)
    Row("script of an old release", _get(CHUNK), Response(404), YEAR, (CHUNK, BR), bucket=Response(200, PUBLIC)),
    Row("script of a new release while an old task answers", _get(CHUNK), Response(404), YEAR, (CHUNK, BR), bucket=Response(200, PUBLIC)),
    Row("script while no task answers", _get(CHUNK), Response(502), YEAR, (CHUNK, BR), bucket=Response(200, PUBLIC)),
    Row("script that no release has", _get(CHUNK), Response(404), 0, status=404),
    Row("script that no release has, marked immutable", _get(CHUNK), Response(404, PUBLIC), YEAR, (CHUNK, BR), status=404),
    Row("script that is nowhere while no task answers", _get(CHUNK), Response(504), 5, (CHUNK, BR), status=504),
    *(Row(f"script while the bucket answers {status}", _get(CHUNK), Response(200, PUBLIC), YEAR, (CHUNK, BR), bucket=Response(status))
      for status in (403, 404, 500, 502, 503, 504)),
    Row("script whose query would choose the answer's headers", _get(CHUNK + "?response-content-type=text%2Fhtml"), Response(404), YEAR,
        (CHUNK, BR), bucket=Response(200, PUBLIC)),
    Row("part of a script that is not so long", _get(CHUNK, range="bytes=900-"), Response(200), 0, status=416, bucket=Response(416)),
    Row("HEAD of a script", _sent("HEAD", CHUNK), Response(404), YEAR, (CHUNK, BR), bucket=Response(200, PUBLIC)),
    Row("OPTIONS of a script", _sent("OPTIONS", CHUNK), Response(204), 0, status=204, bucket=Response(403)),
    Row("POST to a script", _sent("POST", CHUNK), Response(200), 0, origin="not forwarded", status=403, bucket=Response(200)),
    Row("script of a page with a parameter", _get(PARAMETER), Response(404), YEAR, (PARAMETER, BR), bucket=Response(200, PUBLIC)),
    Row("picture, Next.js says max-age=0", _get("/images/a.png"), Response(200, {"cache-control": "public, max-age=0"}), YEAR,
        ("/images/a.png", BR)),
    Row("picture that says private", _get("/images/a.png"), Response(200, PAGE), YEAR, ("/images/a.png", BR)),
    Row("picture that sets a cookie", _get("/images/a.png"), Response(200, {"set-cookie": "s=1"}), YEAR, ("/images/a.png", BR)),
    Row("picture request with a token", _get("/images/a.png", authorization="Bearer a"), Response(200), YEAR, ("/images/a.png", BR)),
    Row("picture with a version", _get("/images/a.png?v=2&b=1"), Response(200), YEAR, ("/images/a.png?v=2&b=1", BR)),
    Row("picture request with poisonous headers", _get("/images/a.png", **{"x-forwarded-host": "evil.example", "rsc": "1"}), Response(200), YEAR,
        ("/images/a.png", BR)),
    Row("HEAD of a picture", _sent("HEAD", "/images/a.png"), Response(200), YEAR, ("/images/a.png", BR)),
    Row("OPTIONS of a picture", _sent("OPTIONS", "/images/a.png"), Response(204, PUBLIC), 0, status=204),
    Row("POST to a picture", _sent("POST", "/images/a.png"), Response(200), 0, origin="not forwarded", status=403),
    Row("picture that is not there", _get("/images/no.png"), Response(404), 0, status=404),
    # ADR 0010: so the application must not mark these paths itself
    Row("picture that is not there, marked immutable", _get("/images/no.png"), Response(404, PUBLIC), YEAR, ("/images/no.png", BR), status=404),
    # Paths that only look static, and that only look dynamic
    Row("another case", _get("/Images/a.png"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("the folder without a slash", _get("/images"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("static in the middle", _get("/app/_next/static/a.js"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("static as a query", _get("/dashboard?x=/images/a.png"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("an extension behind a page", _get("/dashboard/a.css"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out of images", _get("/images/../api/orders"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out, escaped", _get("/images/%2e%2e/api/orders"), Response(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out, slash escaped", _get("/images/..%2fapi%2forders"), Response(200), YEAR, ("/images/..%2fapi%2forders", BR)),
    Row("climbing in", _get("/api/orders/../../images/a.png"), Response(200), YEAR, ("/api/orders/../../images/a.png", BR)),
    Row("two slashes", _get("//images//a.png"), Response(200), YEAR, ("//images//a.png", BR)),
    # Image optimiser: by url, w, q and one of three forms of Accept; private pictures stay out
    Row("image", _get(IMAGE), Response(200, {"cache-control": "public, max-age=14400"}), 14_400, (IMAGE, AVIF)),
    Row("image with more of a query", _get(IMAGE + "&token=1&x=2"), Response(200, {"cache-control": "max-age=60"}), 60, (IMAGE, AVIF)),
    Row("image for an older browser", _get(IMAGE, accept="image/webp,*/*"), Response(200), 60, (IMAGE, WEBP)),
    Row("image for ever", _get(IMAGE), Response(200, PUBLIC), DAY, (IMAGE, AVIF)),
    Row("image that may not be kept", _get(IMAGE), Response(200, {"cache-control": "private, max-age=600"}), 0),
    Row("image request with a token", _get(IMAGE, authorization="Bearer a"), Response(200), 60, (IMAGE, AVIF)),
    Row("image refused", _get("/_next/image?url=http://10.0.0.1/"), Response(400, {"cache-control": "max-age=600"}), 600,
        ("/_next/image?url=http://10.0.0.1/", AVIF), status=400),
    # Errors, for which CloudFront has special rules: the application's are not cached
    *(Row(f"{status} to a session", _get("/orders/17"), Response(status, headers), 0, origin="cookie", status=status)
      for status in (400, 401, 403, 404, 405, 409, 410, 414, 429, 500, 501, 503) for headers in (PAGE, PUBLIC)),
    *(Row(f"{status}: a page of our own, five seconds", _get("/orders/17"), Response(status, PUBLIC), 5, ("/orders/17",), "cookie", status)
      for status in (502, 504)),
    Row("the page itself", _get("/errors/unavailable.html"), Response(200, {"cache-control": "public, max-age=60"}), 60,
        ("/errors/unavailable.html", BR)),
    # Answered at the edge
    Row("redirect", _get("/dashboard/?a=1"), Response(200, PUBLIC), 0, origin="not forwarded", status=308),
    Row("a URL too long", _get("/images/" + "a" * 8200), Response(200), 0, origin="not forwarded", status=413),
    Row("a flood of headers", Request("/", headers={f"x-{n}": "v" * 50 for n in range(400)}), Response(200), 0, origin="not forwarded", status=413),
]  # fmt: skip


def _difference(template: dict[str, Any], runtime: Runtime, row: Row) -> str:
    """Return the difference to the row, or an empty string."""
    distribution = Distribution(template)
    forwarded = distribution.forward(runtime, row.request)
    outcome = forwarded if isinstance(forwarded, Outcome) else distribution.respond(forwarded, row.answer, row.bucket)
    known = "not forwarded" if isinstance(forwarded, Outcome) else " ".join(forwarded.known) or "nothing"
    key = forwarded.key if isinstance(forwarded, OriginRequest) and outcome.seconds else ()
    found, expected = (outcome.status, outcome.seconds, key, known), (row.status, row.seconds, row.key, row.origin)
    return "" if found == expected else f"{row.name}: {found} instead of {expected}"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_request_is_cached_as_listed(built: Built, runtime: Runtime, row: Row) -> None:
    assert _difference(built.templates[STACK], runtime, row) == ""


PATHS = sorted({row.request.target for row in TABLE if len(row.request.target) < 200})
STATUSES = (200, 203, 206, 301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 414, 422, 429, 500, 501, 502, 503, 504)
WITHOUT_A_SETTING = (412, 415)  # cached ten seconds when the application adds max-age; CloudFront offers no setting (ADR 0007)
CACHE_CONTROLS = ("", PAGE["cache-control"], PUBLIC["cache-control"], "max-age=600", "no-cache")


def _shared(template: dict[str, Any], runtime: Runtime, statuses: tuple[int, ...] = STATUSES) -> list[str]:
    """Return responses that the origin made for one user and CloudFront caches for others."""
    distribution = Distribution(template)
    found = []
    for path, method in itertools.product(PATHS, ("GET", "HEAD", "POST", "OPTIONS")):
        for request in (Request(path, method, BROWSER, SESSION), Request(path, method, BROWSER | {"authorization": "Bearer alice"})):
            forwarded = distribution.forward(runtime, request)
            for status, cache_control in itertools.product(statuses, CACHE_CONTROLS):
                if isinstance(forwarded, Outcome):
                    break
                answer = Response(status, {"cache-control": cache_control, "set-cookie": "session=alice"}, "made for Alice")
                outcome = distribution.respond(forwarded, answer)
                personal = outcome.body == answer.body and (forwarded.known or "set-cookie" in outcome.headers)
                if outcome.seconds and personal:
                    found.append(f"{method} {path} {status} {cache_control}")
    return found


def test_responses_made_for_one_user_are_never_cached(built: Built, with_rules: dict[str, Any], runtime: Runtime) -> None:
    for template in (built.templates[STACK], with_rules):
        assert _shared(template, runtime) == []


def test_statuses_without_a_setting_are_cached_with_max_age(built: Built, runtime: Runtime) -> None:
    cached = _shared(built.templates[STACK], runtime, WITHOUT_A_SETTING)
    assert {found.split(" ", 3)[2] for found in cached} == {"412", "415"}
    assert all("max-age" in found for found in cached)


def _config(template: dict[str, Any], kind: str, name: str = "") -> dict[str, Any]:
    (properties,) = [
        one["Properties"]
        for logical_id, one in template["Resources"].items()
        if one["Type"] == f"AWS::CloudFront::{kind}" and name in logical_id
    ]
    found: dict[str, Any] = properties[f"{kind}Config"]
    return found


def _pages_like_static_files(template: dict[str, Any]) -> None:
    config = _config(template, "Distribution")
    config["DefaultCacheBehavior"]["CachePolicyId"] = config["CacheBehaviors"][0]["CachePolicyId"]


def _cookies_to_pictures(template: dict[str, Any]) -> None:
    config = _config(template, "Distribution")
    config["CacheBehaviors"][1]["OriginRequestPolicyId"] = config["DefaultCacheBehavior"]["OriginRequestPolicyId"]


def _errors_for_five_seconds(template: dict[str, Any]) -> None:
    next(one for one in _config(template, "Distribution")["CustomErrorResponses"] if one["ErrorCode"] == 404)["ErrorCachingMinTTL"] = 5


def _cloudfronts_default_for_501(template: dict[str, Any]) -> None:
    errors = _config(template, "Distribution")["CustomErrorResponses"]
    errors.remove(next(one for one in errors if one["ErrorCode"] == 501))


@pytest.mark.parametrize(
    "mistake", [_pages_like_static_files, _cookies_to_pictures, _errors_for_five_seconds, _cloudfronts_default_for_501]
)
def test_mistake_that_shares_a_response_is_found(built: Built, runtime: Runtime, mistake: Callable[[dict[str, Any]], None]) -> None:
    template = copy.deepcopy(built.templates[STACK])
    mistake(template)
    assert _shared(template, runtime) != []


def _all_paths_static(template: dict[str, Any]) -> None:
    _config(template, "Distribution")["CacheBehaviors"][1]["PathPattern"] = "/*"


def _origin_decides_on_pictures(template: dict[str, Any]) -> None:
    _config(template, "CachePolicy", "StaticFiles")["MinTTL"] = 0


def _images_by_path_alone(template: dict[str, Any]) -> None:
    _config(template, "CachePolicy", "Images")["ParametersInCacheKeyAndForwardedToOrigin"]["QueryStringsConfig"] = {
        "QueryStringBehavior": "none"
    }


def _application_first(template: dict[str, Any]) -> None:
    (group,) = _config(template, "Distribution")["OriginGroups"]["Items"]
    group["Members"]["Items"].reverse()


def _bucket_alone(template: dict[str, Any]) -> None:
    (group,) = _config(template, "Distribution")["OriginGroups"]["Items"]
    group["FailoverCriteria"]["StatusCodes"]["Items"].remove(403)


def _application_alone(template: dict[str, Any]) -> None:
    config = _config(template, "Distribution")
    config["CacheBehaviors"][0]["TargetOriginId"] = config["DefaultCacheBehavior"]["TargetOriginId"]


def _queries_to_the_bucket(template: dict[str, Any]) -> None:
    policy = _config(template, "CachePolicy", "ReleaseFiles")["ParametersInCacheKeyAndForwardedToOrigin"]
    policy["QueryStringsConfig"] = {"QueryStringBehavior": "all"}


def _pictures_take_everything(template: dict[str, Any]) -> None:
    _config(template, "Distribution")["CacheBehaviors"][1]["AllowedMethods"].append("POST")


@pytest.mark.parametrize(
    ("mistake", "changed_row"),
    [
        (_all_paths_static, "page without a session"),
        (_origin_decides_on_pictures, "picture, Next.js says max-age=0"),
        (_images_by_path_alone, "image with more of a query"),
        (_pictures_take_everything, "POST to a picture"),
        (_application_alone, "script of an old release"),
        (_application_first, "script that no release has"),
        (_bucket_alone, "script while the bucket answers 403"),
        (_queries_to_the_bucket, "script whose query would choose the answer's headers"),
    ],
)
def test_mistake_in_the_distribution_is_noticed(
    built: Built, runtime: Runtime, mistake: Callable[[dict[str, Any]], None], changed_row: str
) -> None:
    template = copy.deepcopy(built.templates[STACK])
    mistake(template)
    (row,) = [row for row in TABLE if row.name == changed_row]
    assert _difference(template, runtime, row) != ""
