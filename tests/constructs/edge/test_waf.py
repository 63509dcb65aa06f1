from __future__ import annotations

from typing import Any

from constructs_lib.edge.waf import COUNTED_IN_COMMON
from tests.conftest import DOMAIN, Built, Variant, only

STACK = "CarmenProdEdgeGlobal"


def _rules(built: Built) -> dict[str, dict[str, Any]]:
    return {rule["Name"]: rule for rule in only(built.resources("AWS::WAFv2::WebACL", STACK))["Rules"]}


def test_rate_limits_come_after_what_operators_block_and_are_the_settings(built: Built) -> None:
    rules = _rules(built)
    limits = {name: rules[name]["Statement"]["RateBasedStatement"] for name in ("RateSignIn", "RateApi", "RateSite")}
    assert {name: limit["Limit"] for name, limit in limits.items()} == {"RateSignIn": 100, "RateApi": 1000, "RateSite": 3000}
    assert {limit["EvaluationWindowSec"] for limit in limits.values()} == {300}
    assert [rules[name]["Priority"] for name in limits] == [3, 4, 5]
    assert all("Block" in rules[name]["Action"] for name in limits)


def test_body_rules_of_the_managed_groups_only_label(built: Built) -> None:
    common = _rules(built)["Common"]["Statement"]["ManagedRuleGroupStatement"]
    assert {o["Name"] for o in common["RuleActionOverrides"]} == set(COUNTED_IN_COMMON) >= {"SizeRestrictions_BODY"}
    assert all(o["ActionToUse"] == {"Count": {}} for o in common["RuleActionOverrides"])


def test_body_attacks_and_large_bodies_are_blocked_outside_upload_paths(built: Built) -> None:
    for name in ("BodyAttacks", "LargeBody"):
        rule = _rules(built)[name]
        assert "Block" in rule["Action"]
        _, outside = rule["Statement"]["AndStatement"]["Statements"]
        assert outside["NotStatement"]["Statement"]["ByteMatchStatement"]["SearchString"] == "/api/upload"
    size = _rules(built)["LargeBody"]["Statement"]["AndStatement"]["Statements"][0]["SizeConstraintStatement"]
    assert (size["ComparisonOperator"], size["Size"]) == ("GT", 6)  # more than six digits: 1,000,000 bytes and up


def test_logs_go_where_waf_can_write_and_hide_secrets(built: Built) -> None:
    group = only(built.resources("AWS::Logs::LogGroup", STACK))
    assert (group["LogGroupName"], group["RetentionInDays"]) == ("aws-waf-logs-carmenprod", 90)
    logging = only(built.resources("AWS::WAFv2::LoggingConfiguration", STACK))
    redacted = [field.get("SingleHeader", {}).get("Name") for field in logging["RedactedFields"]]
    assert {"authorization", "cookie"} <= set(redacted)
    assert {"QueryString": {}} in logging["RedactedFields"]
    assert logging["LoggingFilter"]["DefaultBehavior"] == "DROP"


def test_a_domain_brings_a_certificate(built: Built, variant: Variant) -> None:
    assert not built.resources("AWS::CertificateManager::Certificate")
    certificate = only(variant(domain=DOMAIN).resources("AWS::CertificateManager::Certificate", STACK))
    assert (certificate["DomainName"], certificate["ValidationMethod"]) == ("carmen.example.com", "DNS")
