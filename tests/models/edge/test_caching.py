"""What CloudFront keeps, for whom, under which key: a table of Next.js requests, and that nobody gets what was made for another."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Built
from tests.models.edge.cloudfront import Answer, Asked, Distribution, Outcome, Request
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
    """A request, what the origin answers, and what comes of it; `origin` is what the origin learns of the asker."""

    name: str
    request: Request
    answer: Answer
    seconds: int
    key: tuple[str, ...] = ()  # looked at when something is kept
    origin: str = "nothing"  # "cookie", "authorization", both, "nothing", or "not asked"
    status: int = 200
    bucket: Answer | None = None  # of a static path: what S3 answers first; that it may not be read, or is not there (403), without one

    def __str__(self) -> str:
        return self.name


def _get(target: str, cookie: str = SESSION, **headers: str) -> Request:
    return Request(target, "GET", BROWSER | headers, cookie)


def _sent(method: str, target: str, **headers: str) -> Request:
    return Request(target, method, BROWSER | headers, SESSION)


TABLE = [
    # HTML, RSC payloads and data: never kept, everything passed on
    Row("page with a session", _get("/dashboard"), Answer(200, PAGE), 0, origin="cookie"),
    Row("page that says public", _get("/dashboard"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("page that sets a cookie and says public", _get("/"), Answer(200, PUBLIC | {"set-cookie": "s=1"}), 0, origin="cookie"),
    Row("page that says nothing", _get("/"), Answer(200), 0, origin="cookie"),
    Row("page without a session", _get("/login", cookie=""), Answer(200, {"cache-control": "s-maxage=31536000"}), 0),
    Row("page behind HTTP authentication", _get("/docs", cookie="", authorization="Basic dTpw"), Answer(200), 0, origin="authorization"),
    Row("RSC payload", _get("/dashboard?_rsc=1a2b", rsc="1"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("prefetch", _get("/dashboard?_rsc=1a2b", **{"next-router-prefetch": "1"}), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("_next/data", _get("/_next/data/Xk2/dashboard.json"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("middleware's redirect to the login", _get("/dashboard", cookie=""), Answer(307, PUBLIC), 0, status=307),
    Row("server action", _sent("POST", "/dashboard", **{"next-action": "40a1"}), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("HEAD of a page", _sent("HEAD", "/dashboard"), Answer(200, PUBLIC), 0, origin="cookie"),
    # API
    Row("API with a token", _get("/api/orders", cookie="", authorization="Bearer a"), Answer(200, PUBLIC), 0, origin="authorization"),
    Row("API with both", _get("/api/orders", authorization="Bearer a"), Answer(200, PUBLIC), 0, origin="cookie authorization"),
    Row("API, a change", _sent("PATCH", "/api/orders/1"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("API, a deletion", _sent("DELETE", "/api/orders/1", authorization="Bearer a"), Answer(200), 0, origin="cookie authorization"),
    Row("API, preflight", _sent("OPTIONS", "/api/orders", origin="https://x.example"), Answer(204, PUBLIC), 0, origin="cookie", status=204),
    Row("upload", _sent("PUT", "/api/upload"), Answer(200), 0, origin="cookie"),
    Row("session of next-auth", _get("/api/auth/session"), Answer(200), 0, origin="cookie"),
    Row("TRACE", _sent("TRACE", "/dashboard"), Answer(200), 0, origin="not asked", status=403),
    # Static files: a year, without anybody's cookie, whatever the origin says
    Row("script", _get("/_next/static/chunks/a.js"), Answer(200, PUBLIC), YEAR, ("/_next/static/chunks/a.js", BR)),
    Row("script for a client without brotli", _get("/_next/static/a.js", **{"accept-encoding": "gzip"}), Answer(200), YEAR,
        ("/_next/static/a.js", "accept-encoding: gzip")),
    Row("script for a client without encodings", _get("/_next/static/a.js", **{"accept-encoding": "identity"}), Answer(200), YEAR,
        ("/_next/static/a.js",)),
    # Files of releases: the bucket first, then the application, whose answer counts when the bucket has none (ADR 0019)
    Row("script of an old release", _get(CHUNK), Answer(404), YEAR, (CHUNK, BR), bucket=Answer(200, PUBLIC)),
    Row("script of a new release while an old task answers", _get(CHUNK), Answer(404), YEAR, (CHUNK, BR), bucket=Answer(200, PUBLIC)),
    Row("script while no task answers", _get(CHUNK), Answer(502), YEAR, (CHUNK, BR), bucket=Answer(200, PUBLIC)),
    Row("script that no release has", _get(CHUNK), Answer(404), 0, status=404),
    Row("script that no release has, marked immutable", _get(CHUNK), Answer(404, PUBLIC), YEAR, (CHUNK, BR), status=404),
    Row("script that is nowhere while no task answers", _get(CHUNK), Answer(504), 5, (CHUNK, BR), status=504),
    *(Row(f"script while the bucket answers {status}", _get(CHUNK), Answer(200, PUBLIC), YEAR, (CHUNK, BR), bucket=Answer(status))
      for status in (403, 404, 500, 502, 503, 504)),
    Row("script whose query would choose the answer's headers", _get(CHUNK + "?response-content-type=text%2Fhtml"), Answer(404), YEAR,
        (CHUNK, BR), bucket=Answer(200, PUBLIC)),
    Row("part of a script that is not so long", _get(CHUNK, range="bytes=900-"), Answer(200), 0, status=416, bucket=Answer(416)),
    Row("HEAD of a script", _sent("HEAD", CHUNK), Answer(404), YEAR, (CHUNK, BR), bucket=Answer(200, PUBLIC)),
    Row("OPTIONS of a script", _sent("OPTIONS", CHUNK), Answer(204), 0, status=204, bucket=Answer(403)),
    Row("POST to a script", _sent("POST", CHUNK), Answer(200), 0, origin="not asked", status=403, bucket=Answer(200)),
    Row("script of a page with a parameter", _get(PARAMETER), Answer(404), YEAR, (PARAMETER, BR), bucket=Answer(200, PUBLIC)),
    Row("picture, Next.js says max-age=0", _get("/images/a.png"), Answer(200, {"cache-control": "public, max-age=0"}), YEAR,
        ("/images/a.png", BR)),
    Row("picture that says private", _get("/images/a.png"), Answer(200, PAGE), YEAR, ("/images/a.png", BR)),
    Row("picture that sets a cookie", _get("/images/a.png"), Answer(200, {"set-cookie": "s=1"}), YEAR, ("/images/a.png", BR)),
    Row("picture asked with a token", _get("/images/a.png", authorization="Bearer a"), Answer(200), YEAR, ("/images/a.png", BR)),
    Row("picture with a version", _get("/images/a.png?v=2&b=1"), Answer(200), YEAR, ("/images/a.png?v=2&b=1", BR)),
    Row("picture asked with poisonous headers", _get("/images/a.png", **{"x-forwarded-host": "evil.example", "rsc": "1"}), Answer(200), YEAR,
        ("/images/a.png", BR)),
    Row("HEAD of a picture", _sent("HEAD", "/images/a.png"), Answer(200), YEAR, ("/images/a.png", BR)),
    Row("OPTIONS of a picture", _sent("OPTIONS", "/images/a.png"), Answer(204, PUBLIC), 0, status=204),
    Row("POST to a picture", _sent("POST", "/images/a.png"), Answer(200), 0, origin="not asked", status=403),
    Row("picture that is not there", _get("/images/no.png"), Answer(404), 0, status=404),
    # ADR 0010: so the application must not mark these paths itself
    Row("picture that is not there, marked immutable", _get("/images/no.png"), Answer(404, PUBLIC), YEAR, ("/images/no.png", BR), status=404),
    # Paths that only look static, and that only look dynamic
    Row("another case", _get("/Images/a.png"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("the folder without a slash", _get("/images"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("static in the middle", _get("/app/_next/static/a.js"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("static as a query", _get("/dashboard?x=/images/a.png"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("an extension behind a page", _get("/dashboard/a.css"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out of images", _get("/images/../api/orders"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out, escaped", _get("/images/%2e%2e/api/orders"), Answer(200, PUBLIC), 0, origin="cookie"),
    Row("climbing out, slash escaped", _get("/images/..%2fapi%2forders"), Answer(200), YEAR, ("/images/..%2fapi%2forders", BR)),
    Row("climbing in", _get("/api/orders/../../images/a.png"), Answer(200), YEAR, ("/api/orders/../../images/a.png", BR)),
    Row("two slashes", _get("//images//a.png"), Answer(200), YEAR, ("//images//a.png", BR)),
    # Image optimiser: by url, w, q and one of three forms of Accept; private pictures stay out
    Row("image", _get(IMAGE), Answer(200, {"cache-control": "public, max-age=14400"}), 14_400, (IMAGE, AVIF)),
    Row("image with more of a query", _get(IMAGE + "&token=1&x=2"), Answer(200, {"cache-control": "max-age=60"}), 60, (IMAGE, AVIF)),
    Row("image for an older browser", _get(IMAGE, accept="image/webp,*/*"), Answer(200), 60, (IMAGE, WEBP)),
    Row("image for ever", _get(IMAGE), Answer(200, PUBLIC), DAY, (IMAGE, AVIF)),
    Row("image that may not be kept", _get(IMAGE), Answer(200, {"cache-control": "private, max-age=600"}), 0),
    Row("image asked with a token", _get(IMAGE, authorization="Bearer a"), Answer(200), 60, (IMAGE, AVIF)),
    Row("image refused", _get("/_next/image?url=http://10.0.0.1/"), Answer(400, {"cache-control": "max-age=600"}), 600,
        ("/_next/image?url=http://10.0.0.1/", AVIF), status=400),
    # Errors, for which CloudFront has rules of its own: the application's are not kept
    *(Row(f"{status} to a session", _get("/orders/17"), Answer(status, headers), 0, origin="cookie", status=status)
      for status in (400, 401, 403, 404, 405, 409, 410, 414, 429, 500, 501, 503) for headers in (PAGE, PUBLIC)),
    *(Row(f"{status}: a page of our own, five seconds", _get("/orders/17"), Answer(status, PUBLIC), 5, ("/orders/17",), "cookie", status)
      for status in (502, 504)),
    Row("the page itself", _get("/errors/unavailable.html"), Answer(200, {"cache-control": "public, max-age=60"}), 60,
        ("/errors/unavailable.html", BR)),
    # Answered at the edge
    Row("redirect", _get("/dashboard/?a=1"), Answer(200, PUBLIC), 0, origin="not asked", status=308),
    Row("a URL too long", _get("/images/" + "a" * 8200), Answer(200), 0, origin="not asked", status=413),
    Row("a flood of headers", Request("/", headers={f"x-{n}": "v" * 50 for n in range(400)}), Answer(200), 0, origin="not asked", status=413),
]  # fmt: skip


def _wrong(template: dict[str, Any], runtime: Runtime, row: Row) -> str:
    """What differs from the row; empty when nothing does."""
    distribution = Distribution(template)
    asked = distribution.ask(runtime, row.request)
    outcome = asked if isinstance(asked, Outcome) else distribution.answer(asked, row.answer, row.bucket)
    learnt = "not asked" if isinstance(asked, Outcome) else " ".join(asked.known) or "nothing"
    key = asked.key if isinstance(asked, Asked) and outcome.seconds else ()
    found, wanted = (outcome.status, outcome.seconds, key, learnt), (row.status, row.seconds, row.key, row.origin)
    return "" if found == wanted else f"{row.name}: {found} instead of {wanted}"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_request_is_kept_or_not_under_its_key(built: Built, runtime: Runtime, row: Row) -> None:
    assert _wrong(built.templates[STACK], runtime, row) == ""


PATHS = sorted({row.request.target for row in TABLE if len(row.request.target) < 200})
STATUSES = (200, 203, 206, 301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 414, 422, 429, 500, 501, 502, 503, 504)
WITHOUT_A_SETTING = (412, 415)  # kept ten seconds when the application adds max-age; CloudFront offers no setting (ADR 0007)
CACHE_CONTROLS = ("", PAGE["cache-control"], PUBLIC["cache-control"], "max-age=600", "no-cache")


def _shared(template: dict[str, Any], runtime: Runtime, statuses: tuple[int, ...] = STATUSES) -> list[str]:
    """Answers that the origin made knowing who asks, and that CloudFront keeps for others."""
    distribution = Distribution(template)
    found = []
    for path, method in itertools.product(PATHS, ("GET", "HEAD", "POST", "OPTIONS")):
        for request in (Request(path, method, BROWSER, SESSION), Request(path, method, BROWSER | {"authorization": "Bearer alice"})):
            asked = distribution.ask(runtime, request)
            for status, cache_control in itertools.product(statuses, CACHE_CONTROLS):
                if isinstance(asked, Outcome):
                    break
                answer = Answer(status, {"cache-control": cache_control, "set-cookie": "session=alice"}, "made for Alice")
                outcome = distribution.answer(asked, answer)
                personal = outcome.body == answer.body and (asked.known or "set-cookie" in outcome.headers)
                if outcome.seconds and personal:
                    found.append(f"{method} {path} {status} {cache_control}")
    return found


def test_no_answer_made_for_somebody_is_ever_kept(built: Built, with_rules: Built, runtime: Runtime) -> None:
    for one in (built, with_rules):
        assert _shared(one.templates[STACK], runtime) == []


def test_what_cloudfront_keeps_without_a_setting_is_known(built: Built, runtime: Runtime) -> None:
    kept = _shared(built.templates[STACK], runtime, WITHOUT_A_SETTING)
    assert {found.split(" ", 3)[2] for found in kept} == {"412", "415"}
    assert all("max-age" in found for found in kept)


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
def test_a_mistake_that_shares_an_answer_is_found(built: Built, runtime: Runtime, mistake: Callable[[dict[str, Any]], None]) -> None:
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
    ("mistake", "red"),
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
def test_a_mistake_turns_its_row_red(built: Built, runtime: Runtime, mistake: Callable[[dict[str, Any]], None], red: str) -> None:
    template = copy.deepcopy(built.templates[STACK])
    mistake(template)
    (row,) = [row for row in TABLE if row.name == red]
    assert _wrong(template, runtime, row) != ""
