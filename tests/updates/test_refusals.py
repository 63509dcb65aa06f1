"""The embedded AWS refuses what CloudFormation refuses: exports in use, a unique key that is taken, an immutable property."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import WaiterError

from local.emulator.launcher import REGION
from local.emulator.server import ACCOUNT

pytestmark = pytest.mark.slow
Template = dict[str, Any]
VPC = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}}
TABLE = {"Type": "AWS::EC2::RouteTable", "Properties": {"VpcId": {"Ref": "Vpc"}}}
GATEWAY = {"Type": "AWS::EC2::InternetGateway"}
EXPORT = {"Network": {"Value": {"Ref": "Vpc"}, "Export": {"Name": "network"}}}
IMPORT = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Fn::ImportValue": "network"}}}


def _route(destination: str = "0.0.0.0/0") -> Template:
    target = {"RouteTableId": {"Ref": "Table"}, "DestinationCidrBlock": destination, "GatewayId": {"Ref": "Gateway"}}
    return {"Type": "AWS::EC2::Route", "Properties": target}


def _subnet(zone: str) -> Template:
    return {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.9.1.0/24", "AvailabilityZone": zone}}


@pytest.fixture
def cloudformation(embedded_aws: str) -> Any:
    session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=REGION)
    return session.client("cloudformation", endpoint_url=embedded_aws)


def _deploy(cloudformation: Any, name: str, resources: Template, outputs: Template | None = None) -> str | None:
    """Create or update a stack; the reason of the first failure, or None."""
    body = json.dumps({"Resources": resources, **({"Outputs": outputs} if outputs else {})})
    known = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    change, waiter = ("update_stack", "stack_update_complete") if name in known else ("create_stack", "stack_create_complete")
    getattr(cloudformation, change)(StackName=name, TemplateBody=body)
    try:
        cloudformation.get_waiter(waiter).wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except WaiterError:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        return next(str(event["ResourceStatusReason"]) for event in events if event["ResourceStatus"].endswith("_FAILED"))
    return None


def test_an_export_in_use_stays(cloudformation: Any) -> None:
    """User Guide, "Get exported outputs from a deployed stack"."""
    assert _deploy(cloudformation, "producer", {"Vpc": VPC}, EXPORT) is None
    assert _deploy(cloudformation, "consumer", {"Copy": IMPORT}) is None
    assert _deploy(cloudformation, "producer", {"Vpc": VPC, "More": GATEWAY}) == "Cannot delete export network as it is in use by consumer."
    other = {"Network": {**EXPORT["Network"], "Value": "vpc-2"}}
    assert _deploy(cloudformation, "producer", {"Vpc": VPC, "More": GATEWAY}, other) == (
        "Cannot update export network as it is in use by consumer."
    )
    plain = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "none"}}
    assert _deploy(cloudformation, "consumer", {"Copy": plain}) is None
    assert _deploy(cloudformation, "producer", {"Vpc": VPC, "More": GATEWAY}) is None


def test_a_route_under_another_id_is_refused(cloudformation: Any) -> None:
    """EC2, CreateRoute: RouteAlreadyExists. The old route is deleted only afterwards."""
    base = {"Vpc": VPC, "Table": TABLE, "Gateway": GATEWAY}
    attached = {"Type": "AWS::EC2::VPCGatewayAttachment", "Properties": {"VpcId": {"Ref": "Vpc"}, "InternetGatewayId": {"Ref": "Gateway"}}}
    base["Attached"] = attached
    assert _deploy(cloudformation, "routes", {**base, "First": _route()}) is None
    reason = _deploy(cloudformation, "routes", {**base, "Second": _route()})
    assert reason is not None
    assert "already exists: First of routes" in reason
    assert _deploy(cloudformation, "routes", {**base, "First": _route(), "Other": _route("10.0.0.0/8")}) is None


def test_a_subnet_in_another_zone_is_refused(cloudformation: Any) -> None:
    """EC2, CreateSubnet: InvalidSubnet.Conflict. The zone is create-only in the schema, so CloudFormation replaces the subnet."""
    assert _deploy(cloudformation, "subnets", {"Vpc": VPC, "Subnet": _subnet("us-east-1a")}) is None
    reason = _deploy(cloudformation, "subnets", {"Vpc": VPC, "Subnet": _subnet("us-east-1b")})
    assert reason is not None
    assert "already exists: the one that is to be replaced (AvailabilityZone changed)" in reason


def test_an_immutable_property_is_not_changed_in_place(cloudformation: Any) -> None:
    """Either the emulator replaces the resource, with another physical id, or it refuses."""

    def vpc_id() -> str:
        return str(
            cloudformation.describe_stack_resource(StackName="range", LogicalResourceId="Vpc")["StackResourceDetail"]["PhysicalResourceId"]
        )

    assert _deploy(cloudformation, "range", {"Vpc": VPC}) is None
    before = vpc_id()
    reason = _deploy(cloudformation, "range", {"Vpc": {**VPC, "Properties": {"CidrBlock": "10.8.0.0/16"}}})
    assert vpc_id() != before if reason is None else "CidrBlock of AWS::EC2::VPC cannot be changed in place" in reason


def test_first_replica_and_failover_at_once_are_refused(cloudformation: Any) -> None:
    """aws-cloudformation/cloudformation-coverage-roadmap#383. In two updates they work: `cache.replicas` declares them."""

    def cache(nodes: int, failover: bool) -> Template:
        group = {"ReplicationGroupDescription": "cache", "Engine": "valkey", "EngineVersion": "8.1", "CacheNodeType": "cache.t4g.micro"}
        changing = {"NumCacheClusters": nodes, "AutomaticFailoverEnabled": failover}
        return {"Cache": {"Type": "AWS::ElastiCache::ReplicationGroup", "Properties": {**group, **changing}}}

    assert _deploy(cloudformation, "cache", cache(1, failover=False)) is None
    reason = _deploy(cloudformation, "cache", cache(2, failover=True))
    assert reason is not None
    assert "at least one read replica" in reason
    assert _deploy(cloudformation, "cache", cache(2, failover=False)) is None
    assert _deploy(cloudformation, "cache", cache(2, failover=True)) is None
