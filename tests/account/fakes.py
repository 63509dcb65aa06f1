"""An AWS account as botocore sees it: real clients whose answers come from a table and follow the service model, as botocore's Stubber checks.

The embedded AWS lacks half of these services. Unlike the Stubber, the order of calls is free, and a call without an answer fails the test.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.validate import ParamValidator

from settings.loader import load
from settings.model import Settings
from tools.account.proof_stack import NAME, TAG
from tools.environment import Deployed

ACCOUNT, REGION = "000000000000", "us-east-1"
PROD = load("prod")
NOW = datetime(2026, 11, 30, tzinfo=UTC)
Answers = Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """AWS's error answer."""

    code: str
    message: str = "no"


class FakeAws:
    """A session. `answers`: `service.Operation` → the answer, a `Refusal`, or a function of the parameters that returns one of them."""

    current: FakeAws

    def __init__(self, answers: Answers) -> None:
        self.answers = dict(answers)
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        FakeAws.current = self

    def client(self, service: str, region_name: str = REGION, **_: Any) -> Any:
        return _client(service, region_name)

    @property
    def operations(self) -> list[str]:
        return [f"{service}.{operation}" for service, operation, _ in self.calls]

    def answer(self, service: str, model: Any, params: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
        self.calls.append((service, model.name, params))
        name = f"{service}.{model.name}"
        assert name in self.answers, f"unexpected call: {name} {params}"
        found = self.answers[name]
        found = found(params) if callable(found) else found
        if isinstance(found, Refusal):
            return _response(400), {"Error": {"Code": found.code, "Message": found.message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        if model.output_shape:
            report = ParamValidator().validate(found, model.output_shape)
            assert not report.has_errors(), f"{name}: {report.generate_report()}"
        return _response(200), {**found, "ResponseMetadata": {"HTTPStatusCode": 200}}


@functools.cache
def _client(service: str, region: str) -> Any:
    """Creating a client takes long, so that all tests share them."""
    client = boto3.Session().client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
    parameters: list[dict[str, Any]] = []
    client.meta.events.register("before-parameter-build", lambda params, **_: parameters.append(dict(params)))
    client.meta.events.register("before-call", lambda model, **_: FakeAws.current.answer(service, model, parameters.pop()))
    return client


def _response(status: int) -> AWSResponse:
    return AWSResponse("https://fake", status, {}, None)


def account(settings: Settings = PROD, **answers: Any) -> Deployed:
    """An environment in a good account; `answers` replace some: `account(ec2_DescribeAddresses={…})`."""
    return Deployed(
        settings, FakeAws(READABLE | {name.replace("__", "-").replace("_", ".", 1): answer for name, answer in answers.items()})
    )


def _quota(value: float) -> dict[str, Any]:
    return {"Quota": {"Value": value}}


def _zone(number: int) -> dict[str, str]:
    names = "abcdef"
    return {
        "ZoneId": f"use1-az{number}",
        "ZoneName": f"us-east-1{names[number - 1]}",
        "State": "available",
        "ZoneType": "availability-zone",
    }


ZONES = {"AvailabilityZones": [_zone(number) for number in range(1, 7)]}
ENCRYPTION = {"ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}}


def _role(params: dict[str, Any]) -> dict[str, Any]:
    name = params["RoleName"]
    return {"Role": {"Path": "/", "RoleName": name, "RoleId": "A" * 20, "Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}", "CreateDate": NOW}}


# What a fresh account with a bootstrap answers.
READABLE: dict[str, Any] = {
    "sts.GetCallerIdentity": {"Account": ACCOUNT},
    "ec2.DescribeRegions": {"Regions": [{"RegionName": REGION, "OptInStatus": "opt-in-not-required"}]},
    "ec2.DescribeAvailabilityZones": ZONES,
    "ec2.DescribeAddresses": {"Addresses": []},
    "ec2.DescribeVpcs": {"Vpcs": [{"VpcId": "vpc-default"}]},
    "ec2.DescribeNatGateways": {"NatGateways": []},
    "ec2.DescribeSubnets": {"Subnets": []},
    "ssm.GetParameter": {"Parameter": {"Value": "30"}},
    "s3.GetBucketEncryption": ENCRYPTION,
    "iam.GetRole": _role,
    "iam.ListOpenIDConnectProviders": {"OpenIDConnectProviderList": []},
    "cloudformation.DescribeStacks": Refusal("ValidationError"),
    "service-quotas.GetServiceQuota": _quota(100),
    "rds.DescribeDBInstances": {"DBInstances": []},
    "rds.DescribeDBProxies": {"DBProxies": []},
    "rds.DescribeDBEngineVersions": {"DBEngineVersions": [{"EngineVersion": "17.11"}]},
    "rds.DescribeOrderableDBInstanceOptions": {
        "OrderableDBInstanceOptions": [
            {
                "StorageType": "gp3",
                "EngineVersion": "17.11",
                "AvailabilityZones": [{"Name": zone["ZoneName"]} for zone in ZONES["AvailabilityZones"]],
            }
        ]
    },
    "elbv2.DescribeLoadBalancers": {"LoadBalancers": []},
    "cloudfront.ListCachePolicies": {"CachePolicyList": {"MaxItems": 100, "Quantity": 0}},
    "lambda.GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}},
    "elasticache.DescribeCacheEngineVersions": {"CacheEngineVersions": [{"EngineVersion": "8.0"}, {"EngineVersion": "8.1"}]},
    "wafv2.ListAvailableManagedRuleGroups": lambda params: {
        "ManagedRuleGroups": [
            {"VendorName": "AWS", "Name": f"AWSManagedRules{name}"}
            for name in ("AmazonIpReputationList", "KnownBadInputsRuleSet", "CommonRuleSet", "SQLiRuleSet")
        ]
    },
    "ce.ListCostAllocationTags": {"CostAllocationTags": [{"TagKey": "environment", "Type": "UserDefined", "Status": "Active"}]},
    "ce.GetAnomalyMonitors": {"AnomalyMonitors": []},
}

OUTPUTS = {
    **{"Vpc": "vpc-1", "Group": "sg-1", "Function": "function", "Cluster": "cluster", "ReleaseRole": f"arn:aws:iam::{ACCOUNT}:role/r"},
    **{"MasterSecret": "master", "ProxySecret": "proxy", "CacheSecret": "cache", "DatabaseHost": "db", "DatabasePort": "5432"},
    **{"ProxyHost": "proxy", "CacheGroup": "group", "CacheHost": "redis", "CachePort": "6379", "IdleAlarm": "idle"},
    "Queue": "https://sqs.us-east-1.amazonaws.com/000000000000/queue",
}


@dataclass
class Account:
    """A good account in which proofs run: the stack exists between CreateStack and DeleteStack. `steps`: answers of the proof's function."""

    settings: Settings = PROD
    status: str = ""  # of the stack; empty: it does not exist
    tags: list[dict[str, str]] = field(default_factory=lambda: [TAG])
    created: str = "CREATE_COMPLETE"
    deleted: list[str] = field(default_factory=list)  # what each DeleteStack leads to, then success
    monitors: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.aws = FakeAws(READABLE | self._changing() | self.answers)

    def client(self, service: str, region_name: str = REGION, **_: Any) -> Any:
        return self.aws.client(service, region_name)

    @property
    def deployed(self) -> Deployed:
        return Deployed(self.settings, self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not (self.status or self.monitors or self.definitions)

    def _changing(self) -> dict[str, Any]:
        return {
            "cloudformation.DescribeStacks": self._describe,
            "cloudformation.CreateStack": lambda _: self._become(self.created),
            "cloudformation.DeleteStack": lambda _: self._become(self.deleted.pop(0) if self.deleted else ""),
            "cloudformation.DescribeStackResources": {"StackResources": [self._resource("Vpc", "CREATE_COMPLETE")]},
            "cloudformation.DescribeStackEvents": {
                "StackEvents": [self._event("Database", "CREATE_FAILED"), self._event("Vpc", "DELETE_FAILED")]
            },
            "cloudformation.DetectStackResourceDrift": {
                "StackResourceDrift": {
                    **{"StackId": NAME, "LogicalResourceId": "Group", "ResourceType": "AWS::EC2::SecurityGroup", "Timestamp": NOW},
                    "StackResourceDriftStatus": "IN_SYNC",
                }
            },
            "cloudformation.CreateChangeSet": {},
            "cloudformation.DescribeChangeSet": {"Status": "CREATE_COMPLETE", "Changes": [change("Cache", "ReplicationGroupDescription")]},
            "cloudformation.ExecuteChangeSet": lambda _: self._become("UPDATE_COMPLETE"),
            "lambda.UpdateFunctionCode": {},
            "lambda.GetFunction": {"Configuration": {"LastUpdateStatus": "Successful"}},
            "lambda.Invoke": self._invoke,
            "secretsmanager.GetSecretValue": {"SecretString": json.dumps({"username": "u", "password": "p"})},
            "secretsmanager.PutSecretValue": {},
            "sts.AssumeRole": {"Credentials": {"AccessKeyId": "A" * 16, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": NOW}},
            "ecs.ListTasks": {"taskArns": []},
            "ecs.RegisterTaskDefinition": lambda params: self._register(params["family"]),
            "ecs.ListTaskDefinitions": lambda params: {"taskDefinitionArns": self.definitions if params["status"] == "ACTIVE" else []},
            "ecs.DeregisterTaskDefinition": {},
            "ecs.DeleteTaskDefinitions": lambda _: self._forget(self.definitions),
            "ec2.DescribeSecurityGroups": {"SecurityGroups": [{"GroupId": "sg-cloudfront"}]},
            "ec2.DeleteSecurityGroup": {},
            "cloudwatch.DescribeAlarms": {"MetricAlarms": [{"StateValue": "OK", "StateReason": "0.0"}]},
            "ce.GetAnomalyMonitors": lambda _: {"AnomalyMonitors": [self._monitor(arn) for arn in self.monitors]},
            "ce.CreateAnomalyMonitor": lambda params: self._create_monitor(params["AnomalyMonitor"]["MonitorName"]),
            "ce.DeleteAnomalyMonitor": lambda _: self._forget(self.monitors),
            "elasticache.ModifyReplicationGroup": {},
            "elasticache.DescribeReplicationGroups": {"ReplicationGroups": [{"Status": "available"}]},
            "sqs.ReceiveMessage": {"Messages": [{"Body": "budget"}]},
            "logs.DeleteLogGroup": Refusal("ResourceNotFoundException"),
        }

    def _become(self, status: str) -> dict[str, Any]:
        self.status = status
        return {}

    def _describe(self, params: dict[str, Any]) -> Any:
        if not self.status or params["StackName"] != NAME:
            return Refusal("ValidationError", f"Stack with id {params['StackName']} does not exist")
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()]
        return {"Stacks": [{"StackName": NAME, "CreationTime": NOW, "StackStatus": self.status, "Tags": self.tags, "Outputs": outputs}]}

    def _resource(self, logical_id: str, status: str) -> dict[str, Any]:
        return {
            **{"LogicalResourceId": logical_id, "PhysicalResourceId": f"{logical_id.lower()}-1", "ResourceType": "AWS::EC2::VPC"},
            **{"Timestamp": NOW, "ResourceStatus": status},
        }

    def _event(self, logical_id: str, status: str) -> dict[str, Any]:
        more = {"StackId": NAME, "EventId": logical_id, "StackName": NAME, "ResourceStatusReason": f"{logical_id} is refused"}
        return {**self._resource(logical_id, status), **more}

    def _invoke(self, params: dict[str, Any]) -> dict[str, Any]:
        step = json.loads(params["Payload"])["step"]
        found = (GOOD_STEPS | self.steps)[step]
        error = {"FunctionError": "Unhandled"} if "errorMessage" in found else {}
        return {"Payload": io.BytesIO(json.dumps(found).encode()), **error}

    def _register(self, family: str) -> dict[str, Any]:
        self.definitions.append(f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/{family}:1")
        return {}

    def _create_monitor(self, name: str) -> dict[str, Any]:
        self.monitors.append(f"arn:aws:ce::{ACCOUNT}:anomalymonitor/{name}")
        return {"MonitorArn": self.monitors[-1]}

    def _monitor(self, arn: str) -> dict[str, str]:
        return {"MonitorArn": arn, "MonitorName": arn.rpartition("/")[2], "MonitorType": "DIMENSIONAL", "MonitorDimension": "SERVICE"}

    def _forget(self, found: list[str]) -> dict[str, Any]:
        found.clear()
        return {}


def change(logical_id: str, *properties: str) -> dict[str, Any]:
    """One change of a change set."""
    details = [{"Target": {"Attribute": "Properties", "Name": name}} for name in properties]
    return {"Type": "Resource", "ResourceChange": {"Action": "Modify", "LogicalResourceId": logical_id, "Details": details}}


GOOD_STEPS: dict[str, dict[str, Any]] = {
    "server": {"version": "17.11", "seconds": 2.5},
    "log in": {"refused": "", "by": "", "strict": True, "python": "3.14.0"},
    "log in by token": {"refused": "", "by": ""},
    "create user": {},
    "change password": {},
    "wait for login": {"refused": "", "by": "", "seconds": 12.0},
    "create bypass role": {"code": "42501", "message": "permission denied to create role"},
    "create IAM role": {},
    "ping redis": {"refused": ""},
}
