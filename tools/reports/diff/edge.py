"""The edge: relaxed firewall rules and headers, and caches that could serve one user's page to another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tools.reports.assembly import Assembly, Body, Resource
from tools.reports.diff.collect import Comparison, leaves
from tools.reports.diff.findings import Finding
from tools.reports.diff.protection import behaviors

# Public paths: the application's build output, public images, and our error pages.
PUBLIC_PATHS = re.compile(r"/?(_next/static|images|errors)/[^?]*|/?(favicon\.ico|robots\.txt|_next/image)")
# AWS-managed policies ("Use managed cache policies"): name, minimum and maximum TTL in seconds.
MANAGED = {
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": ("CachingDisabled", 0, 0),
    "658327ea-f89d-4fab-a63d-7e88639e58f6": ("CachingOptimized", 1, 31_536_000),
}
REFERRER = ("unsafe-url", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin", "strict-origin",
            "strict-origin-when-cross-origin", "same-origin", "no-referrer")  # fmt: skip
NO_VALUE: Body = {}
WHOLE = {"cookie": "cookies", "header": "headers", "query": "the query"}  # cache key with all of them


def find(comparison: Comparison) -> Iterator[Finding]:
    """All findings on the edge."""
    for old, new in comparison.pairs("AWS::WAFv2::WebACL"):
        yield from (Finding(new.environment, "Firewall", f"`{new.path}`: {words}.") for words in firewall(old, new))
    for old, new in comparison.pairs("AWS::CloudFront::ResponseHeadersPolicy"):
        yield from (Finding(new.environment, "Headers", f"`{new.path}`: {words}.") for words in headers(old, new))
    for now in comparison.head.of_kind("AWS::CloudFront::Distribution"):  # even if unchanged: its policies may have changed
        if was := comparison.base.by_path.get((now.environment, now.path)):
            for kind, words in _distribution(comparison, was, now):
                yield Finding(now.environment, kind, f"`{now.path}`: {words}.")


def firewall(old: Resource, new: Resource) -> Iterator[str]:
    """What a web ACL newly allows."""
    if "Block" in old.at("DefaultAction", {}) and "Allow" in new.at("DefaultAction", {}):
        yield "requests that match no rule are allowed, no longer blocked"
    before, after = ({rule["Name"]: rule for rule in one.at("Rules", [])} for one in (old, new))
    for name in before.keys() - after.keys():
        yield f"rule {name} is removed"
    for name in after.keys() - before.keys():
        if _action(after[name]) == "Allow":
            yield f"new rule {name} allows its matches; later rules do not see them"
    both = before.keys() & after.keys()
    for name in both:
        yield from (f"rule {name} {words}" for words in _rule(before[name], after[name]))
    for name in (one for one in both if _action(before[one]) == _action(after[one]) == "Allow"):
        for other in both:
            if before[other]["Priority"] < before[name]["Priority"] and after[name]["Priority"] < after[other]["Priority"]:
                yield f"rule {name} is now evaluated before {other}, which does not see what it allows"


def _action(rule: Body) -> str:
    """Block, Allow, Count …; None: the rule group's actions apply."""
    return str(next(iter(rule.get("Action") or rule.get("OverrideAction") or rule.get("ActionToUse") or {"None": {}})))


def _rule(old: Body, new: Body) -> Iterator[str]:
    actions = _action(old), _action(new)
    if actions[0] != actions[1] and actions[0] not in ("Allow", "Count") and actions[1] != "Block":
        yield f"no longer {'challenges' if actions[0] in ('Captcha', 'Challenge') else 'blocks'}: it is set to {actions[1]}"
    if actions[0] == "Count" and actions[1] == "Allow":
        yield "allows its matches, and later rules do not see them: it was set to Count"
    yield from _overrides(old, new)
    for path, before, after in leaves(old.get("Statement", {}), new.get("Statement", {}), "Statement"):
        name = path.rpartition(".")[2]
        if "RuleActionOverrides" in path or (name == "Limit" and after < before) or (name == "EvaluationWindowSec" and after > before):
            continue  # reported above, or stricter
        if name == "Limit":
            yield f"allows {after} requests per window, was {before}"
        else:
            yield f"inspects something else: {path.removeprefix('Statement.')}, {_short(before)} → {_short(after)}"


def _overrides(old: Body, new: Body) -> Iterator[str]:
    """Changed action overrides of a managed rule group."""
    before, after = ({rule["Name"]: _action(rule) for rule in _group(one).get("RuleActionOverrides", [])} for one in (old, new))
    for name, action in after.items():
        if action == "Allow" != before.get(name):  # "Allow" ends the evaluation; a count did not
            was = before.get(name, "its own action")
            yield f"allows what its sub-rule {name} matches, and later rules do not see it: it was set to {was}"
        elif action != before.get(name) and action != "Block" and before.get(name) not in ("Allow", "Count"):
            yield f"no longer applies its sub-rule {name}: it is set to {action}"


def _group(rule: Body) -> Body:
    group: Body = rule.get("Statement", {}).get("ManagedRuleGroupStatement", {})
    return group


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return f"`{text if len(text) <= 80 else text[:77] + '…'}`"


def headers(old: Resource, new: Resource) -> Iterator[str]:
    """What a response headers policy no longer requires of browsers."""
    config = "ResponseHeadersPolicyConfig"
    before, after = (one.at(f"{config}.SecurityHeadersConfig", {}) for one in (old, new))
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            yield f"{name} is no longer sent"
            continue
        if was.get("Override") and not now.get("Override"):
            yield f"{name}: the application may override it"
        yield from (f"{name} {words}" for words in _weaker(name, was, now))
    for key in ("CustomHeadersConfig", "RemoveHeadersConfig"):
        was, now = ({one["Header"]: one.get("Value") for one in policy.at(f"{config}.{key}.Items", [])} for policy in (old, new))
        for header, value in was.items():
            if header not in now:
                yield f"{header} is no longer {'sent' if key.startswith('Custom') else 'removed'}"
            elif now[header] != value:
                yield f"{header} changes, {_short(value)} → {_short(now[header])}"
    allowed = [set(one.at(f"{config}.CorsConfig.AccessControlAllowOrigins.Items", [])) for one in (old, new)]
    for origin in sorted(map(str, allowed[1] - allowed[0])):
        yield f"pages of {'any site' if origin == '*' else origin} may now read responses (CORS)"


def _weaker(name: str, old: Body, new: Body) -> Iterator[str]:
    match name:
        case "ContentSecurityPolicy":
            yield from _csp(str(old[name]), str(new[name]))
        case "StrictTransportSecurity":
            ages = int(old["AccessControlMaxAgeSec"]), int(new["AccessControlMaxAgeSec"])
            if ages[1] < ages[0]:
                yield f"is valid for {ages[1]} seconds, was {ages[0]}"
            yield from (f"no longer contains {key}" for key in ("IncludeSubdomains", "Preload") if old.get(key) and not new.get(key))
        case "FrameOptions" if old["FrameOption"] == "DENY" != new["FrameOption"]:
            yield "allows framing by the same site, DENY → SAMEORIGIN"
        case "ReferrerPolicy":
            ranks = [REFERRER.index(one[name]) if one[name] in REFERRER else -1 for one in (old, new)]
            if ranks[1] < ranks[0]:
                yield f"sends more to other sites, {old[name]} → {new[name]}"
        case "XSSProtection" if old.get("ModeBlock") and not new.get("ModeBlock"):
            yield "no longer blocks"


def _csp(old: str, new: str) -> Iterator[str]:
    """Newly allowed sources by directive (W3C, Content Security Policy Level 3)."""
    before, after = ({words[0].lower(): words[1:] for part in text.split(";") if (words := part.split())} for text in (old, new))
    for name in dict.fromkeys((*before, *after)):
        was = before.get(name, before.get("default-src", ["*"]) if name.endswith("-src") else None)
        now = after.get(name, after.get("default-src", ["*"]) if name.endswith("-src") else None)
        if was is None:
            continue  # a new directive only restricts
        if now is None:
            yield f"no longer contains {name}"
        elif more := [source for source in now if source not in was and source != "'none'"]:
            yield f"allows {', '.join(f'`{one}`' for one in more)} in {name}"


def _distribution(comparison: Comparison, old: Resource, new: Resource) -> Iterator[tuple[str, str]]:
    before, after = behaviors(old), behaviors(new)
    for pattern, behavior in after.items():
        was = before.get(pattern) or before["*"]
        if was.get("ResponseHeadersPolicyId") and not behavior.get("ResponseHeadersPolicyId"):
            yield "Headers", f"responses on `{pattern}` carry no security headers"
        if pattern in before and was.get("OriginRequestPolicyId") and not behavior.get("OriginRequestPolicyId"):
            yield (
                "Headers",
                f"requests on `{pattern}` reach the application without their headers, cookies and query (no origin request policy)",
            )
        if "viewer-request" in _events(was) - _events(behavior) and not _is_error_page(pattern):
            yield "Firewall", f"requests on `{pattern}` no longer go through the viewer function"
        for words in _cached(comparison, old, was if pattern in before else NO_VALUE, new, behavior, pattern):
            yield "Caching", words
    for pattern in before.keys() - after.keys():
        for words in _cached(comparison, old, before[pattern], new, after["*"], pattern):
            yield "Caching", words
    for code in _errors_cached_longer(old, new):
        yield "Caching", code


def _events(behavior: Body) -> set[str]:
    return {one["EventType"] for one in behavior.get("FunctionAssociations", [])}


def _is_error_page(pattern: str) -> bool:
    return pattern.lstrip("/").startswith("errors/")


def _cached(comparison: Comparison, old: Resource, was: Body, new: Resource, now: Body, pattern: str) -> Iterator[str]:
    """Responses that are newly shared, cached longer than the application wants, or have a smaller cache key."""
    name, least, most, key = _policy(comparison.head, new, now)
    _, earlier_least, earlier_most, earlier_key = _policy(comparison.base, old, was) if was else ("", 0, 0, frozenset())
    responses = f"responses on `{pattern}`"
    if most <= 0:
        return
    if earlier_most <= 0:
        if not PUBLIC_PATHS.fullmatch(pattern):
            without = "" if "cookies" in key else ", ignoring cookies"
            kept = f"are now cached for {_time(most)} and shared between users ({name}){without}"
            yield f"{responses} {kept}: one user's page could be served to another"
        return
    covered = tuple(f"the {kind} " for kind, whole in WHOLE.items() if whole in key)
    if lost := sorted(one for one in earlier_key - key if not one.startswith(covered)):
        yield f"{responses} no longer depend on {', '.join(lost)}: different requests get the same cached response"
    if earlier_least <= 0 < least:
        yield f"{responses} are now cached for at least {least:g} s, even if the application sends private or no-store"


def _time(seconds: float) -> str:
    return (
        "any time" if seconds == float("inf") else f"up to {seconds / 86_400:g} days" if seconds >= 2 * 86_400 else f"up to {seconds:g} s"
    )


def _policy(assembly: Assembly, distribution: Resource, behavior: Body) -> tuple[str, float, float, frozenset[str]]:
    """(name, minimum and maximum TTL in seconds, cache key) of a behaviour's cache policy."""
    identity = behavior.get("CachePolicyId")
    if identity is None:
        legacy = behavior.get("ForwardedValues")
        return ("no policy", 0, 0, frozenset()) if legacy is None else ("forwarded values", 0, float("inf"), frozenset())
    if isinstance(identity, str):
        name, least, most = MANAGED.get(identity, (f"unknown policy {identity}", 1, float("inf")))
        return name, least, most, frozenset()
    path = str(assembly.with_paths(distribution.stack, identity)).removesuffix(".Id")
    policy = assembly.by_path.get((distribution.environment, path))
    if policy is None:
        return path, 1, float("inf"), frozenset()
    config = policy.at("CachePolicyConfig", {})
    parameters = config.get("ParametersInCacheKeyAndForwardedToOrigin", {})
    return path, float(config.get("MinTTL", 0)), float(config.get("MaxTTL", 31_536_000)), frozenset(_key(parameters))


def _key(parameters: Body) -> Iterator[str]:
    for kind, config, choice, listed in (
        ("cookie", "CookiesConfig", "CookieBehavior", "Cookies"),
        ("header", "HeadersConfig", "HeaderBehavior", "Headers"),
        ("query", "QueryStringsConfig", "QueryStringBehavior", "QueryStrings"),
    ):
        chosen = parameters.get(config, {})
        match chosen.get(choice, "none"):
            case "none":
                continue
            case "whitelist":
                yield from (f"the {kind} {one}" for one in chosen.get(listed, []))
            case other:
                yield WHOLE[kind] if other == "all" else f"{WHOLE[kind]} ({other})"


def _errors_cached_longer(old: Resource, new: Resource) -> Iterator[str]:
    """Errors cached longer; the default is 10 s ("Control how long CloudFront caches errors")."""
    before, after = (
        {one["ErrorCode"]: one.get("ErrorCachingMinTTL", 10) for one in distribution.at("DistributionConfig.CustomErrorResponses", [])}
        for distribution in (old, new)
    )
    for code in sorted({*before, *after}):
        seconds = before.get(code, 10), after.get(code, 10)
        if seconds[1] > seconds[0]:
            yield f"error {code} is cached for {seconds[1]} s, was {seconds[0]} s"
