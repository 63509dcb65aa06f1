from __future__ import annotations

import json
from typing import Any

from tests.conftest import DOMAIN, Built, Variant, by_id, only

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
    assert _behaviors(built)["/images/*"]["CachePolicyId"]["Ref"] == "EdgeStaticFiles2DBCC12A"


def test_files_of_releases_come_from_their_bucket_or_else_from_the_application(built: Built) -> None:
    config, behavior = _distribution(built), _behaviors(built)["/_next/static/*"]
    (group,) = config["OriginGroups"]["Items"]
    assert behavior["TargetOriginId"] == group["Id"]
    assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [403, 404, 500, 502, 503, 504]
    origins = {origin["Id"]: origin for origin in config["Origins"]}
    bucket, application = (origins[member["OriginId"]] for member in group["Members"]["Items"])
    assert bucket["DomainName"] == {"Fn::GetAtt": ["ReleaseFiles96BE8944", "RegionalDomainName"]}
    assert "VpcOriginConfig" in application
    assert application["Id"] == config["DefaultCacheBehavior"]["TargetOriginId"]
    access = built.templates[STACK]["Resources"][bucket["OriginAccessControlId"]["Fn::GetAtt"][0]]["Properties"][
        "OriginAccessControlConfig"
    ]
    assert (access["OriginAccessControlOriginType"], access["SigningBehavior"], access["SigningProtocol"]) == ("s3", "always", "sigv4")
    assert bucket["S3OriginConfig"] == {"OriginAccessIdentity": ""}


def test_files_of_releases_are_cached_for_a_year_by_path_alone(built: Built) -> None:
    policy = by_id(built.resources("AWS::CloudFront::CachePolicy", STACK), "ReleaseFiles")["Properties"]["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (YEAR, YEAR, YEAR)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    behaviors = [key[name][one] for name, one in (("CookiesConfig", "CookieBehavior"), ("HeadersConfig", "HeaderBehavior"))]
    assert [*behaviors, key["QueryStringsConfig"]["QueryStringBehavior"]] == ["none"] * 3
    assert _behaviors(built)["/_next/static/*"]["CachePolicyId"]["Ref"] == "EdgeReleaseFiles225A59A6"


def test_files_of_releases_are_read_by_the_one_distribution_and_go_when_they_are_old(built: Built, variant: Variant) -> None:
    statements = by_id(built.resources("AWS::S3::BucketPolicy", STACK), "ReleaseFiles")["Properties"]["PolicyDocument"]["Statement"]
    (read,) = [one for one in statements if one["Effect"] == "Allow"]
    assert (read["Action"], read["Principal"]) == ("s3:GetObject", {"Service": "cloudfront.amazonaws.com"})
    (source,) = read["Condition"]["StringEquals"].values()
    assert source["Fn::Join"][1][-2:] == [":distribution/", {"Ref": "EdgeDistribution0060737B"}]
    bucket = by_id(built.resources("AWS::S3::Bucket", STACK), "ReleaseFiles")
    expire, tidy_up = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    assert (expire["ExpirationInDays"], expire["NoncurrentVersionExpiration"], "Prefix" in expire) == (30, {"NoncurrentDays": 1}, False)
    assert tidy_up["ExpiredObjectDeleteMarker"] is True
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    longer = by_id(variant(storage={"release_file_days": 90}).resources("AWS::S3::Bucket", STACK), "ReleaseFiles")["Properties"]
    assert longer["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 90


def test_files_of_releases_have_their_place_whatever_else_is_static(variant: Variant) -> None:
    behaviors = _behaviors(variant(edge={"static_paths": ("/fonts/*",)}))
    assert list(behaviors) == ["/_next/static/*", "/fonts/*", "/_next/image", "/errors/*"]
    assert behaviors["/_next/static/*"]["TargetOriginId"] != behaviors["/fonts/*"]["TargetOriginId"]


def test_images_are_cached_by_query_and_accept(built: Built) -> None:
    policy = by_id(built.resources("AWS::CloudFront::CachePolicy", STACK), "EdgeImages")["Properties"]["CachePolicyConfig"]
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "whitelist", "QueryStrings": ["url", "w", "q"]}
    assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept"]}
    assert key["CookiesConfig"]["CookieBehavior"] == "none"


def test_only_the_page_for_a_dead_origin_is_kept_and_errors_keep_their_status(built: Built, variant: Variant) -> None:
    answers = {answer["ErrorCode"]: answer for answer in _distribution(built)["CustomErrorResponses"]}
    pages = {code: answer["ResponseCode"] for code, answer in answers.items() if "ResponsePagePath" in answer}
    assert pages == {502: 502, 504: 504}
    kept = {code: answer["ErrorCachingMinTTL"] for code, answer in answers.items()}
    assert kept == {502: 5, 504: 5, **dict.fromkeys((400, 403, 404, 405, 414, 500, 501, 503), 0)}
    shorter = _distribution(variant(edge={"error_max_age_seconds": 1}))["CustomErrorResponses"]
    assert {answer["ErrorCachingMinTTL"] for answer in shorter} == {0, 1}


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
    headers |= {"opt_out_reason": "The application sends its own, for a test."}
    policy = only(variant(edge={"headers": headers}).resources("AWS::CloudFront::ResponseHeadersPolicy"))["ResponseHeadersPolicyConfig"]
    assert set(policy["SecurityHeadersConfig"]) == {"ContentTypeOptions", "FrameOptions", "ReferrerPolicy"}
    assert "CustomHeadersConfig" not in policy


def test_the_distribution_speaks_http3_behind_the_firewall_and_waits_30_seconds(built: Built) -> None:
    config = _distribution(built)
    assert config["HttpVersion"] == "http2and3"
    assert "WebFirewallWebAcl" in json.dumps(config["WebACLId"])
    (origin,) = [o["VpcOriginConfig"] for o in config["Origins"] if "VpcOriginConfig" in o]
    assert origin["OriginReadTimeout"] == 30


def test_functions_run_on_requests_everywhere_and_on_answers_of_static_paths(built: Built) -> None:
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
