"""The load balancer in a small stack: its clients, health checks, timeouts and VPC origin."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins

from constructs_lib.edge.load_balancer import CONTAINER_PORT, idle_timeout_seconds, keep_alive_milliseconds
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, balancer, libraries, network, stack, template

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"


def _built(*, https: bool = False, deletion_protection: bool = True, **service: Any) -> Synthesized:
    small = stack()
    certificate = acm.Certificate.from_certificate_arn(small, "Certificate", CERTIFICATE) if https else None
    one = balancer(small, network(small), certificate=certificate, deletion_protection=deletion_protection, **service)
    origin = origins.VpcOrigin.with_vpc_origin(one.vpc_origin)
    distribution = cloudfront.Distribution(small, "Distribution", default_behavior=cloudfront.BehaviorOptions(origin=origin))
    one.allow_cloudfront(distribution, libraries(small))
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def _ingress(built: Synthesized) -> dict[str, Any]:
    found = built.resources("AWS::EC2::SecurityGroupIngress")
    return only({name: rule for name, rule in found.items() if "BalancerSecurityGroup" in str(rule["Properties"]["GroupId"])})


@pytest.mark.parametrize("protected", [True, False])
def test_deletion_protection_is_a_choice(protected: bool) -> None:
    properties = only(_built(deletion_protection=protected).resources("AWS::ElasticLoadBalancingV2::LoadBalancer"))
    attributes = {one["Key"]: one["Value"] for one in properties["LoadBalancerAttributes"]}
    assert attributes["deletion_protection.enabled"] == str(protected).lower()


def test_load_balancer_is_internal_and_strict(built: Synthesized) -> None:
    properties = only(built.resources("AWS::ElasticLoadBalancingV2::LoadBalancer"))
    assert properties["Scheme"] == "internal"
    attributes = {one["Key"]: one["Value"] for one in properties["LoadBalancerAttributes"]}
    assert attributes["routing.http.desync_mitigation_mode"] == "strictest"
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert (attributes["access_logs.s3.enabled"], attributes["access_logs.s3.prefix"]) == ("true", "load-balancer")


def test_only_cloudfronts_vpc_origin_reaches_it(built: Synthesized) -> None:
    group = by_id(built.resources("AWS::EC2::SecurityGroup"), "BalancerSecurityGroup")["Properties"]
    assert "SecurityGroupIngress" not in group
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]  # replaces EC2's default: anywhere
    rule = _ingress(built)
    assert "OriginSecurityGroupFound" in str(rule["SourceSecurityGroupId"])
    assert (rule["FromPort"], rule["ToPort"]) == (80, 80)


def test_tasks_security_group_is_closed(built: Synthesized) -> None:
    group = by_id(built.resources("AWS::EC2::SecurityGroup"), "TaskSecurityGroup")["Properties"]
    assert "SecurityGroupIngress" not in group
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]


def test_targets_are_the_containers_port_and_health_path(built: Synthesized) -> None:
    group = only(built.resources("AWS::ElasticLoadBalancingV2::TargetGroup"))
    assert (group["Port"], group["Protocol"], group["TargetType"]) == (CONTAINER_PORT, "HTTP", "ip") == (3006, "HTTP", "ip")
    checks = {key: group[key] for key in group if key.startswith("Health") or key.endswith(("ThresholdCount", "Matcher"))}
    assert checks == {
        "HealthCheckPath": "/api/health/live",
        "HealthCheckIntervalSeconds": 15,
        "HealthCheckTimeoutSeconds": 5,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 3,
        "Matcher": {"HttpCode": "200"},
    }
    attributes = {one["Key"]: one["Value"] for one in group["TargetGroupAttributes"]}
    assert attributes["deregistration_delay.timeout_seconds"] == "30"


def test_health_path_is_a_setting() -> None:
    group = only(_built(health_path="/healthz").resources("AWS::ElasticLoadBalancingV2::TargetGroup"))
    assert group["HealthCheckPath"] == "/healthz"


def test_http_without_a_certificate(built: Synthesized) -> None:
    listener = only(built.resources("AWS::ElasticLoadBalancingV2::Listener"))
    assert (listener["Port"], listener["Protocol"], "Certificates" in listener) == (80, "HTTP", False)
    origin = only(built.resources("AWS::CloudFront::VpcOrigin"))["VpcOriginEndpointConfig"]
    assert origin["OriginProtocolPolicy"] == "http-only"


def test_https_with_a_certificate() -> None:
    built = _built(https=True)
    listener = only(built.resources("AWS::ElasticLoadBalancingV2::Listener"))
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    origin = only(built.resources("AWS::CloudFront::VpcOrigin"))["VpcOriginEndpointConfig"]
    assert (origin["OriginProtocolPolicy"], origin["OriginSSLProtocols"]) == ("https-only", ["TLSv1.2"])
    assert (_ingress(built)["FromPort"], _ingress(built)["ToPort"]) == (443, 443)


def test_idle_connections_end_at_the_load_balancer_first(built: Synthesized) -> None:
    """Otherwise a request meets a connection that the application has just closed, and the user sees 502."""
    attributes = only(built.resources("AWS::ElasticLoadBalancingV2::LoadBalancer"))["LoadBalancerAttributes"]
    (idle,) = [int(one["Value"]) for one in attributes if one["Key"] == "idle_timeout.timeout_seconds"]
    assert (idle, keep_alive_milliseconds(30)) == (40, 45_000)
    assert 30 < idle_timeout_seconds(30) == idle
