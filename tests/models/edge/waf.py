"""A model of AWS WAF: evaluates a request with the synthesized web ACL. Unknown statements are errors.

Statements, transformations and rates are those of the AWS WAF Developer Guide ("Rule statement basics", "Text transformations",
"Rate-based rule statement"). Rules of managed groups are modelled by the examples that AWS publishes ("Baseline rule
groups", "Use-case specific rule groups", "IP reputation rule groups"): AWS's real patterns match more and are not published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

INSPECTED_BODY = 16 * 1024  # the default of a CloudFront web ACL; the rest is not inspected ("Continue")


@dataclass(frozen=True)
class Request:
    """A request as WAF sees it. `recent`: the number of such requests by this address within the window."""

    path: str
    method: str = "GET"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    recent: int = 1
    bad_reputation: bool = False
    sets: frozenset[str] = frozenset()  # IP sets with the sender: Blocked, AttackMode

    @property
    def cookie(self) -> str:
        return self.headers.get("cookie", "")

    @property
    def inspected_body(self) -> str:
        return self.body[:INSPECTED_BODY]


@dataclass
class Verdict:
    """The action, the rule that took it (in a group: `Group/Rule`), and the rules that counted."""

    action: str = "Allow"
    rule: str = ""
    counted: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def evaluate(acl: dict[str, Any], request: Request) -> Verdict:
    """Apply rules by priority until one blocks."""
    verdict = Verdict(action=next(iter(acl["DefaultAction"])).capitalize())
    for rule in sorted(acl["Rules"], key=lambda rule: int(rule["Priority"])):
        if group := rule["Statement"].get("ManagedRuleGroupStatement"):
            if rule["OverrideAction"] != {"None": {}}:
                raise NotImplementedError(f"override action of {rule['Name']}")
            _managed(rule["Name"], group, request, verdict)
        elif _matches(rule["Statement"], request, verdict.labels):
            _apply(next(iter(rule["Action"])), rule["Name"], verdict)
        if verdict.rule:
            break
    return verdict


def _apply(action: str, rule: str, verdict: Verdict) -> None:
    match action:
        case "Block" | "Challenge":
            verdict.action, verdict.rule = action, rule
        case "Count":
            verdict.counted.append(rule)
        case other:
            raise NotImplementedError(other)


def _managed(name: str, group: dict[str, Any], request: Request, verdict: Verdict) -> None:
    if group.keys() - {"Name", "VendorName", "RuleActionOverrides"}:
        raise NotImplementedError(f"{sorted(group)}")
    prefix, rules = MANAGED[group["Name"]]
    overrides = {one["Name"]: next(iter(one["ActionToUse"])) for one in group.get("RuleActionOverrides", [])}
    for rule in rules:
        if rule.matches(request):
            verdict.labels.add(f"awswaf:managed:aws:{prefix}:{rule.label}")
            _apply(overrides.get(rule.name, rule.action), f"{name}/{rule.name}", verdict)
            if verdict.rule:
                return


def _matches(statement: dict[str, Any], request: Request, labels: set[str]) -> bool:
    ((kind, content),) = statement.items()
    match kind:
        case "AndStatement":
            return all(_matches(one, request, labels) for one in content["Statements"])
        case "OrStatement":
            return any(_matches(one, request, labels) for one in content["Statements"])
        case "NotStatement":
            return not _matches(content["Statement"], request, labels)
        case "IPSetReferenceStatement":
            return any(name in str(content["Arn"]) for name in request.sets)
        case "LabelMatchStatement" if content["Scope"] == "LABEL":
            return content["Key"] in labels
        case "ByteMatchStatement":
            value = _transformed(_field(content["FieldToMatch"], request), content)
            compare: dict[str, Callable[[str, str], bool]] = {
                "STARTS_WITH": str.startswith,
                "EXACTLY": str.__eq__,
                "ENDS_WITH": str.endswith,
                "CONTAINS": str.__contains__,
            }
            return value is not None and bool(compare[content["PositionalConstraint"]](value, content["SearchString"]))
        case "RegexMatchStatement":
            value = _transformed(_field(content["FieldToMatch"], request), content)
            return value is not None and bool(re.search(content["RegexString"], value))
        case "SizeConstraintStatement":
            value = _transformed(_field(content["FieldToMatch"], request), content)
            sizes: dict[str, Callable[[int, int], bool]] = {"GT": int.__gt__, "GE": int.__ge__, "LT": int.__lt__, "LE": int.__le__}
            return value is not None and sizes[content["ComparisonOperator"]](len(value), content["Size"])
        case "RateBasedStatement" if content["AggregateKeyType"] == "IP":
            return request.recent > content["Limit"] and _matches(content["ScopeDownStatement"], request, labels)
        case other:
            raise NotImplementedError(other)


def _field(selector: dict[str, Any], request: Request) -> str | None:
    """Return a part of the request; None, which matches nothing, if it is missing."""
    ((kind, content),) = selector.items()
    match kind:
        case "UriPath":
            return request.path
        case "Method":
            return request.method
        case "SingleHeader":
            return request.headers.get(content["Name"].lower())
        case other:
            raise NotImplementedError(other)


def _transformed(value: str | None, statement: dict[str, Any]) -> str | None:
    if value is None:
        return None
    for one in sorted(statement["TextTransformations"], key=lambda one: int(one["Priority"])):
        match one["Type"]:
            case "NONE":
                pass
            case "URL_DECODE":
                value = unquote(value, encoding="latin-1")
            case "NORMALIZE_PATH":
                value = _normalized(value)
            case "LOWERCASE":
                value = value.lower()
            case other:
                raise NotImplementedError(other)
    return value


def _normalized(path: str) -> str:
    """Remove multiple slashes, self-references and back-references, except at the beginning."""
    path = re.sub(r"/+", "/", path)
    while (shorter := re.sub(r"/\.(?=/|$)", "", path)) != path:
        path = shorter
    while (shorter := re.sub(r"/(?!\.\./)[^/]+/\.\.(?=/|$)", "", path, count=1)) != path:
        path = shorter
    return path or "/"


@dataclass(frozen=True)
class Managed:
    """One published rule: name, label, condition and default action."""

    name: str
    label: str
    matches: Callable[[Request], bool]
    action: str = "Block"


def _contains(pattern: str, *parts: Callable[[Request], str]) -> Callable[[Request], bool]:
    """Return whether a pattern occurs in a part of the request, decoded or not."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda request: any(compiled.search(text) for part in parts for text in (part(request), unquote(part(request))))


def _path(request: Request) -> str:
    return request.path


def _query(request: Request) -> str:
    return request.query.replace("+", " ")


def _body(request: Request) -> str:
    return request.inspected_body


def _cookies(request: Request) -> str:
    return request.cookie[:8192]


def _headers(request: Request) -> str:
    return "\n".join(f"{name}: {value}" for name, value in request.headers.items())[:8192]


METADATA = r"169\.254\.169\.254"
TRAVERSAL = r"\.\./\.\./"
EXTENSION = r"\.(log|ini)\b"
INCLUSION = r"(https?|ftps?|file)://\d+\.\d+\.\d+\.\d+"
SCRIPT = r"<script\b"
INJECTION = r"'\s*or\s+'?1'?\s*=\s*'?1|\bunion\s+(all\s+)?select\b|;\s*drop\s+table\b"
LOG4J = r"\$\{jndi:"
DESERIALIZATION = r"java\.lang\.Runtime"

MANAGED: dict[str, tuple[str, list[Managed]]] = {
    "AWSManagedRulesAmazonIpReputationList": (
        "amazon-ip-list",
        [Managed("AWSManagedIPReputationList", "AWSManagedIPReputationList", lambda request: request.bad_reputation)],
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        "known-bad-inputs",
        [
            Managed("JavaDeserializationRCE_HEADER", "JavaDeserializationRCE_Header", _contains(DESERIALIZATION, _headers)),
            Managed("JavaDeserializationRCE_BODY", "JavaDeserializationRCE_Body", _contains(DESERIALIZATION, _body)),
            Managed("Host_localhost_HEADER", "Host_Localhost_Header", lambda request: "localhost" in request.headers.get("host", "")),
            Managed("PROPFIND_METHOD", "Propfind_Method", lambda request: request.method == "PROPFIND"),
            Managed("ExploitablePaths_URIPATH", "ExploitablePaths_URIPath", _contains(r"/web-inf\b", _path)),
            Managed("Log4JRCE_HEADER", "Log4JRCE_Header", _contains(LOG4J, _headers)),
            Managed("Log4JRCE_QUERYSTRING", "Log4JRCE_QueryString", _contains(LOG4J, _query)),
            Managed("Log4JRCE_BODY", "Log4JRCE_Body", _contains(LOG4J, _body)),
            Managed("Log4JRCE_URIPATH", "Log4JRCE_URIPath", _contains(LOG4J, _path)),
        ],
    ),
    "AWSManagedRulesCommonRuleSet": (
        "core-rule-set",
        [
            Managed("NoUserAgent_HEADER", "NoUserAgent_Header", lambda request: not request.headers.get("user-agent")),
            Managed(
                "UserAgent_BadBots_HEADER",
                "BadBots_Header",
                _contains("nessus|nmap", lambda request: request.headers.get("user-agent", "")),
            ),
            Managed("SizeRestrictions_QUERYSTRING", "SizeRestrictions_QueryString", lambda request: len(request.query) > 2048),
            Managed("SizeRestrictions_Cookie_HEADER", "SizeRestrictions_Cookie_Header", lambda request: len(request.cookie) > 10_240),
            Managed("SizeRestrictions_BODY", "SizeRestrictions_Body", lambda request: len(request.body) > 8192),
            Managed("SizeRestrictions_URIPATH", "SizeRestrictions_URIPath", lambda request: len(request.path) > 1024),
            Managed("EC2MetaDataSSRF_BODY", "EC2MetaDataSSRF_Body", _contains(METADATA, _body)),
            Managed("EC2MetaDataSSRF_COOKIE", "EC2MetaDataSSRF_Cookie", _contains(METADATA, _cookies)),
            Managed("EC2MetaDataSSRF_URIPATH", "EC2MetaDataSSRF_URIPath", _contains(METADATA, _path)),
            Managed("EC2MetaDataSSRF_QUERYARGUMENTS", "EC2MetaDataSSRF_QueryArguments", _contains(METADATA, _query)),
            Managed("GenericLFI_QUERYARGUMENTS", "GenericLFI_QueryArguments", _contains(TRAVERSAL, _query)),
            Managed("GenericLFI_URIPATH", "GenericLFI_URIPath", _contains(TRAVERSAL, _path)),
            Managed("GenericLFI_BODY", "GenericLFI_Body", _contains(TRAVERSAL, _body)),
            Managed("RestrictedExtensions_URIPATH", "RestrictedExtensions_URIPath", _contains(EXTENSION, _path)),
            Managed("RestrictedExtensions_QUERYARGUMENTS", "RestrictedExtensions_QueryArguments", _contains(EXTENSION, _query)),
            Managed("GenericRFI_QUERYARGUMENTS", "GenericRFI_QueryArguments", _contains(INCLUSION, _query)),
            Managed("GenericRFI_BODY", "GenericRFI_Body", _contains(INCLUSION, _body)),
            Managed("GenericRFI_URIPATH", "GenericRFI_URIPath", _contains(INCLUSION, _path)),
            Managed("CrossSiteScripting_COOKIE", "CrossSiteScripting_Cookie", _contains(SCRIPT, _cookies)),
            Managed("CrossSiteScripting_QUERYARGUMENTS", "CrossSiteScripting_QueryArguments", _contains(SCRIPT, _query)),
            Managed("CrossSiteScripting_BODY", "CrossSiteScripting_Body", _contains(SCRIPT, _body)),
            Managed("CrossSiteScripting_URIPATH", "CrossSiteScripting_URIPath", _contains(SCRIPT, _path)),
        ],
    ),
    "AWSManagedRulesSQLiRuleSet": (
        "sql-database",
        [
            Managed("SQLi_QUERYARGUMENTS", "SQLi_QueryArguments", _contains(INJECTION, _query)),
            Managed("SQLiExtendedPatterns_QUERYARGUMENTS", "SQLiExtendedPatterns_QueryArguments", _contains(r"\bpg_sleep\(", _query)),
            Managed("SQLi_BODY", "SQLi_Body", _contains(INJECTION, _body)),
            Managed("SQLiExtendedPatterns_BODY", "SQLiExtendedPatterns_Body", _contains(r"\bpg_sleep\(", _body)),
            Managed("SQLi_COOKIE", "SQLi_Cookie", _contains(INJECTION, _cookies)),
        ],
    ),
}
