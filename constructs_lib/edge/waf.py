"""AWS WAF in front of CloudFront: managed rules tuned for Next.js and uploads, and rate limits per address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from constructs_lib.foundation.acknowledgements import record_opt_outs
from constructs_lib.foundation.log_retention import retention_days
from settings import sections
from settings.url_paths import SIGN_IN

WINDOW_SECONDS = 300
MINIMUM_RATE_LIMIT = 10  # of a rate-based rule
ATTACK_MODE_DIVISOR = 10  # attack mode divides the site's rate limit by this
Rule = dict[str, Any]  # the properties of a rule, without its priority
Statement = wafv2.CfnWebACL.StatementProperty

# Rules that read bodies would block file uploads and rich text. They only label (Count); `_BODY_ATTACKS` then blocks by
# label outside the upload paths. XSS and SQL patterns are only counted: rich text holds HTML by design (the application
# sanitises it, manual "Input Validation"), free text holds quotes, and Prisma sends parameters, not SQL. Known bad inputs
# (such as Log4j) stay blocked everywhere: legitimate files and texts do not contain them.
COUNTED_IN_COMMON = (
    "SizeRestrictions_BODY",
    "CrossSiteScripting_BODY",
    "GenericLFI_BODY",
    "GenericRFI_BODY",
    "EC2MetaDataSSRF_BODY",
)
COUNTED_IN_SQLI = ("SQLi_BODY", "SQLiExtendedPatterns_BODY")
_BODY_ATTACKS = ("GenericLFI_Body", "GenericRFI_Body", "EC2MetaDataSSRF_Body")
# `..` between slashes or backslashes, once decoded. Browsers resolve it before they send a path (WHATWG URL, "path state").
PARENT_REFERENCE = r"(^|[/\\])\.\.([/\\]|$)"
REDACTED_HEADERS = ("authorization", "cookie", "x-csrf-token", "x-webhook-secret")


class WebFirewall(Construct):
    """A web ACL for CloudFront (us-east-1). Logs blocked and counted requests, with secrets redacted."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Edge, prefix: str) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.metric_name = f"{prefix}Edge"  # CloudWatch's name for it: must differ between environments of one account
        self.web_acl = self._define_web_acl()
        self.log_group = self._define_logging(prefix.lower())

    def _define_web_acl(self) -> wafv2.CfnWebACL:
        all_rules = self._settings.all_firewall_rules
        rules = [
            *([self._blocked_addresses()] if all_rules else []),
            *([_block("ParentReference", _parent_reference()), *self._attack_mode_rules()] if all_rules else []),
            *self._rate_limits(all_rules),
            *([self._large_bodies()] if all_rules else []),
            _managed("AmazonIpReputation", "AWSManagedRulesAmazonIpReputationList"),
            _managed("KnownBadInputs", "AWSManagedRulesKnownBadInputsRuleSet"),
            _managed("Common", "AWSManagedRulesCommonRuleSet", counted=COUNTED_IN_COMMON),
            _managed("SqlInjection", "AWSManagedRulesSQLiRuleSet", counted=COUNTED_IN_SQLI),
            self._body_attacks(),
        ]
        web_acl = wafv2.CfnWebACL(
            self,
            "WebAcl",
            description="Carmen edge: rate limits, managed rules tuned for Next.js and uploads",
            scope="CLOUDFRONT",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visibility(self.metric_name),
            rules=[wafv2.CfnWebACL.RuleProperty(priority=priority, **rule) for priority, rule in enumerate(rules)],
        )
        record_opt_outs(web_acl, self._settings, "all_firewall_rules")
        return web_acl

    def _blocked_addresses(self) -> Rule:
        """Block the addresses that operators list: `./carmen firewall block`."""
        blocked = self._from_ip_set("Blocked", "Blocked addresses, managed by ./carmen firewall block and unblock")
        return _block("BlockedAddresses", blocked)

    def _from_ip_set(self, name: str, description: str) -> Statement:
        """Match senders in an IP set that operators fill. It is created empty; later deployments do not change it."""
        sets = [
            wafv2.CfnIPSet(
                self, f"{name}{version}", scope="CLOUDFRONT", ip_address_version=version.upper(), addresses=[], description=description
            )
            for version in ("Ipv4", "Ipv6")
        ]
        return _any(*(Statement(ip_set_reference_statement={"arn": one.attr_arn}) for one in sets))

    def _attack_mode_rules(self) -> list[Rule]:
        """Challenge browsers and lower the rate limit. `./carmen firewall attack-mode on` adds all addresses to the IP set."""
        attacked = self._from_ip_set("AttackMode", "All addresses in attack mode, otherwise none: ./carmen firewall attack-mode")
        static = self._static()
        challenge = Rule(
            name="AttackModeChallenge",
            statement=_all(attacked, _not(_any(_is_below("/api/"), static))),
            action=wafv2.CfnWebACL.RuleActionProperty(challenge={}),
            visibility_config=_visibility("AttackModeChallenge"),
        )
        limit = max(MINIMUM_RATE_LIMIT, self._settings.rate_limits.site // ATTACK_MODE_DIVISOR)
        return [challenge, _rate_limit("AttackModeRateLimit", limit, _all(attacked, _not(static)))]

    def _static(self) -> Statement:
        return _exempt(
            *(_is_below(path.removesuffix("*")) if path.endswith("*") else _is(path) for path in self._settings.all_static_paths)
        )

    def _rate_limits(self, all_rules: bool) -> list[Rule]:
        limits = self._settings.rate_limits
        site = _rate_limit("RateSite", limits.site, _not(self._static()))
        if not all_rules:
            return [site]
        sign_in = _all(_may_be_below(SIGN_IN), _not(_any(_method_is("GET"), _method_is("HEAD"))))
        return [
            _rate_limit("RateSignIn", limits.sign_in, sign_in),
            _rate_limit("RateApi", limits.api, _may_be_below("/api/")),
            site,
        ]

    def _large_bodies(self) -> Rule:
        """Block bodies of 1, 10 or 100 MB and more. WAF compares the *length* of a header, so the limit is its number of digits."""
        digits = len(str(self._settings.max_body_mb * 1_000_000)) - 1
        too_long = Statement(
            size_constraint_statement=wafv2.CfnWebACL.SizeConstraintStatementProperty(
                field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(single_header={"Name": "content-length"}),
                comparison_operator="GT",
                size=digits,
                text_transformations=_transformations("NONE"),
            )
        )
        return _block("LargeBody", self._outside_uploads(too_long))

    def _body_attacks(self) -> Rule:
        labels = [_has_label(f"awswaf:managed:aws:core-rule-set:{name}") for name in _BODY_ATTACKS]
        return _block("BodyAttacks", self._outside_uploads(_any(*labels)))

    def _outside_uploads(self, statement: Statement) -> Statement:
        uploads = [one for path in self._settings.upload_paths for one in (_is(path), _is_below(f"{path.removesuffix('/')}/"))]
        return _all(statement, _not(_exempt(*uploads))) if uploads else statement

    def _define_logging(self, suffix: str) -> logs.LogGroup:
        group = logs.LogGroup(
            self,
            "LogGroup",
            log_group_name=f"aws-waf-logs-{suffix}",  # WAF requires this prefix: ADR 0006
            retention=retention_days(self._settings.waf_log_retention_days),
            removal_policy=RemovalPolicy.DESTROY,
        )
        field = wafv2.CfnLoggingConfiguration.FieldToMatchProperty
        redacted = [field(single_header={"Name": name}) for name in REDACTED_HEADERS]
        keep = [{"ActionCondition": {"Action": action}} for action in ("BLOCK", "COUNT", "EXCLUDED_AS_COUNT")]
        wafv2.CfnLoggingConfiguration(
            self,
            "Logging",
            resource_arn=self.web_acl.attr_arn,
            log_destination_configs=[group.log_group_arn.removesuffix(":*")],
            # Query strings carry sign-in and reset tokens.
            redacted_fields=[*redacted, field(query_string={})],
            logging_filter={"DefaultBehavior": "DROP", "Filters": [{"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": keep}]},
        )
        return group


_PATH = wafv2.CfnWebACL.FieldToMatchProperty(uri_path={})


def _visibility(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True)


def _block(name: str, statement: Statement) -> Rule:
    return Rule(
        name=name,
        statement=statement,
        action=wafv2.CfnWebACL.RuleActionProperty(block={}),
        visibility_config=_visibility(name),
    )


def _rate_limit(name: str, limit: int, scope_down: Statement) -> Rule:
    statement = wafv2.CfnWebACL.RateBasedStatementProperty(
        aggregate_key_type="IP", limit=limit, evaluation_window_sec=WINDOW_SECONDS, scope_down_statement=scope_down
    )
    return _block(name, Statement(rate_based_statement=statement))


def _managed(name: str, group: str, counted: Sequence[str] = ()) -> Rule:
    statement = wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
        vendor_name="AWS",
        name=group,
        rule_action_overrides=[
            wafv2.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={}))
            for rule in counted
        ]
        or None,
    )
    return Rule(
        name=name,
        statement=Statement(managed_rule_group_statement=statement),
        override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_visibility(name),
    )


def _exempt(*paths: Statement) -> Statement:
    """One of the paths, and no parent reference: `/images/a%2fb/../../dashboard` is the dashboard, also where no rule blocks it."""
    return _all(_any(*paths), _not(_parent_reference()))


def _is_below(prefix: str) -> Statement:
    """An exemption: the path as it is written, as Next.js compares it. `/x/..%2fimages%2fx` and `/images%2fx` are pages (ADR 0032)."""
    return _matches(_PATH, prefix, "STARTS_WITH", ("NONE",))


def _is(path: str) -> Statement:
    """An exemption of one path, as it is written."""
    return _matches(_PATH, path, "EXACTLY", ("NONE",))


def _may_be_below(prefix: str) -> Statement:
    """A limit: every spelling that a server could decode to the path, such as `/api/%61uth/` and `/api//auth/`."""
    return _matches(_PATH, prefix, "STARTS_WITH", ("URL_DECODE", "NORMALIZE_PATH"))


def _parent_reference() -> Statement:
    return Statement(
        regex_match_statement=wafv2.CfnWebACL.RegexMatchStatementProperty(
            field_to_match=_PATH,
            regex_string=PARENT_REFERENCE,
            text_transformations=_transformations("URL_DECODE"),
        )
    )


def _method_is(method: str) -> Statement:
    return _matches(wafv2.CfnWebACL.FieldToMatchProperty(method={}), method, "EXACTLY", ("NONE",))


def _matches(field: wafv2.CfnWebACL.FieldToMatchProperty, text: str, constraint: str, transformations: Sequence[str]) -> Statement:
    return Statement(
        byte_match_statement=wafv2.CfnWebACL.ByteMatchStatementProperty(
            field_to_match=field,
            positional_constraint=constraint,
            search_string=text,
            text_transformations=_transformations(*transformations),
        )
    )


def _transformations(*names: str) -> list[wafv2.CfnWebACL.TextTransformationProperty]:
    return [wafv2.CfnWebACL.TextTransformationProperty(priority=priority, type=name) for priority, name in enumerate(names)]


def _has_label(label: str) -> Statement:
    return Statement(label_match_statement=wafv2.CfnWebACL.LabelMatchStatementProperty(scope="LABEL", key=label))


def _not(statement: Statement) -> Statement:
    return Statement(not_statement=wafv2.CfnWebACL.NotStatementProperty(statement=statement))


def _all(*statements: Statement) -> Statement:
    return Statement(and_statement=wafv2.CfnWebACL.AndStatementProperty(statements=list(statements)))


def _any(*statements: Statement) -> Statement:
    if len(statements) == 1:
        return statements[0]
    return Statement(or_statement=wafv2.CfnWebACL.OrStatementProperty(statements=list(statements)))
