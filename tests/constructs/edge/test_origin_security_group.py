"""The security group of VPC origins in a small stack: when it is looked for, and by what."""

from __future__ import annotations

import pytest
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins

from constructs_lib.edge.origin_security_group import OriginSecurityGroup
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, balancer, libraries, network, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    small = stack()
    vpc = network(small)
    origin = balancer(small, vpc).vpc_origin
    behavior = cloudfront.BehaviorOptions(origin=origins.VpcOrigin.with_vpc_origin(origin))
    distribution = cloudfront.Distribution(small, "Distribution", default_behavior=behavior)
    OriginSecurityGroup(small, "Group", vpc=vpc.vpc, vpc_origin=origin, distribution=distribution, libraries=libraries(small))
    return template(small)


def test_group_is_looked_for_after_the_distribution(built: Synthesized) -> None:
    """CDK README of aws-cloudfront-origins: "The security group may be available after the distribution is deployed"."""
    (found,) = built.resources("Custom::OriginSecurityGroup").values()
    (distribution,) = built.resources("AWS::CloudFront::Distribution")
    assert distribution.removeprefix("/") in found["DependsOn"]


def test_another_origin_or_vpc_asks_again(built: Synthesized) -> None:
    properties = only(built.resources("Custom::OriginSecurityGroup"))
    (origin,) = built.resources("AWS::CloudFront::VpcOrigin")
    (vpc,) = built.resources("AWS::EC2::VPC")
    assert properties["VpcOriginId"] == {"Fn::GetAtt": [origin.removeprefix("/"), "Id"]}
    assert properties["VpcId"] == {"Ref": vpc.removeprefix("/")}


def test_function_answers_before_cloudformation_gives_up(built: Synthesized) -> None:
    """Its own reason, not "did not receive a response"; and an empty answer is a failure, unlike a call of the SDK."""
    function = by_id(built.resources("AWS::Lambda::Function"), "/GroupFunction")["Properties"]
    wait = int(function["Environment"]["Variables"]["WAIT_SECONDS"])
    properties = only(built.resources("Custom::OriginSecurityGroup"))
    assert 0 < wait + 30 <= function["Timeout"] < int(properties["ServiceTimeout"])
    assert function["Handler"] == "origin_security_group.handler.handler"


def test_function_may_only_list_security_groups(built: Synthesized) -> None:
    policy = by_id(built.resources("AWS::IAM::Policy"), "/GroupRoleDefaultPolicy")["Properties"]["PolicyDocument"]["Statement"]
    assert [one["Action"] for one in policy if one["Resource"] == "*"] == ["ec2:DescribeSecurityGroups"]
    assert [sorted(one["Action"]) for one in policy if one["Resource"] != "*"] == [["logs:CreateLogStream", "logs:PutLogEvents"]]
