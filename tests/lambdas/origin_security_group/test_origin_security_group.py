"""The function in the embedded AWS, where the group appears with the distribution, as in AWS (CDK README of aws-cloudfront-origins)."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
import zipfile
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import cloudformation
from origin_security_group import handler as function
from origin_security_group.handler import NAME, find, handler

from tests.conftest import ROOT
from tests.lambdas.database_roles.test_handler import Context

CONTEXT = cast(LambdaContext, Context())


@pytest.fixture
def vpc(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WAIT_SECONDS", "0")
    return str(boto3.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """CloudFormation's copies of the answers."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(cloudformation, "_send", lambda url, response: sent.append(response))
    return sent


def _event(vpc: str, kind: str = "Create") -> dict[str, Any]:
    return {
        **{"RequestType": kind, "ResponseURL": "https://example.com/", "StackId": "s", "RequestId": "r", "LogicalResourceId": "Found"},
        "ResourceProperties": {"VpcId": vpc},
    }


def _create_group(vpc: str) -> str:
    return str(boto3.client("ec2").create_security_group(GroupName=NAME, Description="CloudFront's", VpcId=vpc)["GroupId"])


def test_empty_answer_fails_and_a_retry_asks_again(vpc: str, answers: list[dict[str, Any]]) -> None:
    _create_group(boto3.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"])  # another VPC's group does not count
    with pytest.raises(LookupError):
        handler(_event(vpc), CONTEXT)
    assert (answers[0]["Status"], "Data" in answers[0]) == ("FAILED", False)
    for part in (vpc, NAME, "aws cloudfront list-vpc-origins", "deploy again"):
        assert part in answers[0]["Reason"]
    group = _create_group(vpc)
    handler(_event(vpc), CONTEXT)
    assert (answers[1]["Status"], answers[1]["Data"]) == ("SUCCESS", {"GroupId": group})


def test_function_waits_for_the_group(vpc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIT_SECONDS", "60")
    monkeypatch.setattr(function, "POLL_SECONDS", 0.1)
    timer = threading.Timer(0.5, _create_group, [vpc])
    timer.start()
    assert find(vpc).startswith("sg-")
    timer.join()


def test_deletion_asks_nothing(vpc: str, answers: list[dict[str, Any]]) -> None:
    handler(_event(vpc, "Delete"), CONTEXT)
    assert answers[0]["Status"] == "SUCCESS"


# As a custom resource


def _template(bucket: str, *, distribution: bool, found: bool) -> dict[str, Any]:
    """A VPC origin, and what the parts of a deployment add."""
    subnets = {
        f"Subnet{number}": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": f"10.7.{number}.0/24", "AvailabilityZone": f"us-east-1{'ab'[number]}"},
        }
        for number in (0, 1)
    }
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": "ec2:DescribeSecurityGroups", "Resource": "*"}
    resources: dict[str, Any] = {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.7.0.0/16"}},
        **subnets,
        "Balancer": {
            "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Properties": {"Scheme": "internal", "Type": "application", "Subnets": [{"Ref": name} for name in subnets]},
        },
        "Origin": {
            "Type": "AWS::CloudFront::VpcOrigin",
            "Properties": {"VpcOriginEndpointConfig": {"Name": "one", "Arn": {"Ref": "Balancer"}, "OriginProtocolPolicy": "http-only"}},
        },
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                "Policies": [{"PolicyName": "one", "PolicyDocument": {"Version": "2012-10-17", "Statement": [allowed]}}],
            },
        },
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.14",
                "Handler": "origin_security_group.handler.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Code": {"S3Bucket": bucket, "S3Key": "code.zip"},
                "Timeout": 60,
                "Environment": {"Variables": {"WAIT_SECONDS": "0"}},
            },
        },
    }
    if distribution:
        resources["Distribution"] = {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {
                "DistributionConfig": {
                    "Enabled": True,
                    "Origins": [
                        {"Id": "one", "DomainName": "a.example", "VpcOriginConfig": {"VpcOriginId": {"Fn::GetAtt": ["Origin", "Id"]}}}
                    ],
                    "DefaultCacheBehavior": {"TargetOriginId": "one", "ViewerProtocolPolicy": "redirect-to-https"},
                }
            },
        }
    if found:
        resources["Found"] = {
            "Type": "Custom::OriginSecurityGroup",
            "Properties": {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}, "VpcId": {"Ref": "Vpc"}},
            **({"DependsOn": "Distribution"} if distribution else {}),
        }
    outputs = {"Group": {"Value": {"Fn::GetAtt": ["Found", "GroupId"]}}} if found else {}
    return {"Resources": resources, "Outputs": {"Vpc": {"Value": {"Ref": "Vpc"}}, **outputs}}


def _status(client: Any, stack: str) -> str:
    deadline = time.monotonic() + 120
    while (status := client.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]).endswith("IN_PROGRESS"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return str(status)


def test_deployment_fails_with_the_reason_and_its_retry_succeeds(aws: str, bucket: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for package in ("origin_security_group", "common"):
            for path in sorted((ROOT / "lambda_src" / package).glob("*.py")):
                file.write(path, f"{package}/{path.name}")
    boto3.client("s3").put_object(Bucket=bucket, Key="code.zip", Body=archive.getvalue())
    client, stack = boto3.client("cloudformation"), f"edge-{uuid.uuid4().hex[:8]}"

    def deploy(call: Any, **parts: bool) -> str:
        call(StackName=stack, TemplateBody=json.dumps(_template(bucket, **parts)), Capabilities=["CAPABILITY_IAM"])
        return _status(client, stack)

    def groups() -> list[str]:
        outputs = {one["OutputKey"]: one["OutputValue"] for one in client.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]}
        filters = [{"Name": "group-name", "Values": [NAME]}, {"Name": "vpc-id", "Values": [outputs["Vpc"]]}]
        return [one["GroupId"] for one in boto3.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]]

    assert deploy(client.create_stack, distribution=False, found=False) == "CREATE_COMPLETE"
    assert groups() == []  # a VPC origin alone has no group
    assert deploy(client.update_stack, distribution=False, found=True) == "UPDATE_ROLLBACK_COMPLETE"
    reasons = [one.get("ResourceStatusReason", "") for one in client.describe_stack_events(StackName=stack)["StackEvents"]]
    assert any(f"has no security group {NAME}" in reason for reason in reasons)
    assert deploy(client.update_stack, distribution=True, found=True) == "UPDATE_COMPLETE"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in client.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]}
    assert [outputs["Group"]] == groups()
    client.delete_stack(StackName=stack)
