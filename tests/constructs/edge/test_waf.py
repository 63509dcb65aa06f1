"""The web ACL in a small stack: rules with their order and actions, and its log. tests/models/edge evaluates requests with it."""

from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.edge.waf import COUNTED_IN_COMMON, COUNTED_IN_SQLI, WebFirewall
from tests.conftest import only
from tests.constructs.conftest import Synthesized, settings, stack, template


def _built(prefix: str = "CarmenProd", **edge: Any) -> Synthesized:
    small = stack()
    WebFirewall(small, "WebFirewall", settings=settings(edge=edge).edge, prefix=prefix)
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def _rules(built: Synthesized) -> dict[str, dict[str, Any]]:
    return {rule["Name"]: rule for rule in only(built.resources("AWS::WAFv2::WebACL"))["Rules"]}


def test_rules_have_this_order_and_action(built: Synthesized) -> None:
    rules = sorted(_rules(built).values(), key=lambda rule: int(rule["Priority"]))
    actions = [(rule["Name"], next(iter(rule.get("Action") or rule["OverrideAction"]))) for rule in rules]
    assert actions == [
        ("BlockedAddresses", "Block"),
        ("ParentReference", "Block"),
        ("AttackModeChallenge", "Challenge"),
        ("AttackModeRateLimit", "Block"),
        ("RateSignIn", "Block"),
        ("RateApi", "Block"),
        ("RateSite", "Block"),
        ("LargeBody", "Block"),
        ("AmazonIpReputation", "None"),
        ("KnownBadInputs", "None"),
        ("Common", "None"),
        ("SqlInjection", "None"),
        ("BodyAttacks", "Block"),
    ]
    assert [rule["Priority"] for rule in rules] == list(range(13))
    assert only(built.resources("AWS::WAFv2::WebACL"))["DefaultAction"] == {"Allow": {}}


def test_rate_limits_are_settings() -> None:
    rules = _rules(_built(rate_limits={"sign_in": 50, "api": 400, "site": 1000}))
    limits = {name: rule["Statement"]["RateBasedStatement"] for name, rule in rules.items() if "RateBasedStatement" in rule["Statement"]}
    # Attack mode divides the site's limit by ten.
    assert {name: limit["Limit"] for name, limit in limits.items()} == {
        "AttackModeRateLimit": 100, "RateSignIn": 50, "RateApi": 400, "RateSite": 1000,
    }  # fmt: skip


def test_rate_limits_of_production(built: Synthesized) -> None:
    rules = _rules(built)
    limits = {name: rules[name]["Statement"]["RateBasedStatement"] for name in ("AttackModeRateLimit", "RateSignIn", "RateApi", "RateSite")}
    assert [limit["Limit"] for limit in limits.values()] == [300, 100, 1000, 3000]
    assert {limit["EvaluationWindowSec"] for limit in limits.values()} == {300}
    assert {limit["AggregateKeyType"] for limit in limits.values()} == {"IP"}


def test_operators_ip_sets_start_empty(built: Synthesized) -> None:
    sets = [one["Properties"] for one in built.resources("AWS::WAFv2::IPSet").values()]
    assert sorted(one["IPAddressVersion"] for one in sets) == ["IPV4", "IPV4", "IPV6", "IPV6"]
    assert all(one["Addresses"] == [] and one["Scope"] == "CLOUDFRONT" for one in sets)


def test_body_rules_of_managed_groups_only_count(built: Synthesized) -> None:
    for name, counted in (("Common", COUNTED_IN_COMMON), ("SqlInjection", COUNTED_IN_SQLI)):
        overrides = _rules(built)[name]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]
        assert {one["Name"] for one in overrides} == set(counted)
        assert all(one["ActionToUse"] == {"Count": {}} for one in overrides)
    assert "SizeRestrictions_BODY" in COUNTED_IN_COMMON


def test_bodies_are_blocked_outside_upload_paths(built: Synthesized) -> None:
    for name in ("BodyAttacks", "LargeBody"):
        rule = _rules(built)[name]
        assert "Block" in rule["Action"]
        _, outside = rule["Statement"]["AndStatement"]["Statements"]
        exempt = [
            one["ByteMatchStatement"]
            for one in outside["NotStatement"]["Statement"]["AndStatement"]["Statements"][0]["OrStatement"]["Statements"]
        ]
        assert {(one["PositionalConstraint"], one["SearchString"]) for one in exempt} == {
            ("EXACTLY", "/api/upload"),
            ("STARTS_WITH", "/api/upload/"),
        }
    size = _rules(built)["LargeBody"]["Statement"]["AndStatement"]["Statements"][0]["SizeConstraintStatement"]
    assert (size["ComparisonOperator"], size["Size"]) == ("GT", 6)  # more than six digits: 1,000,000 bytes and up


def test_fewer_rules_need_a_reason_that_the_template_shows() -> None:
    reason = "A preview has no users to protect."
    built = _built(all_firewall_rules=False, all_firewall_rules_opt_out_reason=reason)
    assert set(_rules(built)) == {
        "RateSite",
        "AmazonIpReputation",
        "KnownBadInputs",
        "Common",
        "SqlInjection",
        "BodyAttacks",
    }
    (acl,) = built.resources("AWS::WAFv2::WebACL").values()
    assert acl["Metadata"]["AllFirewallRulesOptOut"] == reason


def test_logs_are_redacted_and_drop_allowed_requests(built: Synthesized) -> None:
    group = only(built.resources("AWS::Logs::LogGroup"))
    assert (group["LogGroupName"], group["RetentionInDays"]) == ("aws-waf-logs-carmenprod", 90)  # WAF requires the prefix
    logging = only(built.resources("AWS::WAFv2::LoggingConfiguration"))
    redacted = [field.get("SingleHeader", {}).get("Name") for field in logging["RedactedFields"]]
    assert {"authorization", "cookie", "x-csrf-token", "x-webhook-secret"} <= set(redacted)
    assert {"QueryString": {}} in logging["RedactedFields"]
    assert logging["LoggingFilter"]["DefaultBehavior"] == "DROP"


def test_metric_names_differ_between_environments(built: Synthesized) -> None:
    names = [only(one.resources("AWS::WAFv2::WebACL"))["VisibilityConfig"]["MetricName"] for one in (built, _built(prefix="CarmenStaging"))]
    assert names == ["CarmenProdEdge", "CarmenStagingEdge"]
