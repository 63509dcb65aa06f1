"""The distribution in a small stack: caching and cache keys, headers, errors, functions and origins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized
from tests.constructs.edge.conftest import CERTIFICATE, WEB_ACL, distribution

YEAR = 31_536_000
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # AWS "Use managed cache policies"
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return distribution()


@pytest.fixture(scope="module")
def with_domain() -> Synthesized:
    return distribution(domain=True)


def _distribution(built: Synthesized) -> dict[str, Any]:
    return dict(only(built.resources("AWS::CloudFront::Distribution"))["DistributionConfig"])


def _behaviors(built: Synthesized) -> dict[str, dict[str, Any]]:
    return {behavior["PathPattern"]: behavior for behavior in _distribution(built)["CacheBehaviors"]}


def _cache_policy(built: Synthesized, part: str) -> dict[str, Any]:
    return dict(by_id(built.resources("AWS::CloudFront::CachePolicy"), part)["Properties"]["CachePolicyConfig"])


def test_domain_is_alias_and_name_of_the_origin(with_domain: Synthesized) -> None:
    config = _distribution(with_domain)
    assert config["Aliases"] == ["carmen.example.com"]
    assert "carmen.example.com" in {origin["DomainName"] for origin in config["Origins"] if "VpcOriginConfig" in origin}
    assert config["ViewerCertificate"]["AcmCertificateArn"] == CERTIFICATE
    assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"


def test_without_a_domain_cloudfronts_name_and_certificate_serve(built: Synthesized) -> None:
    config = _distribution(built)
    assert not {"Aliases", "ViewerCertificate"} & config.keys()
    (origin,) = [origin for origin in config["Origins"] if "VpcOriginConfig" in origin]
    assert "DNSName" in json.dumps(origin["DomainName"])  # of the load balancer


def test_dynamic_paths_are_never_cached(built: Synthesized) -> None:
    default = _distribution(built)["DefaultCacheBehavior"]
    assert (default["CachePolicyId"], default["OriginRequestPolicyId"]) == (CACHING_DISABLED, ALL_VIEWER)
    assert len(default["AllowedMethods"]) == 7
    assert list(_behaviors(built)) == ["/_next/static/*", "/images/*", "/_next/image", "/errors/*"]


def test_static_files_are_cached_for_a_year(built: Synthesized) -> None:
    policy = _cache_policy(built, "StaticFiles")
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (YEAR, YEAR, YEAR)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert (key["CookiesConfig"]["CookieBehavior"], key["HeadersConfig"]["HeaderBehavior"]) == ("none", "none")
    assert "EdgeStaticFiles" in _behaviors(built)["/images/*"]["CachePolicyId"]["Ref"]


def test_release_files_fall_back_from_bucket_to_application(built: Synthesized) -> None:
    config, behavior = _distribution(built), _behaviors(built)["/_next/static/*"]
    (group,) = config["OriginGroups"]["Items"]
    assert behavior["TargetOriginId"] == group["Id"]
    assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [403, 404, 500, 502, 503, 504]
    origins = {origin["Id"]: origin for origin in config["Origins"]}
    bucket, application = (origins[member["OriginId"]] for member in group["Members"]["Items"])
    name, attribute = bucket["DomainName"]["Fn::GetAtt"]
    assert (built.body["Resources"][name]["Type"], attribute) == ("AWS::S3::Bucket", "RegionalDomainName")
    assert name.startswith("ReleaseFiles")
    assert "VpcOriginConfig" in application
    assert application["Id"] == config["DefaultCacheBehavior"]["TargetOriginId"]
    access = built.body["Resources"][bucket["OriginAccessControlId"]["Fn::GetAtt"][0]]["Properties"]["OriginAccessControlConfig"]
    assert (access["OriginAccessControlOriginType"], access["SigningBehavior"], access["SigningProtocol"]) == ("s3", "always", "sigv4")
    assert bucket["S3OriginConfig"] == {"OriginAccessIdentity": ""}


def test_release_files_are_cached_for_a_year_by_path_alone(built: Synthesized) -> None:
    policy = _cache_policy(built, "ReleaseFiles")
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (YEAR, YEAR, YEAR)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    behaviors = [key[name][one] for name, one in (("CookiesConfig", "CookieBehavior"), ("HeadersConfig", "HeaderBehavior"))]
    assert [*behaviors, key["QueryStringsConfig"]["QueryStringBehavior"]] == ["none"] * 3
    assert "EdgeReleaseFiles" in _behaviors(built)["/_next/static/*"]["CachePolicyId"]["Ref"]


def test_only_this_distribution_reads_release_files(built: Synthesized) -> None:
    policies = built.resources("AWS::S3::BucketPolicy")
    statements = by_id(policies, "/ReleaseFilesPolicy")["Properties"]["PolicyDocument"]["Statement"]
    (read,) = [one for one in statements if one["Effect"] == "Allow"]
    assert (read["Action"], read["Principal"]) == ("s3:GetObject", {"Service": "cloudfront.amazonaws.com"})
    (source,) = read["Condition"]["StringEquals"].values()
    (logical_id,) = built.resources("AWS::CloudFront::Distribution")
    assert source["Fn::Join"][1][-2:] == [":distribution/", {"Ref": logical_id.removeprefix("/")}]


def test_images_are_cached_by_query_and_accept(built: Synthesized) -> None:
    policy = _cache_policy(built, "EdgeImages")
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["url", "w", "q"]}
    assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept"]}
    assert key["CookiesConfig"]["CookieBehavior"] == "none"
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 60)


def test_only_the_error_page_is_cached_with_the_errors_status(built: Synthesized) -> None:
    answers = {answer["ErrorCode"]: answer for answer in _distribution(built)["CustomErrorResponses"]}
    pages = {code: answer["ResponseCode"] for code, answer in answers.items() if "ResponsePagePath" in answer}
    assert pages == {502: 502, 504: 504}
    cached = {code: answer["ErrorCachingMinTTL"] for code, answer in answers.items()}
    assert cached == {502: 5, 504: 5, **dict.fromkeys((400, 403, 404, 405, 414, 500, 501, 503), 0)}


def test_error_page_is_uploaded_where_errors_point_to(built: Synthesized) -> None:
    (path,) = {one["ResponsePagePath"] for one in _distribution(built)["CustomErrorResponses"] if "ResponsePagePath" in one}
    upload = json.dumps(by_id(built.resources("Custom::AWS"), "PublishUnavailablePage")["Properties"])
    assert path == "/errors/unavailable.html"
    assert path.removeprefix("/") in upload
    assert "Carmen is not available" in upload


def test_every_path_gets_the_manuals_headers_over_https(built: Synthesized) -> None:
    config = _distribution(built)
    behaviors = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
    assert {behavior["ViewerProtocolPolicy"] for behavior in behaviors} == {"redirect-to-https"}
    (policy_id,) = {behavior["ResponseHeadersPolicyId"]["Ref"] for behavior in behaviors}
    assert policy_id.startswith("EdgeSecurityHeaders")
    assert all(behavior["Compress"] for behavior in behaviors)
    policy = only(built.resources("AWS::CloudFront::ResponseHeadersPolicy"))["ResponseHeadersPolicyConfig"]
    security = policy["SecurityHeadersConfig"]
    assert "vercel" not in security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    assert security["FrameOptions"]["FrameOption"] == "DENY"
    assert security["StrictTransportSecurity"] == {
        "AccessControlMaxAgeSec": YEAR,
        "IncludeSubdomains": True,
        "Override": True,
        "Preload": True,
    }
    assert security["ReferrerPolicy"]["ReferrerPolicy"] == "origin-when-cross-origin"
    assert security["XSSProtection"] == {"ModeBlock": True, "Override": True, "Protection": True}
    assert security["ContentTypeOptions"] == {"Override": True}
    (custom,) = policy["CustomHeadersConfig"]["Items"]
    assert (custom["Header"], custom["Value"]) == ("Permissions-Policy", "camera=(), microphone=(), geolocation=()")


def test_http3_waf_logs_and_a_timeout_of_30_seconds(built: Synthesized) -> None:
    config = _distribution(built)
    assert config["HttpVersion"] == "http2and3"
    assert config["WebACLId"] == WEB_ACL
    assert (config["Logging"]["Prefix"], "AccessLogs" in json.dumps(config["Logging"]["Bucket"])) == ("cloudfront/", True)
    (origin,) = [one["VpcOriginConfig"] for one in config["Origins"] if "VpcOriginConfig" in one]
    assert origin["OriginReadTimeout"] == 30


def test_functions_run_on_requests_and_on_static_responses(built: Synthesized) -> None:
    config = _distribution(built)
    events = {
        behavior.get("PathPattern", "*"): [function["EventType"] for function in behavior.get("FunctionAssociations", [])]
        for behavior in [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
    }
    static = ["viewer-request", "viewer-response"]
    assert events == {
        "*": ["viewer-request"],
        "/_next/static/*": static,
        "/images/*": static,
        "/_next/image": ["viewer-request"],
        "/errors/*": [],
    }


def test_origin_metrics_are_enabled(built: Synthesized) -> None:
    subscription = only(built.resources("AWS::CloudFront::MonitoringSubscription"))["MonitoringSubscription"]
    assert subscription == {"RealtimeMetricsSubscriptionConfig": {"RealtimeMetricsSubscriptionStatus": "Enabled"}}


def test_settings_change_paths_errors_headers_and_metrics() -> None:
    headers = {"content_security_policy": "", "hsts_max_age_seconds": 0, "permissions_policy": "", "xss_protection": False}
    headers |= {"opt_out_reason": "The application sends its own, for a test."}
    built = distribution(static_paths=("/fonts/*",), error_max_age_seconds=1, origin_metrics=False, headers=headers, redirects=REDIRECTS)
    behaviors = _behaviors(built)
    assert list(behaviors) == ["/_next/static/*", "/fonts/*", "/_next/image", "/errors/*"]
    assert behaviors["/_next/static/*"]["TargetOriginId"] != behaviors["/fonts/*"]["TargetOriginId"]
    assert {answer["ErrorCachingMinTTL"] for answer in _distribution(built)["CustomErrorResponses"]} == {0, 1}
    assert built.resources("AWS::CloudFront::MonitoringSubscription") == {}
    (policy,) = built.resources("AWS::CloudFront::ResponseHeadersPolicy").values()
    config = policy["Properties"]["ResponseHeadersPolicyConfig"]
    assert set(config["SecurityHeadersConfig"]) == {"ContentTypeOptions", "FrameOptions", "ReferrerPolicy"}
    assert "CustomHeadersConfig" not in config
    reasons = {key: value for key, value in policy["Metadata"].items() if key.endswith("OptOut")}
    omitted = ("ContentSecurityPolicy", "HstsMaxAgeSeconds", "PermissionsPolicy", "XssProtection")
    assert reasons == dict.fromkeys((f"{name}OptOut" for name in omitted), headers["opt_out_reason"])
    code = by_id(built.resources("AWS::CloudFront::Function"), "ViewerRequest")["Properties"]["FunctionCode"]
    assert '"/old": {"destination": "/new", "permanent": true}' in code


REDIRECTS = [{"source": "/old", "destination": "/new", "permanent": True}]
