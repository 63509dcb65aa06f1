"""The edge: firewall rules and headers that are relaxed, and caches that could hand one person's page to another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tools.reports.assembly import Assembly, Body, Resource
from tools.reports.diff.collect import Comparison, leaves
from tools.reports.diff.findings import Finding
from tools.reports.diff.protection import behaviors

# What every visitor may have: the application's build output and public pictures, and our own error pages.
PUBLIC_PATHS = re.compile(r"/?(_next/static|images|errors)/[^?]*|/?(favicon\.ico|robots\.txt|_next/image)")
# AWS's own ("Use managed cache policies"): the least and most seconds, and whether cookies are part of the key.
MANAGED = {
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": ("CachingDisabled", 0, 0),
    "658327ea-f89d-4fab-a63d-7e88639e58f6": ("CachingOptimized", 1, 31_536_000),
}
REFERRER = ("unsafe-url", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin", "strict-origin",
            "strict-origin-when-cross-origin", "same-origin", "no-referrer")  # fmt: skip
NO_VALUE: Body = {}
WHOLE = {"cookie": "cookies", "header": "headers", "query": "the query"}  # in the key: all of them


def find(comparison: Comparison) -> Iterator[Finding]:
    """All findings on the edge."""
    for old, new in comparison.pairs("AWS::WAFv2::WebACL"):
        yield from (Finding(new.environment, "Firewall", f"`{new.path}`: {words}.") for words in firewall(old, new))
    for old, new in comparison.pairs("AWS::CloudFront::ResponseHeadersPolicy"):
        yield from (Finding(new.environment, "Headers", f"`{new.path}`: {words}.") for words in headers(old, new))
    for now in comparison.head.of_kind("AWS::CloudFront::Distribution"):  # even unchanged: its policies may have
        if was := comparison.base.by_path.get((now.environment, now.path)):
            for kind, words in _distribution(comparison, was, now):
                yield Finding(now.environment, kind, f"`{now.path}`: {words}.")


def firewall(old: Resource, new: Resource) -> Iterator[str]:
    """What a web ACL lets through that it did not."""
    if "Block" in old.at("DefaultAction", {}) and "Allow" in new.at("DefaultAction", {}):
        yield "what no rule names is let through, no longer blocked"
    before, after = ({rule["Name"]: rule for rule in one.at("Rules", [])} for one in (old, new))
    for name in before.keys() - after.keys():
        yield f"rule {name} is removed"
    for name in after.keys() - before.keys():
        if _action(after[name]) == "Allow":
            yield f"rule {name} is new and lets through what it names, whatever later rules say"
    both = before.keys() & after.keys()
    for name in both:
        yield from (f"rule {name} {words}" for words in _rule(before[name], after[name]))
    for name in (one for one in both if _action(before[one]) == _action(after[one]) == "Allow"):
        for other in both:
            if before[other]["Priority"] < before[name]["Priority"] and after[name]["Priority"] < after[other]["Priority"]:
                yield f"rule {name} is now asked before {other}, and what it lets through passes by"


def _action(rule: Body) -> str:
    """Block, Allow, Count …; None is a group's own."""
    return str(next(iter(rule.get("Action") or rule.get("OverrideAction") or rule.get("ActionToUse") or {"None": {}})))


def _rule(old: Body, new: Body) -> Iterator[str]:
    actions = _action(old), _action(new)
    if actions[0] != actions[1] and actions[0] not in ("Allow", "Count") and actions[1] != "Block":
        yield f"no longer {'challenges' if actions[0] in ('Captcha', 'Challenge') else 'blocks'}: it is set to {actions[1]}"
    yield from _overrides(old, new)
    for path, before, after in leaves(old.get("Statement", {}), new.get("Statement", {}), "Statement"):
        name = path.rpartition(".")[2]
        if "RuleActionOverrides" in path or (name == "Limit" and after < before) or (name == "EvaluationWindowSec" and after > before):
            continue  # told above, or stricter
        if name == "Limit":
            yield f"lets through {after} requests in a window, no longer {before}"
        else:
            yield f"looks at something else: {path.removeprefix('Statement.')}, {_short(before)} → {_short(after)}"


def _overrides(old: Body, new: Body) -> Iterator[str]:
    """Rules of a managed group that do another thing than the group says."""
    before, after = ({rule["Name"]: _action(rule) for rule in _group(one).get("RuleActionOverrides", [])} for one in (old, new))
    for name, action in after.items():
        if action != before.get(name) and action != "Block" and before.get(name) not in ("Allow", "Count"):
            yield f"no longer acts by its part {name}: it is set to {action}"


def _group(rule: Body) -> Body:
    group: Body = rule.get("Statement", {}).get("ManagedRuleGroupStatement", {})
    return group


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return f"`{text if len(text) <= 80 else text[:77] + '…'}`"


def headers(old: Resource, new: Resource) -> Iterator[str]:
    """What a response headers policy demands no longer of browsers."""
    config = "ResponseHeadersPolicyConfig"
    before, after = (one.at(f"{config}.SecurityHeadersConfig", {}) for one in (old, new))
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            yield f"{name} is no longer sent"
            continue
        if was.get("Override") and not now.get("Override"):
            yield f"{name}: the application may send another"
        yield from (f"{name} {words}" for words in _weaker(name, was, now))
    for key in ("CustomHeadersConfig", "RemoveHeadersConfig"):
        was, now = ({one["Header"]: one.get("Value") for one in policy.at(f"{config}.{key}.Items", [])} for policy in (old, new))
        for header, value in was.items():
            if header not in now:
                yield f"{header} is no longer {'sent' if key.startswith('Custom') else 'taken out'}"
            elif now[header] != value:
                yield f"{header} changes, {_short(value)} → {_short(now[header])}"
    allowed = [set(one.at(f"{config}.CorsConfig.AccessControlAllowOrigins.Items", [])) for one in (old, new)]
    for origin in sorted(map(str, allowed[1] - allowed[0])):
        yield f"pages of {'any site' if origin == '*' else origin} may now read the answers (CORS)"


def _weaker(name: str, old: Body, new: Body) -> Iterator[str]:
    match name:
        case "ContentSecurityPolicy":
            yield from _csp(str(old[name]), str(new[name]))
        case "StrictTransportSecurity":
            ages = int(old["AccessControlMaxAgeSec"]), int(new["AccessControlMaxAgeSec"])
            if ages[1] < ages[0]:
                yield f"holds for {ages[1]} seconds, no longer {ages[0]}"
            yield from (f"no longer says {key}" for key in ("IncludeSubdomains", "Preload") if old.get(key) and not new.get(key))
        case "FrameOptions" if old["FrameOption"] == "DENY" != new["FrameOption"]:
            yield "lets the site's own pages frame it, DENY → SAMEORIGIN"
        case "ReferrerPolicy":
            ranks = [REFERRER.index(one[name]) if one[name] in REFERRER else -1 for one in (old, new)]
            if ranks[1] < ranks[0]:
                yield f"tells other sites more, {old[name]} → {new[name]}"
        case "XSSProtection" if old.get("ModeBlock") and not new.get("ModeBlock"):
            yield "no longer blocks"


def _csp(old: str, new: str) -> Iterator[str]:
    """Directive by directive: what is allowed from where that was not (W3C, Content Security Policy Level 3)."""
    before, after = ({words[0].lower(): words[1:] for part in text.split(";") if (words := part.split())} for text in (old, new))
    for name in dict.fromkeys((*before, *after)):
        was = before.get(name, before.get("default-src", ["*"]) if name.endswith("-src") else None)
        now = after.get(name, after.get("default-src", ["*"]) if name.endswith("-src") else None)
        if was is None:
            continue  # a directive that was not there only forbids
        if now is None:
            yield f"no longer says {name}"
        elif more := [source for source in now if source not in was and source != "'none'"]:
            yield f"lets {name} come from {', '.join(f'`{one}`' for one in more)}"


def _distribution(comparison: Comparison, old: Resource, new: Resource) -> Iterator[tuple[str, str]]:
    before, after = behaviors(old), behaviors(new)
    for pattern, behavior in after.items():
        was = before.get(pattern) or before["*"]
        if was.get("ResponseHeadersPolicyId") and not behavior.get("ResponseHeadersPolicyId"):
            yield "Headers", f"answers on `{pattern}` carry no security headers any more"
        if "viewer-request" in _events(was) - _events(behavior) and not _is_own(pattern):
            yield "Firewall", f"requests on `{pattern}` no longer pass the viewer function"
        for words in _kept(comparison, old, was if pattern in before else NO_VALUE, new, behavior, pattern):
            yield "Caching", words
    for pattern in before.keys() - after.keys():
        for words in _kept(comparison, old, before[pattern], new, after["*"], pattern):
            yield "Caching", words
    for code in _errors_kept_longer(old, new):
        yield "Caching", code


def _events(behavior: Body) -> set[str]:
    return {one["EventType"] for one in behavior.get("FunctionAssociations", [])}


def _is_own(pattern: str) -> bool:
    return pattern.lstrip("/").startswith("errors/")


def _kept(comparison: Comparison, old: Resource, was: Body, new: Resource, now: Body, pattern: str) -> Iterator[str]:
    """Whether answers are kept for others that were not, longer against the application's will, or under a poorer key."""
    name, least, most, key = _policy(comparison.head, new, now)
    _, earlier_least, earlier_most, earlier_key = _policy(comparison.base, old, was) if was else ("", 0, 0, frozenset())
    told = f"answers on `{pattern}`"
    if most <= 0:
        return
    if earlier_most <= 0:
        if not PUBLIC_PATHS.fullmatch(pattern):
            without = "" if "cookies" in key else ", whatever cookie asks"
            kept = f"are now kept, up to {_time(most)}, and handed to others ({name}){without}"
            yield f"{told} {kept}: a page of one user could reach another"
        return
    covered = tuple(f"the {kind} " for kind, whole in WHOLE.items() if whole in key)
    if lost := sorted(one for one in earlier_key - key if not one.startswith(covered)):
        yield f"{told} are no longer kept apart by {', '.join(lost)}: who asks differently gets what another was given"
    if earlier_least <= 0 < least:
        yield f"{told} are now kept {_time(least)} even when the application says private or no-store"


def _time(seconds: float) -> str:
    return "for ever" if seconds == float("inf") else f"{seconds / 86_400:g} days" if seconds >= 2 * 86_400 else f"{seconds:g} s"


def _policy(assembly: Assembly, distribution: Resource, behavior: Body) -> tuple[str, float, float, frozenset[str]]:
    """(name, least and most seconds, what answers are kept apart by) of a behaviour's cache policy."""
    identity = behavior.get("CachePolicyId")
    if identity is None:
        legacy = behavior.get("ForwardedValues")
        return ("no policy", 0, 0, frozenset()) if legacy is None else ("forwarded values", 0, float("inf"), frozenset())
    if isinstance(identity, str):
        name, least, most = MANAGED.get(identity, (f"policy {identity}, unknown here", 1, float("inf")))
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


def _errors_kept_longer(old: Resource, new: Resource) -> Iterator[str]:
    """10 s where nothing is said ("Control how long CloudFront caches errors")."""
    before, after = (
        {one["ErrorCode"]: one.get("ErrorCachingMinTTL", 10) for one in distribution.at("DistributionConfig.CustomErrorResponses", [])}
        for distribution in (old, new)
    )
    for code in sorted({*before, *after}):
        seconds = before.get(code, 10), after.get(code, 10)
        if seconds[1] > seconds[0]:
            yield f"errors {code} are kept {seconds[1]} s and handed to others, no longer {seconds[0]} s"
