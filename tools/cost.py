"""What an assembly costs a month, from its templates and the dated list prices in `prices.toml`.

Counted is what is paid for being there, at the least number of tasks. What is paid by use is not: traffic, requests, metrics
and the volume of logs, images, backups and files (BY_USE names the types). A type that is in none of the tables below, and a
class without a price, is told as unknown.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.diff_report.sides import Resource, Side

PRICES: dict[str, Any] = tomllib.loads((Path(__file__).parent / "prices.toml").read_text(encoding="utf-8"))
HOURS = PRICES["hours_a_month"]


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    environment: str
    part: str
    path: str
    kind: str
    what: str
    usd: float  # a month


@dataclass(frozen=True)
class Bill:
    """All lines, and what has no price here."""

    items: tuple[Item, ...]
    unknown: tuple[str, ...]

    def total(self, environment: str, part: str | None = None) -> float:
        """USD a month of an environment, or of one stack of it."""
        return sum(one.usd for one in self.items if one.environment == environment and part in (None, one.part))


class UnknownPriceError(Exception):
    """What has no price in `prices.toml`."""


Lines = Iterator[tuple[str, float]]
Pricing = Callable[[Resource, Side], Lines]


def bill(side: Side) -> Bill:
    """The bill of all environments of an assembly."""
    items, unknown = [], set()
    for resource in side.resources.values():
        if resource.kind in PRICED:
            try:
                for what, usd in PRICED[resource.kind](resource, side):
                    items.append(Item(resource.environment, resource.stack.part, resource.path, resource.kind, what, usd))
            except UnknownPriceError as error:
                unknown.add(f"{resource.kind} {error}")
        elif (
            resource.kind not in BY_USE
            and resource.kind not in FREE
            and not resource.kind.startswith(("Custom::", "AWS::CloudFormation::"))
        ):
            unknown.add(resource.kind)
    return Bill(tuple(items), tuple(sorted(unknown)))


def _price(table: dict[str, Any], name: Any) -> float:
    if not isinstance(name, str) or name not in table or name == "source":
        raise UnknownPriceError(name)
    return float(table[name])


def _database(resource: Resource, side: Side) -> Lines:
    zones = 2 if resource.at("MultiAZ", False) else 1
    told = "in two zones" if zones == 2 else "in one zone"
    name, kind, gib = resource.at("DBInstanceClass"), resource.at("StorageType", "gp2"), int(resource.at("AllocatedStorage", 0))
    yield f"{name} {told}", zones * HOURS * _price(PRICES["rds"]["instance_hour"], name)
    yield f"{gib} GiB {kind} {told}", zones * gib * _price(PRICES["rds"]["storage_gib_month"], kind)


def _proxy(resource: Resource, side: Side) -> Lines:
    for instance in side.of_kind("AWS::RDS::DBInstance"):
        if instance.environment == resource.environment:
            vcpus = max(2, int(_price(PRICES["rds"]["vcpus"], instance.at("DBInstanceClass"))))
            yield f"{vcpus} vCPUs", vcpus * HOURS * PRICES["rds"]["proxy_vcpu_hour"]["usd"]


def _redis(resource: Resource, side: Side) -> Lines:
    nodes, name = int(resource.at("NumCacheClusters", 1)), resource.at("CacheNodeType")
    yield f"{nodes} × {name}", nodes * HOURS * _price(PRICES["elasticache"]["node_hour"], name)


def _service(resource: Resource, side: Side) -> Lines:
    path = side.told(resource.stack, resource.at("TaskDefinition"))
    task = side.by_path.get((resource.environment, str(path)))
    if task is None:
        raise UnknownPriceError(f"with task definition {path}")
    machine = PRICES["fargate"][task.at("RuntimePlatform.CpuArchitecture", "X86_64")]
    vcpus, gib = int(task.at("Cpu")) / 1024, int(task.at("Memory")) / 1024
    count, spot = _least_tasks(resource, side), _spot_share(resource)
    hour = vcpus * machine["vcpu_hour"] + gib * machine["gib_hour"]
    told = f"{count} × {vcpus:g} vCPU, {gib:g} GiB{' on Spot' if spot else ''}"
    yield told, count * HOURS * hour * (1 - spot + spot * PRICES["fargate"]["spot"]["factor"])


def _least_tasks(service: Resource, side: Side) -> int:
    name = f"/{service.path}.Name"
    for target in side.of_kind("AWS::ApplicationAutoScaling::ScalableTarget"):
        if target.environment == service.environment and str(side.told(target.stack, target.at("ResourceId"))).endswith(name):
            return int(target.at("MinCapacity"))
    return int(service.at("DesiredCount", 1))


def _spot_share(service: Resource) -> float:
    weights = {one["CapacityProvider"]: float(one.get("Weight", 0)) for one in service.at("CapacityProviderStrategy", [])}
    return weights.get("FARGATE_SPOT", 0) / sum(weights.values()) if sum(weights.values()) else 0.0


def _endpoint(resource: Resource, side: Side) -> Lines:
    zones = len(resource.at("SubnetIds", [])) if resource.at("VpcEndpointType", "Gateway") == "Interface" else 0
    yield f"in {zones} zones", zones * HOURS * PRICES["interface_endpoint_hour"]["usd"]


def _firewall(resource: Resource, side: Side) -> Lines:
    rules = len(resource.at("Rules", []))
    yield f"{rules} rules", PRICES["web_acl_month"]["usd"] + rules * PRICES["web_acl_rule_month"]["usd"]


def _alarm(resource: Resource, side: Side) -> Lines:
    """An alarm on an expression pays for each metric in it."""
    metrics = sum(1 for one in resource.at("Metrics", []) if "MetricStat" in one) or 1
    yield f"{metrics} metric{'' if metrics == 1 else 's'}", metrics * PRICES["alarm_metric_month"]["usd"]


def _each(name: str, times: float = 1) -> Pricing:
    def price(resource: Resource, side: Side) -> Lines:
        yield "", times * PRICES[name]["usd"]

    return price


PRICED: dict[str, Pricing] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::CompositeAlarm": _each("composite_alarm_month"),
    "AWS::CloudWatch::Dashboard": _each("dashboard_month"),
    "AWS::EC2::EIP": _each("public_address_hour", HOURS),
    "AWS::EC2::NatGateway": _each("nat_gateway_hour", HOURS),
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ECS::Service": _service,
    "AWS::ElastiCache::ReplicationGroup": _redis,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _each("load_balancer_hour", HOURS),
    "AWS::KMS::Key": _each("kms_key_month"),
    "AWS::RDS::DBInstance": _database,
    "AWS::RDS::DBProxy": _proxy,
    "AWS::Route53::HostedZone": _each("hosted_zone_month"),
    "AWS::SecretsManager::Secret": _each("secret_month"),
    "AWS::WAFv2::WebACL": _firewall,
}
# Paid by requests, volume or time of use: not counted.
BY_USE = {
    "AWS::Athena::WorkGroup",
    "AWS::Backup::BackupVault",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::Function",
    "AWS::CloudFront::MonitoringSubscription",
    "AWS::DynamoDB::Table",  # on demand
    "AWS::EC2::FlowLog",
    "AWS::ECR::Repository",
    "AWS::ECS::Cluster",  # Container Insights: metrics and logs
    "AWS::ECS::TaskDefinition",  # one-off tasks; what a service runs is the service's
    "AWS::Events::Rule",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::S3::Bucket",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::Scheduler::Schedule",
    "AWS::WAFv2::LoggingConfiguration",
}
# Never on a bill by themselves.
FREE = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CDK::Metadata",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudFront::CachePolicy",
    "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::OriginRequestPolicy",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::CloudFront::VpcOrigin",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::ListenerRule",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::OIDCProvider",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Logs::QueryDefinition",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBProxyTargetGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::Route53::RecordSet",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Parameter",
    "AWS::SecretsManager::ResourcePolicy",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::SecretsManager::SecretTargetAttachment",
    "AWS::WAFv2::IPSet",
}
