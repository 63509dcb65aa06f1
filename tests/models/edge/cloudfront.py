"""CloudFront's handling of a request, computed from the synthesized template: behaviour, key, request to the origin, cached response.

Rules are those of AWS, CloudFront Developer Guide; each names its page. An option unknown to this model is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from settings.url_paths import normal_form
from tests.models.edge.functions import LONGEST_REQUEST, LONGEST_URL, VIEWER, Runtime, event, written

NONE = {
    "CookiesConfig": {"CookieBehavior": "none"},
    "HeadersConfig": {"HeaderBehavior": "none"},
    "QueryStringsConfig": {"QueryStringBehavior": "none"},
}
# "Use managed cache policies", "Use managed origin request policies"
MANAGED_CACHE_POLICIES: dict[str, dict[str, Any]] = {
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": {  # CachingDisabled
        **{"MinTTL": 0, "DefaultTTL": 0, "MaxTTL": 0},
        "ParametersInCacheKeyAndForwardedToOrigin": {**NONE, "EnableAcceptEncodingGzip": False, "EnableAcceptEncodingBrotli": False},
    },
    "658327ea-f89d-4fab-a63d-7e88639e58f6": {  # CachingOptimized
        **{"MinTTL": 1, "DefaultTTL": 86_400, "MaxTTL": 31_536_000},
        "ParametersInCacheKeyAndForwardedToOrigin": {**NONE, "EnableAcceptEncodingGzip": True, "EnableAcceptEncodingBrotli": True},
    },
}
MANAGED_ORIGIN_REQUEST_POLICIES: dict[str, dict[str, Any]] = {
    "216adef6-5c7f-47e4-b989-5492eafa07d3": {  # AllViewer
        "CookiesConfig": {"CookieBehavior": "all"},
        "HeadersConfig": {"HeaderBehavior": "allViewer"},
        "QueryStringsConfig": {"QueryStringBehavior": "all"},
    },
}
# "How CloudFront caches HTTP 4xx and 5xx status codes from your origin"
ERRORS_ALWAYS_KEPT = {404, 414, 500, 501, 502, 503, 504}
ERRORS_KEPT_WITH_MAX_AGE = {400, 403, 405, 412, 415}
DEFAULT_ERROR_SECONDS = 10


@dataclass(frozen=True)
class Request:
    """A viewer's request. Header names are in lower case; `cookie` is a separate field."""

    target: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookie: str = ""

    @property
    def size(self) -> int:
        return len(f"{self.method} {self.target}{self.cookie}") + sum(len(name + value) + 4 for name, value in self.headers.items())


@dataclass(frozen=True)
class Response:
    """The origin's response."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True)
class OriginRequest:
    """A request that CloudFront sends to the origin."""

    behavior: dict[str, Any]
    policy: dict[str, Any]
    key: tuple[str, ...]
    seen: Request  # as the origin sees it

    @property
    def known(self) -> list[str]:
        """The parts of the request that identify the user to the origin."""
        return [name for name, given in (("cookie", self.seen.cookie), ("authorization", "authorization" in self.seen.headers)) if given]


@dataclass(frozen=True)
class Outcome:
    """The response to the viewer, and the seconds for which CloudFront caches it under the same key."""

    status: int
    seconds: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Distribution:
    """The distribution in a template."""

    def __init__(self, template: dict[str, Any]) -> None:
        self._resources: dict[str, dict[str, Any]] = template["Resources"]
        (resource,) = [one for one in self._resources.values() if one["Type"] == "AWS::CloudFront::Distribution"]
        self.config: dict[str, Any] = resource["Properties"]["DistributionConfig"]

    def function(self, kind: str, behavior: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the function for events of `kind`: of a behaviour, or of the first behaviour that has one."""
        behaviors = [behavior] if behavior else [self.config["DefaultCacheBehavior"], *self.config["CacheBehaviors"]]
        arns = [one["FunctionARN"] for b in behaviors for one in b.get("FunctionAssociations", []) if one["EventType"] == kind]
        return self.referred(arns[0]) if arns else {}

    def code(self, kind: str) -> str:
        """Return the function's code as CloudFormation passes it."""
        return str(_joined(self.function(kind)["FunctionCode"]))

    def security_headers(self) -> dict[str, str]:
        """Return the headers that the default behaviour's response headers policy adds ("Understand response headers policies")."""
        policy = self.referred(self.config["DefaultCacheBehavior"]["ResponseHeadersPolicyId"])["ResponseHeadersPolicyConfig"]
        headers = {one["Header"].lower(): one["Value"] for one in policy.get("CustomHeadersConfig", {"Items": []})["Items"]}
        for name, value in policy["SecurityHeadersConfig"].items():
            match name:
                case "ContentSecurityPolicy":
                    headers["content-security-policy"] = value["ContentSecurityPolicy"]
                case "ContentTypeOptions":
                    headers["x-content-type-options"] = "nosniff"
                case "FrameOptions":
                    headers["x-frame-options"] = value["FrameOption"]
                case "ReferrerPolicy":
                    headers["referrer-policy"] = value["ReferrerPolicy"]
                case "StrictTransportSecurity":
                    more = [word for word, key in (("includeSubDomains", "IncludeSubdomains"), ("preload", "Preload")) if value.get(key)]
                    headers["strict-transport-security"] = "; ".join([f"max-age={value['AccessControlMaxAgeSec']}", *more])
                case "XSSProtection":
                    headers["x-xss-protection"] = "1; mode=block" if value["ModeBlock"] else "1"
                case other:
                    raise NotImplementedError(other)
        return headers

    def forward(self, runtime: Runtime, request: Request) -> OriginRequest | Outcome:
        """Apply limits, behaviour, viewer function and cache key; return the origin request, or CloudFront's own response."""
        # "Request and response behavior for custom origins", Maximum length of a request and maximum length of a URL
        if len(request.target) > LONGEST_URL or request.size > LONGEST_REQUEST:
            return Outcome(413)
        behavior = self._behavior(request.target.partition("?")[0])
        if request.method not in behavior.get("AllowedMethods", ["GET", "HEAD"]):
            return Outcome(403)
        # A function changes the request, not its behaviour ("CloudFront Functions event structure", uri).
        changed = self._viewer_request(runtime, behavior, request)
        if isinstance(changed, Outcome):
            return changed
        policy = self._policy(behavior["CachePolicyId"], "CachePolicyConfig", MANAGED_CACHE_POLICIES)
        return OriginRequest(behavior, policy, _key(policy, changed), self._seen_by_origin(behavior, policy, changed))

    def respond(self, forwarded: OriginRequest, answer: Response, bucket: Response | None = None) -> Outcome:
        """Return the outcome of the origin's response: error page, Set-Cookie removed, time in the cache.

        `bucket` is the response of an origin group's bucket: a file, or S3's 403 for a missing one.
        """
        answer = self._of_group(forwarded, answer, bucket or Response(403))
        error = self._errors.get(answer.status, {})
        body = f"page {error['ResponsePagePath']}" if "ResponsePagePath" in error else answer.body
        # "Cache content based on cookies": without cookies in the request, CloudFront removes Set-Cookie.
        forwards_cookies = self._cookies(forwarded.behavior, forwarded.policy) == "all"
        headers = {name: value for name, value in answer.headers.items() if forwards_cookies or name != "set-cookie"}
        return Outcome(answer.status, self._seconds(forwarded, answer), body, headers)

    def _of_group(self, forwarded: OriginRequest, answer: Response, bucket: Response) -> Response:
        """Choose an origin group's response ("Optimize high availability with CloudFront origin failover"): the second origin's if the
        first has a listed status and the method is GET, HEAD or OPTIONS."""
        target = forwarded.behavior["TargetOriginId"]
        groups = {one["Id"]: one for one in self.config.get("OriginGroups", {"Items": []})["Items"]}
        if target not in groups:
            return answer
        answers = {one["Id"]: bucket if "S3OriginConfig" in one else answer for one in self.config["Origins"]}
        first, second = (answers[member["OriginId"]] for member in groups[target]["Members"]["Items"])
        fails_over = forwarded.seen.method in ("GET", "HEAD", "OPTIONS")
        return second if fails_over and first.status in groups[target]["FailoverCriteria"]["StatusCodes"]["Items"] else first

    @property
    def _errors(self) -> dict[int, dict[str, Any]]:
        return {one["ErrorCode"]: one for one in self.config["CustomErrorResponses"]}

    def _behavior(self, path: str) -> dict[str, Any]:
        """Return the first behaviour whose pattern matches ("Cache behavior settings", Path pattern).

        The path is compared as RFC 3986 normalises it; `*` is any run of characters, `?` exactly one, case counts, and the
        slash in front may be left out.
        """
        for behavior in self.config["CacheBehaviors"]:
            pattern = re.escape("/" + behavior["PathPattern"].removeprefix("/")).replace(r"\*", ".*").replace(r"\?", ".")
            if re.fullmatch(pattern, normal_form(path), re.DOTALL):
                return dict(behavior)
        return dict(self.config["DefaultCacheBehavior"])

    def _viewer_request(self, runtime: Runtime, behavior: dict[str, Any], request: Request) -> Request | Outcome:
        function = self.function("viewer-request", behavior)
        if not function:
            return request
        before = event(request.target, request.method, dict(request.headers), request.cookie)
        returned = runtime.run(_joined(function["FunctionCode"]), before)
        if "statusCode" in returned:  # answered at the edge; not cached
            return Outcome(returned["statusCode"], headers={name: one["value"] for name, one in returned["headers"].items()})
        headers = {name: one["value"] for name, one in returned["headers"].items()}
        return Request(returned["uri"] + written(returned["querystring"]), returned["method"], headers, request.cookie)

    def _seen_by_origin(self, behavior: dict[str, Any], policy: dict[str, Any], request: Request) -> Request:
        """Return the request with the cache key's parts and those of the origin request policy ("Control origin requests with a policy").

        CloudFront appends the viewer's address to X-Forwarded-For ("Request and response behavior for custom origins", Client IP addresses).
        """
        parts = [policy["ParametersInCacheKeyAndForwardedToOrigin"]]
        if "OriginRequestPolicyId" in behavior:
            extra = self._policy(behavior["OriginRequestPolicyId"], "OriginRequestPolicyConfig", MANAGED_ORIGIN_REQUEST_POLICIES)
            parts.append(extra)
        path, _, _ = request.target.partition("?")
        queries = [_chosen_query(part["QueryStringsConfig"], request.target) for part in parts]
        headers: dict[str, str] = {}
        for part in parts:
            headers |= _chosen_headers(part["HeadersConfig"], request.headers)
        headers["x-forwarded-for"] = ", ".join(filter(None, (headers.get("x-forwarded-for"), VIEWER)))
        return Request(
            path + max(queries, key=len), request.method, headers, request.cookie if self._cookies(behavior, policy) == "all" else ""
        )

    def _cookies(self, behavior: dict[str, Any], policy: dict[str, Any]) -> str:
        kinds = {policy["ParametersInCacheKeyAndForwardedToOrigin"]["CookiesConfig"]["CookieBehavior"]}
        if "OriginRequestPolicyId" in behavior:
            extra = self._policy(behavior["OriginRequestPolicyId"], "OriginRequestPolicyConfig", MANAGED_ORIGIN_REQUEST_POLICIES)
            kinds.add(extra["CookiesConfig"]["CookieBehavior"])
        if kinds - {"none", "all"}:
            raise NotImplementedError(f"cookies chosen by name: {kinds}")
        return "all" if "all" in kinds else "none"

    def _seconds(self, forwarded: OriginRequest, answer: Response) -> int:
        """Return how long a response is cached."""
        if forwarded.seen.method not in forwarded.behavior.get("CachedMethods", ["GET", "HEAD"]):
            return 0
        if answer.status < 400:
            return _kept_by_policy(forwarded.policy, answer)
        # "How CloudFront caches HTTP 4xx and 5xx status codes", "Control how long CloudFront caches errors": the greater of the
        # minimum and the header's age, up to the behaviour's maximum. no-store and the policy's minimum have no effect.
        age = _age(answer)
        if answer.status in ERRORS_ALWAYS_KEPT or (answer.status in ERRORS_KEPT_WITH_MAX_AGE and age is not None):
            least = self._errors.get(answer.status, {}).get("ErrorCachingMinTTL", DEFAULT_ERROR_SECONDS)
            return int(max(least, min(age or 0, forwarded.policy["MaxTTL"])))
        return 0

    def _policy(self, identity: Any, config: str, managed: dict[str, dict[str, Any]]) -> dict[str, Any]:
        return managed[identity] if isinstance(identity, str) else dict(self.referred(identity)[config])

    def referred(self, reference: dict[str, Any]) -> dict[str, Any]:
        """Return the properties of the resource of a Ref or Fn::GetAtt."""
        logical_id = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
        return dict(self._resources[logical_id]["Properties"])


def _joined(value: Any) -> str:
    if isinstance(value, str):
        return value
    separator, parts = value["Fn::Join"]
    return str(separator).join(map(_joined, parts))


def _chosen_query(config: dict[str, Any], target: str) -> str:
    _, mark, query = target.partition("?")
    match config["QueryStringBehavior"]:
        case "none":
            return ""
        case "all":
            return mark + query
        case "whitelist":
            chosen = [part for part in query.split("&") if part.partition("=")[0] in config["QueryStrings"]]
            return "?" + "&".join(chosen) if chosen else ""
        case other:
            raise NotImplementedError(other)


def _chosen_headers(config: dict[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    match config["HeaderBehavior"]:
        case "none":
            return {}
        case "allViewer":
            return dict(headers)
        case "whitelist":
            names = {name.lower() for name in config["Headers"]}
            return {name: value for name, value in headers.items() if name in names}
        case other:
            raise NotImplementedError(other)


def _key(policy: dict[str, Any], request: Request) -> tuple[str, ...]:
    """Path, chosen query and headers, normalised Accept-Encoding ("Understand the cache key", "Understand cache policies")."""
    chosen = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    if chosen["CookiesConfig"]["CookieBehavior"] != "none":
        raise NotImplementedError("cookies in the key")
    parts = [request.target.partition("?")[0] + _chosen_query(chosen["QueryStringsConfig"], request.target)]
    parts += [f"{name}: {value}" for name, value in sorted(_chosen_headers(chosen["HeadersConfig"], request.headers).items())]
    wanted = re.findall(r"\b(?:br|gzip)\b", request.headers.get("accept-encoding", ""))
    offered = {"br": chosen["EnableAcceptEncodingBrotli"], "gzip": chosen["EnableAcceptEncodingGzip"]}
    if encodings := ",".join(name for name in ("br", "gzip") if name in wanted and offered[name]):
        parts.append(f"accept-encoding: {encodings}")
    return tuple(parts)


def _age(answer: Response) -> int | None:
    """Return the origin's age for shared caches: s-maxage before max-age."""
    directives = answer.headers.get("cache-control", "")
    ages = [re.search(rf"(?:^|[\s,]){name}=(\d+)", directives) for name in ("s-maxage", "max-age")]
    return next((int(found[1]) for found in ages if found), None)


def _kept_by_policy(policy: dict[str, Any], answer: Response) -> int:
    """Return how long a success is cached ("Manage how long content stays in the cache", table of minimum TTL and headers)."""
    least, most, age = policy["MinTTL"], policy["MaxTTL"], _age(answer)
    if re.search(r"no-store|no-cache|private", answer.headers.get("cache-control", "")):
        return int(least)
    if age is not None:
        return int(min(max(age, least), most))
    return int(max(policy["DefaultTTL"], least))
