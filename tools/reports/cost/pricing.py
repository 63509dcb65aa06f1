"""How each resource type is billed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tools.reports.assembly import Assembly, Resource
from tools.reports.cost.prices import PRICES, Table, UnknownPriceError, price

HOURS = PRICES["hours_a_month"]
DAYS = HOURS / 24
WEEKS = DAYS / 7
# As constructs_lib/database/working_hours.py writes it.
_DAILY = re.compile(r"cron\((?P<minute>\d+) (?P<hour>\d+) \? \* (?P<days>[A-Z,]+) \*\)")


class Line(NamedTuple):
    """USD per month; `by_use` depends on traffic or stored volume. `unknown` has no price: then `usd` is 0."""

    what: str
    usd: float
    by_use: bool = False
    unknown: str = ""


def _line(what: str, times: float, table: str, name: Any) -> Line:
    """`times` the price; without one, other lines of the resource still count."""
    try:
        return Line(what, times * price(table, name))
    except UnknownPriceError:
        return Line(f"{what} (no price)", 0, unknown=str(name))


Pricing = Callable[[Resource, Assembly, Table], Iterator[Line]]


def hours_on(environment: str, assembly: Assembly) -> float:
    """Hours per month that an environment's tasks and database run: between its start and stop schedules, if it has any."""
    times = {
        call: _DAILY.fullmatch(str(schedule.at("ScheduleExpression")))
        for schedule in assembly.of_kind("AWS::Scheduler::Schedule")
        for call in ("startDBInstance", "stopDBInstance")
        if schedule.environment == environment and f":aws-sdk:rds:{call}" in json.dumps(schedule.at("Target.Arn"))
    }
    starts, stops = times.get("startDBInstance"), times.get("stopDBInstance")
    if not starts or not stops:
        return float(HOURS)
    minutes = [int(time["hour"]) * 60 + int(time["minute"]) for time in (starts, stops)]
    return float(len(starts["days"].split(",")) * (minutes[1] - minutes[0]) / 60 * WEEKS)


def _database(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    zones = 2 if resource.at("MultiAZ", False) else 1
    where = "in two zones" if zones == 2 else "in one zone"
    name, kind, gib = resource.at("DBInstanceClass"), resource.at("StorageType", "gp2"), int(resource.at("AllocatedStorage", 0))
    yield _line(f"{name} {where}", zones * hours_on(resource.environment, assembly), "rds_instance_hour", name)
    yield _line(f"{gib} GiB {kind} {where}", zones * gib, "rds_storage_gib_month", kind)


def _proxy(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    """By the vCPUs of the instances behind it, which its target groups name."""
    for instance in assembly.of_kind("AWS::RDS::DBInstance"):
        if (instance.environment, instance.path) in _targets(resource, assembly):
            vcpus = max(2, int(price("rds_vcpus", instance.at("DBInstanceClass"))))
            yield Line(f"{vcpus} vCPUs", vcpus * HOURS * price("rds_proxy_vcpu_hour"))


def _targets(proxy: Resource, assembly: Assembly) -> set[tuple[str, str]]:
    """(environment, path) of a proxy's instances."""
    found = set()
    for group in assembly.of_kind("AWS::RDS::DBProxyTargetGroup"):
        properties = assembly.with_paths(group.stack, group.properties)
        if group.environment == proxy.environment and str(properties.get("DBProxyName")).partition(".")[0] == proxy.path:
            found |= {(proxy.environment, str(one).partition(".")[0]) for one in properties.get("DBInstanceIdentifiers", [])}
    return found


def _cache(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    nodes, name, engine = int(resource.at("NumCacheClusters", 1)), resource.at("CacheNodeType"), resource.at("Engine", "redis")
    if f"elasticache_{engine}_node_hour" not in PRICES:
        raise UnknownPriceError(engine)
    yield Line(f"{nodes} × {name}", nodes * HOURS * price(f"elasticache_{engine}_node_hour", name))


def _service(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    path = assembly.with_paths(resource.stack, resource.at("TaskDefinition"))
    task = assembly.by_path.get((resource.environment, str(path)))
    if task is None:
        raise UnknownPriceError(f"with task definition {path}")
    machine = f"fargate_{task.at('RuntimePlatform.CpuArchitecture', 'X86_64').lower()}"
    vcpus, gib = int(task.at("Cpu")) / 1024, int(task.at("Memory")) / 1024
    count, spot = _minimum_tasks(resource, assembly), _spot_share(resource)
    hour = vcpus * price(machine, "vcpu_hour") + gib * price(machine, "gib_hour")
    what = f"{count} × {vcpus:g} vCPU, {gib:g} GiB{' on Spot' if spot else ''}"
    yield Line(what, count * hours_on(resource.environment, assembly) * hour * (1 - spot + spot * price("fargate_spot", "factor")))


def _minimum_tasks(service: Resource, assembly: Assembly) -> int:
    name = f"/{service.path}.Name"
    for target in assembly.of_kind("AWS::ApplicationAutoScaling::ScalableTarget"):
        if target.environment == service.environment and str(assembly.with_paths(target.stack, target.at("ResourceId"))).endswith(name):
            return int(target.at("MinCapacity"))
    return int(service.at("DesiredCount", 1))


def _spot_share(service: Resource) -> float:
    weights = {one["CapacityProvider"]: float(one.get("Weight", 0)) for one in service.at("CapacityProviderStrategy", [])}
    return weights.get("FARGATE_SPOT", 0) / sum(weights.values()) if sum(weights.values()) else 0.0


def _cluster(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    """Container Insights by metrics of cluster, services, task families and minimum tasks."""
    settings = {one["Name"]: one["Value"] for one in resource.at("ClusterSettings", [])}
    each = assumed["insights_metrics"]
    services = [one for one in assembly.of_kind("AWS::ECS::Service") if one.environment == resource.environment]
    metrics = each["cluster"] + len(services) * (each["service"] + each["family"])
    if settings.get("containerInsights") == "enhanced":
        metrics += each["task"] * sum(_minimum_tasks(one, assembly) for one in services)
        yield Line(f"Container Insights, {metrics} metrics", metrics * price("cloudwatch", "insights_metric_month"))
    elif settings.get("containerInsights") == "enabled":
        yield Line(f"Container Insights, {metrics} metrics", metrics * price("cloudwatch", "metric_month"))


def _function(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    clock = assumed["functions"].get(resource.path)
    if clock is None:
        return
    gib, runs = int(resource.at("MemorySize", 128)) / 1024, clock["runs"]
    usd = runs * clock["seconds"] * gib * price("lambda_arm64", "gib_second") + runs / 1e6 * price("lambda_arm64", "million_calls")
    yield Line(f"{runs} runs of {clock['seconds']:g} s", usd)
    endpoints = json.loads(resource.at("Environment.Variables.ENDPOINTS", "[]"))
    if metrics := clock["metrics"] + clock.get("each_endpoint", 0) * len(endpoints):
        yield Line(f"{metrics} metrics", metrics * price("cloudwatch", "metric_month"))


def _endpoint(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    if zones := len(resource.at("SubnetIds", [])) if resource.at("VpcEndpointType", "Gateway") == "Interface" else 0:
        yield Line(f"in {zones} zones", zones * HOURS * price("interface_endpoint_hour"))


def _nat(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    yield Line("", HOURS * price("nat_gateway", "hour"))
    gateways = sum(1 for one in assembly.of_kind("AWS::EC2::NatGateway") if one.environment == resource.environment)
    gib = assumed["nat_gib"] / gateways
    yield Line(f"{gib:g} GiB through it", gib * price("nat_gateway", "gib"), by_use=True)


def _machine(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    yield _line(str(resource.at("InstanceType")), HOURS, "ec2_instance_hour", resource.at("InstanceType"))
    if any(one.get("AssociatePublicIpAddress") for one in resource.at("NetworkInterfaces", [])):
        yield Line("public address", HOURS * price("public_address_hour"))
    for disk in resource.at("BlockDeviceMappings", []):
        gib, kind = disk["Ebs"]["VolumeSize"], disk["Ebs"]["VolumeType"]
        yield Line(f"{gib} GiB {kind}", gib * price("ebs_gib_month", kind))


def _load_balancer(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    yield Line("", HOURS * price("load_balancer", "hour"))
    units = assumed["load_balancer_lcus"]
    yield Line(f"{units:g} capacity units", units * HOURS * price("load_balancer", "lcu_hour"), by_use=True)


def _firewall(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    rules, millions = len(resource.at("Rules", [])), assumed["requests_million"]
    yield Line(f"{rules} rules", price("firewall", "acl_month") + rules * price("firewall", "rule_month"))
    yield Line(f"{millions:g} million requests", millions * price("firewall", "million_requests"), by_use=True)


def _distribution(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    gib, millions = assumed["out_gib"], assumed["requests_million"]
    each = price("cloudfront", "million_requests") + price("cloudfront", "million_function_calls")
    yield Line(f"{gib:g} GiB, {millions:g} million requests", gib * price("cloudfront", "gib_out") + millions * each, by_use=True)


def _origin_metrics(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    yield Line("8 metrics", 8 * price("cloudwatch", "metric_month"))


def _alarm(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    """An alarm on an expression is billed for each of its metrics."""
    metrics = sum(1 for one in resource.at("Metrics", []) if "MetricStat" in one) or 1
    yield Line(f"{metrics} metric{'' if metrics == 1 else 's'}", metrics * price("cloudwatch", "alarm_metric_month"))


def _log(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    gib = next((gib for path, gib in assumed["log_gib"].items() if resource.path.startswith(path)), 0)
    if gib:
        months = int(resource.at("RetentionInDays", 3650)) / DAYS
        kept = gib * months * assumed["log_compression"]
        usd = gib * price("cloudwatch", "log_gib_in") + kept * price("cloudwatch", "log_gib_month")
        yield Line(f"{gib:g} GiB in, {months:.1f} months kept", usd, by_use=True)


def _bucket(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    name = {"Uploads": "uploads_gib", "Backups": "backups_gib", "AccessLogs": "access_logs_gib"}.get(resource.path.rpartition("/")[2])
    if gib := assumed[name] if name else 0:
        yield Line(f"{gib:g} GiB", gib * price("s3_gib_month"), by_use=True)


def _images(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
    gib = assumed["images_gib"]
    yield Line(f"{gib:g} GiB", gib * price("ecr_gib_month"), by_use=True)


def _each(table: str, name: str = "usd", times: float = 1) -> Pricing:
    def lines(resource: Resource, assembly: Assembly, assumed: Table) -> Iterator[Line]:
        yield Line("", times * price(table, name))

    return lines


PRICED: dict[str, Pricing] = {
    "AWS::CloudFront::Distribution": _distribution,
    "AWS::CloudFront::MonitoringSubscription": _origin_metrics,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::CompositeAlarm": _each("cloudwatch", "composite_alarm_month"),
    "AWS::CloudWatch::Dashboard": _each("cloudwatch", "dashboard_month"),
    "AWS::EC2::EIP": _each("public_address_hour", times=HOURS),
    "AWS::EC2::Instance": _machine,
    "AWS::EC2::NatGateway": _nat,
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ECR::Repository": _images,
    "AWS::ECS::Cluster": _cluster,
    "AWS::ECS::Service": _service,
    "AWS::ElastiCache::ReplicationGroup": _cache,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::KMS::Key": _each("kms_key_month"),
    "AWS::Lambda::Function": _function,
    "AWS::Logs::LogGroup": _log,
    "AWS::RDS::DBInstance": _database,
    "AWS::RDS::DBProxy": _proxy,
    "AWS::Route53::HostedZone": _each("hosted_zone_month"),
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _each("secret_month"),
    "AWS::WAFv2::WebACL": _firewall,
}
# Billed by messages, calls or usage time; cents here: listed but not counted.
NOT_COUNTED = {
    "AWS::Athena::WorkGroup",
    "AWS::Backup::BackupVault",
    "AWS::CloudFront::Function",  # its invocations are counted with the distribution
    "AWS::DynamoDB::Table",  # on demand
    "AWS::EC2::FlowLog",  # its volume is counted with the log group
    "AWS::ECS::TaskDefinition",  # one-off tasks; a service's tasks are counted with the service
    "AWS::Events::Rule",
    "AWS::Logs::MetricFilter",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::Scheduler::Schedule",
    "AWS::WAFv2::LoggingConfiguration",
}
# Never billed separately.
FREE = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CDK::Metadata",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudFormation::WaitConditionHandle",
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
