from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from constructs_lib.javascript import with_settings
from environments.loading import load
from local.emulator import NODE
from tests.conftest import Built
from tests.unit.conftest import DOMAIN, Variant, by_id, only

STACK = "CarmenProdEdge"
YEAR = 31_536_000
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # AWS "Use managed cache policies"
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"


def _distribution(built: Built) -> dict[str, Any]:
    return dict(only(built.resources("AWS::CloudFront::Distribution", STACK))["DistributionConfig"])


def _behaviors(built: Built) -> dict[str, dict[str, Any]]:
    return {behavior["PathPattern"]: behavior for behavior in _distribution(built)["CacheBehaviors"]}


def test_nothing_but_cloudfront_reaches_the_balancer(built: Built) -> None:
    balancer = only(built.resources("AWS::ElasticLoadBalancingV2::LoadBalancer", STACK))
    assert balancer["Scheme"] == "internal"
    group = by_id(built.resources("AWS::EC2::SecurityGroup", STACK), "BalancerSecurityGroup")["Properties"]
    assert "SecurityGroupIngress" not in group
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]  # in place of EC2's default: anywhere
    ingress = [
        r["Properties"]
        for r in built.resources("AWS::EC2::SecurityGroupIngress", STACK).values()
        if "BalancerSecurityGroup" in str(r["Properties"]["GroupId"])
    ]
    (rule,) = ingress
    assert "FindVpcOriginSecurityGroup" in str(rule["SourceSecurityGroupId"])
    assert (rule["FromPort"], rule["ToPort"]) == (80, 80)


def test_the_hop_is_https_with_a_domain(variant: Variant) -> None:
    built = variant(domain=DOMAIN)
    listener = only(built.resources("AWS::ElasticLoadBalancingV2::Listener", STACK))
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    origin = only(built.resources("AWS::CloudFront::VpcOrigin", STACK))["VpcOriginEndpointConfig"]
    assert (origin["OriginProtocolPolicy"], origin["OriginSSLProtocols"]) == ("https-only", ["TLSv1.2"])
    config = _distribution(built)
    assert config["Aliases"] == ["carmen.example.com"]
    assert "carmen.example.com" in {origin["DomainName"] for origin in config["Origins"] if "VpcOriginConfig" in origin}
    assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    records = built.resources("AWS::Route53::RecordSet", STACK).values()
    assert {record["Properties"]["Type"] for record in records} == {"A", "AAAA"}


def test_another_region_has_its_own_certificate_and_weak_references(variant: Variant) -> None:
    zones = ["euc1-az1", "euc1-az2", "euc1-az3"]
    built = variant(region="eu-central-1", network={"zones": zones}, domain=DOMAIN)
    certificates = built.resources("AWS::CertificateManager::Certificate")
    assert sorted(name.split("/")[0] for name in certificates) == ["CarmenProdEdge", "CarmenProdEdgeGlobal"]
    config = _distribution(built)
    assert "Fn::GetStackOutput" in json.dumps(config["WebACLId"])
    assert "Fn::GetStackOutput" in json.dumps(config["ViewerCertificate"]["AcmCertificateArn"])


def test_dynamic_paths_are_never_cached(built: Built) -> None:
    default = _distribution(built)["DefaultCacheBehavior"]
    assert (default["CachePolicyId"], default["OriginRequestPolicyId"]) == (CACHING_DISABLED, ALL_VIEWER)
    assert len(default["AllowedMethods"]) == 7
    assert list(_behaviors(built)) == ["/_next/static/*", "/images/*", "/_next/image", "/errors/*"]


def test_static_files_are_cached_for_a_year(built: Built) -> None:
    policy = by_id(built.resources("AWS::CloudFront::CachePolicy", STACK), "StaticFiles")["Properties"]["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (YEAR, YEAR, YEAR)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert (key["CookiesConfig"]["CookieBehavior"], key["HeadersConfig"]["HeaderBehavior"]) == ("none", "none")
    assert {_behaviors(built)[path]["CachePolicyId"]["Ref"] for path in ("/_next/static/*", "/images/*")} == {"EdgeStaticFiles2DBCC12A"}


def test_images_are_cached_by_query_and_accept(built: Built) -> None:
    policy = by_id(built.resources("AWS::CloudFront::CachePolicy", STACK), "EdgeImages")["Properties"]["CachePolicyConfig"]
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["url", "w", "q"]}
    assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept"]}
    assert key["CookiesConfig"]["CookieBehavior"] == "none"


def test_errors_are_cached_for_five_seconds_at_most_and_keep_their_status(built: Built) -> None:
    answers = {answer["ErrorCode"]: answer for answer in _distribution(built)["CustomErrorResponses"]}
    assert {answer["ErrorCachingMinTTL"] for answer in answers.values()} == {5}
    pages = {code: answer["ResponseCode"] for code, answer in answers.items() if "ResponsePagePath" in answer}
    assert pages == {502: 502, 504: 504}
    assert set(answers) == {404, 500, 502, 503, 504}


def test_every_path_gets_the_manuals_headers_over_https(built: Built) -> None:
    config = _distribution(built)
    behaviors = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
    assert {behavior["ViewerProtocolPolicy"] for behavior in behaviors} == {"redirect-to-https"}
    assert {behavior["ResponseHeadersPolicyId"]["Ref"] for behavior in behaviors} == {"EdgeSecurityHeaders82CF589B"}
    assert all(behavior["Compress"] for behavior in behaviors)
    policy = only(built.resources("AWS::CloudFront::ResponseHeadersPolicy", STACK))["ResponseHeadersPolicyConfig"]
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


def test_headers_can_be_left_out(variant: Variant) -> None:
    headers = {"content_security_policy": "", "hsts_max_age_seconds": 0, "permissions_policy": "", "xss_protection": False}
    policy = only(variant(edge={"headers": headers}).resources("AWS::CloudFront::ResponseHeadersPolicy"))["ResponseHeadersPolicyConfig"]
    assert set(policy["SecurityHeadersConfig"]) == {"ContentTypeOptions", "FrameOptions", "ReferrerPolicy"}
    assert "CustomHeadersConfig" not in policy


def test_the_distribution_speaks_http3_behind_the_firewall_and_waits_30_seconds(built: Built) -> None:
    config = _distribution(built)
    assert config["HttpVersion"] == "http2and3"
    assert "WebFirewallWebAcl" in json.dumps(config["WebACLId"])
    (origin,) = [o["VpcOriginConfig"] for o in config["Origins"] if "VpcOriginConfig" in o]
    assert origin["OriginReadTimeout"] == 30


def _run(file: str, event: dict[str, Any], **values: object) -> dict[str, Any]:
    """What the CloudFront Function answers, run by Node."""
    script = f"{with_settings(file, **values)}\nconsole.log(JSON.stringify(handler({json.dumps(event)})));"
    done = subprocess.run([str(NODE / "node"), "-e", script], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _request(uri: str, query: dict[str, Any] | None = None, accept: str | None = None) -> dict[str, Any]:
    edge = load("prod").edge
    event = {
        "request": {"method": "GET", "uri": uri, "querystring": query or {}, "headers": {"accept": {"value": accept}} if accept else {}}
    }
    redirects = {rule.source: {"destination": rule.destination, "permanent": rule.permanent} for rule in edge.redirects}
    return _run("viewer_request.js", event, REDIRECTS=redirects, REWRITES={"/old": "/new"})


def test_the_manuals_redirect_is_permanent_and_keeps_the_query() -> None:
    answer = _request("/dashboard/", {"a": {"value": "1", "multiValue": [{"value": "1"}, {"value": "2"}]}, "b": {"value": ""}})
    assert answer["statusCode"] == 308
    assert answer["headers"]["location"]["value"] == "/dashboard?a=1&a=2&b"
    assert _request("/dashboard")["uri"] == "/dashboard"


def test_rewrites_change_what_the_origin_is_asked() -> None:
    assert _request("/old")["uri"] == "/new"


@pytest.mark.parametrize(
    ("accept", "normal"),
    [
        ("image/avif,image/webp,image/apng,*/*;q=0.8", "image/avif,image/webp"),
        ("image/webp,*/*", "image/webp"),
        ("image/png", "*/*"),
        (None, "*/*"),
    ],
)
def test_accept_of_images_has_three_forms(accept: str | None, normal: str) -> None:
    assert _request("/_next/image", accept=accept)["headers"]["accept"]["value"] == normal


def test_accept_of_other_paths_is_left_alone() -> None:
    assert _request("/dashboard", accept="text/html")["headers"]["accept"]["value"] == "text/html"


@pytest.mark.parametrize(("status", "kept"), [(200, True), (206, True), (304, True), (404, False), (301, False), (500, False)])
def test_static_files_are_immutable_on_success_only(status: int, kept: bool) -> None:
    answer = _run(
        "static_response.js",
        {"response": {"statusCode": status, "headers": {}, "cookies": {"session": {"value": "x"}}}},
        CACHE_CONTROL="public, immutable",
    )
    assert answer["headers"]["cache-control"]["value"] == ("public, immutable" if kept else "no-store")
    assert answer["cookies"] == {}
