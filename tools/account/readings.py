"""Assumptions that `./carmen account check` answers by reading: nothing is created or changed.

Sources of quota codes: the links to the Service Quotas console in each service's page of quotas; gruntwork-io/terraform-aws-utilities,
docs/quotas.md, lists them with their defaults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from settings.constants import CACHE_ENGINES, EDGE_REGION, PIPELINE_ACCESS
from settings.model import Settings
from settings.types import UNSUPPORTED_ZONES
from tools.account import offers, service_linked_roles
from tools.account.assumptions import Answer, Assumption
from tools.environment import Deployed, find_stack, unless

QUALIFIER = "hnb659fds"  # of `cdk bootstrap` (DefaultStackSynthesizer.DEFAULT_QUALIFIER)
BOOTSTRAP_VERSION = 8  # the highest that cdk.out/manifest.json requires
FUNCTIONS_AT_ONCE = 30  # an environment has about fifteen functions, and some run twice at the same time
CACHE_POLICIES = 3  # of an environment: constructs_lib/edge/distribution.py
MANAGED_RULE_GROUPS = {
    *("AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet"),
    *("AWSManagedRulesCommonRuleSet", "AWSManagedRulesSQLiRuleSet"),
}

Check = Callable[[Deployed], Answer]


def _client(deployed: Deployed, service: str, region: str | None = None) -> Any:
    return deployed.session.client(service, region_name=region or deployed.settings.region)


def _pages(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page.get(key) or []]


def _pages_by_token(call: Callable[..., dict[str, Any]], sent: str, received: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Pages of an operation for which boto3 has no paginator."""
    token: dict[str, str] = {}
    while True:
        page = call(**arguments, **token)
        yield page
        if not page.get(received):
            return
        token = {sent: page[received]}


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _ours(tags: Iterable[dict[str, str]], settings: Settings) -> bool:
    """Whether a resource belongs to the environment: a second deployment does not need it again."""
    return any(tag["Key"] == "environment" and tag["Value"] == settings.name for tag in tags)


def quota(deployed: Deployed, service: str, code: str, region: str | None = None) -> float:
    """The applied quota, or AWS's default: a quota that was never changed may have no applied value."""
    client = _client(deployed, "service-quotas", region)
    names = {"ServiceCode": service, "QuotaCode": code}
    found = unless("NoSuchResourceException", client.get_service_quota, **names) or client.get_aws_default_service_quota(**names)
    return float(found["Quota"]["Value"])


def _compare(limit: float, used: float, needed: float, what: str) -> Answer:
    return Answer(used + needed <= limit, f"the quota is {limit:g}, others use {used:g}, this environment needs {needed:g} {what}")


# Account and bootstrap


def regions_are_enabled(deployed: Deployed) -> Answer:
    """ec2:DescribeRegions for every region with stacks of the environment."""
    found = _client(deployed, "ec2").describe_regions(RegionNames=deployed.settings.regions, AllRegions=True)["Regions"]
    wrong = [one["RegionName"] for one in found if one["OptInStatus"] == "not-opted-in"]
    return Answer(not wrong, f"not enabled: {', '.join(wrong)}" if wrong else f"enabled: {', '.join(deployed.settings.regions)}")


def zones_are_usable(deployed: Deployed) -> Answer:
    """ec2:DescribeAvailabilityZones: each zone id of `[network] zones` exists and is available."""
    found = _client(deployed, "ec2").describe_availability_zones()["AvailabilityZones"]
    names = {zone["ZoneId"]: zone["ZoneName"] for zone in found if zone["State"] == "available" and zone["ZoneType"] == "availability-zone"}
    zones = deployed.settings.network.zones
    wrong = [zone for zone in zones if zone not in names]
    if wrong:
        return Answer(False, f"not usable: {', '.join(wrong)}; the region has {', '.join(sorted(set(names) - set(UNSUPPORTED_ZONES)))}")
    return Answer(True, ", ".join(f"{zone} is {names[zone]}" for zone in zones))


def bootstrap_is_current(deployed: Deployed) -> Answer:
    """ssm:GetParameter of the bootstrap's version in every region."""
    versions: dict[str, int] = {}
    for region in deployed.settings.regions:
        read = _client(deployed, "ssm", region).get_parameter
        found = unless("ParameterNotFound", read, Name=f"/cdk-bootstrap/{QUALIFIER}/version")
        versions[region] = int(found["Parameter"]["Value"]) if found else 0
    text = ", ".join(f"{region}: {f'version {version}' if version else 'none'}" for region, version in versions.items())
    return Answer(min(versions.values()) >= BOOTSTRAP_VERSION, f"{text} (needed: {BOOTSTRAP_VERSION})")


def bootstrap_key_is_ours(deployed: Deployed) -> Answer:
    """s3:GetBucketEncryption of the bootstrap's bucket in every region."""
    account = _account(deployed)
    keys: dict[str, str] = {}
    for region in deployed.settings.regions:
        bucket = f"cdk-{QUALIFIER}-assets-{account}-{region}"
        read = _client(deployed, "s3", region).get_bucket_encryption
        found = unless("NoSuchBucket", read, Bucket=bucket, ExpectedBucketOwner=account)
        if found is None:
            return Answer(None, f"{bucket} does not exist: run `./carmen bootstrap` first")
        rule = found["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        keys[region] = rule.get("KMSMasterKeyID") or "AWS's key"
    foreign = [key for key in keys.values() if key.startswith("arn:") and f":{account}:" not in key]
    return Answer(not foreign, ", ".join(f"{region}: {key}" for region, key in keys.items()))


def execution_role_has_the_boundary(deployed: Deployed) -> Answer:
    """iam:GetRole of the role with which CloudFormation deploys."""
    wanted = deployed.settings.permissions_boundary
    name = f"cdk-{QUALIFIER}-cfn-exec-role-{_account(deployed)}-{deployed.settings.region}"
    answer = unless("NoSuchEntity", _client(deployed, "iam").get_role, RoleName=name)
    if answer is None:
        return Answer(None, f"{name} does not exist: run `./carmen bootstrap` first")
    found = answer["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "").rpartition("/")[2]
    return Answer(found == (wanted or ""), f"{name} has {found or 'no boundary'}; the settings say {wanted or 'none'}")


def _account(deployed: Deployed) -> str:
    return str(_client(deployed, "sts").get_caller_identity()["Account"])


def service_linked_roles_exist(deployed: Deployed) -> Answer:
    """iam:GetRole of each service-linked role that a deployment uses."""
    iam, roles = _client(deployed, "iam"), service_linked_roles.ROLES
    missing = [service for service, role in roles.items() if unless("NoSuchEntity", iam.get_role, RoleName=role) is None]
    return Answer(not missing, f"missing: {', '.join(missing)}" if missing else f"all {len(roles)} exist")


def identity_provider_matches(deployed: Deployed) -> Answer:
    """iam:ListOpenIDConnectProviders, and whether the stack CarmenPipelineAccess exists."""
    pipeline = deployed.settings.pipeline
    if pipeline is None:
        return Answer(True, "no [pipeline] is set, so no provider is needed")
    from constructs_lib.pipelines.oidc_trust import issuer

    host = issuer(pipeline)
    arns = [one["Arn"] for one in _client(deployed, "iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    exists = any(arn.endswith(f":oidc-provider/{host}") for arn in arns)
    cloudformation = _client(deployed, "cloudformation", EDGE_REGION)
    if exists and not pipeline.provider_exists and find_stack(cloudformation, PIPELINE_ACCESS):
        return Answer(True, f"{host} exists; CarmenPipelineAccess created it")
    return Answer(
        exists == pipeline.provider_exists,
        f"{host} {'exists' if exists else 'does not exist'}; provider_exists is {str(pipeline.provider_exists).lower()}",
    )


# Quotas


def fargate_has_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of Fargate's vCPUs: all tasks twice during a deployment, and the migration."""
    service = deployed.settings.service
    needed = 2 * service.max_tasks * service.cpu / 1024 + 0.5
    return _compare(quota(deployed, "fargate", "L-3032A538"), 0, needed, "vCPU (2 × max_tasks × cpu and a migration)")


def addresses_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of Elastic IPs, and ec2:DescribeAddresses."""
    found = _client(deployed, "ec2").describe_addresses()["Addresses"]
    used = sum(not _ours(address.get("Tags", []), deployed.settings) for address in found)
    return _compare(quota(deployed, "ec2", "L-0263D0A3"), used, deployed.settings.network.nat_gateways, "addresses of NAT")


def networks_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of VPCs, and ec2:DescribeVpcs."""
    used = sum(not _ours(vpc.get("Tags", []), deployed.settings) for vpc in _pages(_client(deployed, "ec2"), "describe_vpcs", "Vpcs"))
    return _compare(quota(deployed, "vpc", "L-F678F1CE"), used, 1, "VPC")


def nat_gateways_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of NAT gateways per zone, ec2:DescribeNatGateways and ec2:DescribeSubnets."""
    settings, ec2 = deployed.settings, _client(deployed, "ec2")
    active = [{"Name": "state", "Values": ["pending", "available", "deleting"]}]
    gateways = _pages(ec2, "describe_nat_gateways", "NatGateways", Filters=active)
    zones = {subnet["SubnetId"]: subnet["AvailabilityZoneId"] for subnet in _pages(ec2, "describe_subnets", "Subnets")}
    used = Counter(zones.get(one["SubnetId"]) for one in gateways if not _ours(one.get("Tags", []), settings))
    needed = min(settings.network.nat_gateways, 1) * (not settings.network.nat_instances)
    most = max(used[zone] for zone in settings.network.zones)
    return _compare(quota(deployed, "vpc", "L-FE5A380F"), most, needed, "in a zone")


def databases_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of RDS instances, and rds:DescribeDBInstances."""
    found = _pages(_client(deployed, "rds"), "describe_db_instances", "DBInstances")
    used = sum(not _ours(one.get("TagList", []), deployed.settings) for one in found)
    return _compare(quota(deployed, "rds", "L-7B6409FD"), used, 2, "instances (the second one for a restore)")


def proxies_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of RDS proxies, and rds:DescribeDBProxies."""
    prefix = deployed.settings.stack_prefix
    found = _pages(_client(deployed, "rds"), "describe_db_proxies", "DBProxies")
    used = sum(not proxy["DBProxyName"].startswith(prefix) for proxy in found)
    return _compare(quota(deployed, "rds", "L-D94C7EA3"), used, int(deployed.settings.database.proxy), "proxies")


def load_balancers_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of application load balancers, and elasticloadbalancing:DescribeLoadBalancers."""
    found = _pages(_client(deployed, "elbv2"), "describe_load_balancers", "LoadBalancers")
    used = sum(one["Type"] == "application" for one in found)
    return _compare(quota(deployed, "elasticloadbalancing", "L-53DA6B97"), used, 1, "load balancer")


def cache_policies_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of CloudFront's cache policies, and cloudfront:ListCachePolicies."""
    cloudfront = _client(deployed, "cloudfront", EDGE_REGION)

    def list_policies(**marker: str) -> dict[str, Any]:
        return dict(cloudfront.list_cache_policies(Type="custom", **marker)["CachePolicyList"])

    pages = _pages_by_token(list_policies, "Marker", "NextMarker")
    names = [one["CachePolicy"]["CachePolicyConfig"]["Name"] for page in pages for one in page.get("Items", [])]
    used = sum(not name.startswith(deployed.settings.stack_prefix) for name in names)
    return _compare(quota(deployed, "cloudfront", "L-7D134442", EDGE_REGION), used, CACHE_POLICIES, "custom cache policies")


def functions_have_room(deployed: Deployed) -> Answer:
    """lambda:GetAccountSettings: executions at the same time that no function reserves."""
    limits = _client(deployed, "lambda").get_account_settings()["AccountLimit"]
    return _compare(limits["UnreservedConcurrentExecutions"], 0, FUNCTIONS_AT_ONCE, "executions at the same time")


def nat_instances_have_room(deployed: Deployed) -> Answer:
    """servicequotas:GetServiceQuota of vCPUs of standard instances, if `[network] nat_instances` is on."""
    network = deployed.settings.network
    if not network.nat_instances:
        return Answer(True, "nat_instances is off: no EC2 instance is needed")
    return _compare(quota(deployed, "ec2", "L-1216C47A"), 0, 2 * network.nat_gateways, "vCPU (two for each t4g.nano)")


# What the services offer


def engine_version_is_offered(deployed: Deployed) -> Answer:
    """rds:DescribeDBEngineVersions: RDS's default for the major version that the template names."""
    major = deployed.settings.database.engine_major
    version = offers.default_database_version(_client(deployed, "rds"), major)
    return Answer(version is not None, f"a new instance gets {version}" if version else f"RDS offers no PostgreSQL {major}")


def instance_class_is_offered(deployed: Deployed) -> Answer:
    """rds:DescribeOrderableDBInstanceOptions and ec2:DescribeAvailabilityZones: the class in every zone."""
    settings = deployed.settings
    found = offers.database_options(_client(deployed, "rds"), settings.database.instance_class)
    suitable = [one for one in found if one["EngineVersion"].split(".")[0] == settings.database.engine_major]
    offered = {zone["Name"] for one in suitable for zone in one["AvailabilityZones"]}
    names = {one["ZoneId"]: one["ZoneName"] for one in _client(deployed, "ec2").describe_availability_zones()["AvailabilityZones"]}
    usable = [zone for zone in settings.network.zones if names.get(zone) in offered]
    needed = 2 if settings.database.multi_az else 1
    text = f"db.{settings.database.instance_class} with gp3 is offered in {', '.join(usable) or 'none of the zones'}"
    return Answer(len(usable) >= needed, text)


def cache_version_is_offered(deployed: Deployed) -> Answer:
    """elasticache:DescribeCacheEngineVersions of the cache's engine."""
    engine = deployed.settings.cache.engine
    wanted = CACHE_ENGINES[engine][0]
    versions = offers.cache_versions(_client(deployed, "elasticache"), engine)
    offered = any(offers.minor(version) == offers.minor(wanted) for version in versions)
    return Answer(offered, f"{engine} {wanted} {'is' if offered else 'is not'} among {', '.join(versions) or 'no version'}")


def rule_groups_are_offered(deployed: Deployed) -> Answer:
    """wafv2:ListAvailableManagedRuleGroups for CloudFront."""
    list_groups = _client(deployed, "wafv2", EDGE_REGION).list_available_managed_rule_groups
    pages = _pages_by_token(list_groups, "NextMarker", "NextMarker", Scope="CLOUDFRONT")
    names = {one["Name"] for page in pages for one in page["ManagedRuleGroups"]}
    missing = sorted(MANAGED_RULE_GROUPS - names)
    return Answer(not missing, f"missing: {', '.join(missing)}" if missing else f"all {len(MANAGED_RULE_GROUPS)} are offered")


def hosted_zone_matches(deployed: Deployed) -> Answer:
    """route53:GetHostedZone of `[domain] hosted_zone_id`."""
    domain = deployed.settings.domain
    if domain is None:
        return Answer(True, "no [domain] is set: CloudFront's own name is used")
    found = unless("NoSuchHostedZone", _client(deployed, "route53").get_hosted_zone, Id=domain.hosted_zone_id)
    if found is None:
        return Answer(False, f"this account has no hosted zone {domain.hosted_zone_id}")
    zone = found["HostedZone"]
    name, private = zone["Name"].rstrip("."), zone.get("Config", {}).get("PrivateZone", False)
    text = f"{domain.hosted_zone_id} is the {'private' if private else 'public'} zone {name}"
    return Answer(not private and name == domain.hosted_zone_name, text)


# Billing

BILLING_IN_THE_MANAGEMENT_ACCOUNT = ("AccessDeniedException", "ValidationException")


def cost_tags_are_active(deployed: Deployed) -> Answer:
    """ce:ListCostAllocationTags for the tag `environment`."""
    try:
        found = _client(deployed, "ce", EDGE_REGION).list_cost_allocation_tags(TagKeys=["environment"])["CostAllocationTags"]
    except ClientError as error:
        if _code(error) not in BILLING_IN_THE_MANAGEMENT_ACCOUNT:
            raise
        message = error.response["Error"].get("Message", "")
        return Answer(None, f"AWS refuses ({_code(error)}: {message}): a member account cannot read it, ask in the management account")
    status = found[0]["Status"] if found else "unknown: AWS lists a tag about a day after its first resource"
    return Answer(status == "Active", f"the tag `environment` is {status}")


def service_monitor_is_known(deployed: Deployed) -> Answer:
    """ce:GetAnomalyMonitors: the account's monitor of services, if another one than ours exists, is the one of the settings."""
    pages = _pages_by_token(_client(deployed, "ce", EDGE_REGION).get_anomaly_monitors, "NextPageToken", "NextPageToken")
    arns = [
        one["MonitorArn"]
        for page in pages
        for one in page["AnomalyMonitors"]
        if one.get("MonitorDimension") == "SERVICE" and not one["MonitorName"].lower().startswith("carmen")
    ]
    text = f"{arns[0]} exists" if arns else "no other monitor of services exists"
    wanted = deployed.settings.anomaly_detection
    if wanted is None:
        return Answer(True, f"{text}; [anomaly_detection] is off")
    return Answer(arns == ([wanted.monitor_arn] if wanted.monitor_arn else []), f"{text}; monitor_arn is {wanted.monitor_arn or 'not set'}")


INCREASE = "Request an increase in the Service Quotas console ({}), or {}."
READ_QUOTA = ("servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota")

READINGS: tuple[Assumption[Deployed], ...] = (
    Assumption(
        id="regions",
        assumed="Every region with stacks of the environment is enabled.",
        why="A region that is not opted in refuses the first stack.",
        check=regions_are_enabled,
        if_wrong="Enable the region in the account's settings, or change `region` and `storage.backup_copy_region`.",
        source='AWS Account Management, "Enable or disable AWS Regions in your account"',
        actions=("ec2:DescribeRegions",),
    ),
    Assumption(
        id="zones",
        assumed="The zone ids of `[network] zones` exist here, and RDS Proxy supports them.",
        why="Zone ids are the same in all accounts, but not every account has every zone; RDS Proxy leaves use1-az3 out.",
        check=zones_are_usable,
        if_wrong="Set `network.zones` before the first deployment; it is fixed afterwards.",
        source='AWS RAM, "Availability Zone IDs for your AWS resources"; Amazon RDS, "RDS Proxy limitations"',
        actions=("ec2:DescribeAvailabilityZones",),
    ),
    Assumption(
        id="bootstrap-version",
        assumed=f"The CDK bootstrap has version {BOOTSTRAP_VERSION} or later in every region.",
        why="The CDK refuses to deploy with an older one.",
        check=bootstrap_is_current,
        if_wrong="Run `./carmen bootstrap aws://ACCOUNT/REGION` for each region.",
        source="cdk.out/manifest.json, `requiresBootstrapStackVersion`",
        actions=("ssm:GetParameter",),
    ),
    Assumption(
        id="bootstrap-key",
        assumed="The bootstrap's bucket is encrypted with a key of AWS or of this account.",
        why="Tasks with a function's code download it there, and may use any key of their own account through S3.",
        check=bootstrap_key_is_ours,
        if_wrong="constructs_lib/compute/function_task.py: statement DecryptCode must name that key.",
        source="aws/aws-cdk#25100",
        actions=("s3:GetEncryptionConfiguration", "sts:GetCallerIdentity"),
    ),
    Assumption(
        id="bootstrap-boundary",
        assumed="CloudFormation's role has the boundary of `permissions_boundary`, and none if none is set.",
        why="Without it a deployment may do everything; with another one it is refused half-way (ADR 0016).",
        check=execution_role_has_the_boundary,
        if_wrong="Run `./carmen bootstrap` with `--custom-permissions-boundary`, or change `permissions_boundary`.",
        source="ADR 0016",
        actions=("iam:GetRole", "sts:GetCallerIdentity"),
    ),
    Assumption(
        id="service-linked-roles",
        assumed="The service-linked roles that a deployment uses exist.",
        why="A service creates its role at first use, and the first cluster or scaling target may fail before the role is usable.",
        check=service_linked_roles_exist,
        if_wrong="Run `./carmen bootstrap`, which creates them.",
        source="aws-cloudformation/cloudformation-coverage-roadmap#818, aws/containers-roadmap#2614",
        actions=("iam:GetRole",),
    ),
    Assumption(
        id="identity-provider",
        assumed="The pipeline platform's identity provider exists exactly when `pipeline.provider_exists` says so.",
        why="An account has one provider per address: creating a second one fails, and a missing one leaves pipelines without access.",
        check=identity_provider_matches,
        if_wrong="Set `pipeline.provider_exists`.",
        source="AWS IAM API, CreateOpenIDConnectProvider (EntityAlreadyExists)",
        actions=("iam:ListOpenIDConnectProviders", "cloudformation:DescribeStacks"),
    ),
    Assumption(
        id="quota-fargate",
        assumed="Fargate has vCPUs for all tasks, twice while a deployment replaces them.",
        why="New accounts get 6 vCPU in some regions; ECS then cannot place tasks, and the release is rolled back.",
        check=fargate_has_room,
        if_wrong=INCREASE.format("fargate, L-3032A538", "lower `service.max_tasks` or `service.cpu`"),
        source='Amazon ECS, "AWS Fargate service quotas"',
        actions=READ_QUOTA,
    ),
    Assumption(
        id="quota-addresses",
        assumed="The account has Elastic IPs for the NAT gateways.",
        why="The default is five for each region.",
        check=addresses_have_room,
        if_wrong=INCREASE.format("ec2, L-0263D0A3", "lower `network.nat_gateways`"),
        source="Amazon VPC quotas",
        actions=(*READ_QUOTA, "ec2:DescribeAddresses"),
    ),
    Assumption(
        id="quota-vpcs",
        assumed="The region has room for one more VPC.",
        why="The default is five for each region, and the default VPC counts.",
        check=networks_have_room,
        if_wrong=INCREASE.format("vpc, L-F678F1CE", "delete the default VPC"),
        source="Amazon VPC quotas",
        actions=(*READ_QUOTA, "ec2:DescribeVpcs"),
    ),
    Assumption(
        id="quota-nat-gateways",
        assumed="Each zone has room for one more NAT gateway.",
        why="The default is five for each zone.",
        check=nat_gateways_have_room,
        if_wrong=INCREASE.format("vpc, L-FE5A380F", "set `network.nat_instances`"),
        source="Amazon VPC quotas",
        actions=(*READ_QUOTA, "ec2:DescribeNatGateways", "ec2:DescribeSubnets"),
    ),
    Assumption(
        id="quota-nat-instances",
        assumed="EC2 has vCPUs for NAT instances, if they are used.",
        why="New accounts may have a quota of five vCPU or fewer.",
        check=nat_instances_have_room,
        if_wrong=INCREASE.format("ec2, L-1216C47A", "switch `network.nat_instances` off"),
        source='Amazon EC2, "On-Demand Instance quotas"',
        actions=READ_QUOTA,
    ),
    Assumption(
        id="quota-databases",
        assumed="RDS has room for the instance and for a restored one beside it.",
        why="A restore during an incident must not wait for a quota increase.",
        check=databases_have_room,
        if_wrong=INCREASE.format("rds, L-7B6409FD", "delete unused instances"),
        source="Amazon RDS quotas",
        actions=(*READ_QUOTA, "rds:DescribeDBInstances"),
    ),
    Assumption(
        id="quota-proxies",
        assumed="RDS has room for one more proxy.",
        why="The default is twenty for each region.",
        check=proxies_have_room,
        if_wrong=INCREASE.format("rds, L-D94C7EA3", "switch `database.proxy` off"),
        source="Amazon RDS quotas",
        actions=(*READ_QUOTA, "rds:DescribeDBProxies"),
    ),
    Assumption(
        id="quota-load-balancers",
        assumed="The region has room for one more application load balancer.",
        why="The default is fifty for each region.",
        check=load_balancers_have_room,
        if_wrong=INCREASE.format("elasticloadbalancing, L-53DA6B97", "delete unused load balancers"),
        source='Elastic Load Balancing, "Quotas for your Application Load Balancers"',
        actions=(*READ_QUOTA, "elasticloadbalancing:DescribeLoadBalancers"),
    ),
    Assumption(
        id="quota-cache-policies",
        assumed=f"CloudFront has room for {CACHE_POLICIES} custom cache policies.",
        why="The default is twenty for each account, and every environment and preview has its own.",
        check=cache_policies_have_room,
        if_wrong=INCREASE.format("cloudfront in us-east-1, L-7D134442", "use a separate account for previews"),
        source='Amazon CloudFront, "Quotas", general quotas on policies',
        actions=(*READ_QUOTA, "cloudfront:ListCachePolicies"),
    ),
    Assumption(
        id="quota-functions",
        assumed=f"Lambda runs {FUNCTIONS_AT_ONCE} functions at the same time.",
        why="New accounts get ten: backup, probe, uptime checks and custom resources of a deployment throttle each other.",
        check=functions_have_room,
        if_wrong=INCREASE.format("lambda, L-B99A9384", "wait: AWS raises it with use"),
        source="AWS Lambda quotas, concurrent executions",
        actions=("lambda:GetAccountSettings",),
    ),
    Assumption(
        id="engine-version",
        assumed="RDS offers the major version of PostgreSQL, and chooses a minor version.",
        why="The template names the major version only (ADR 0023).",
        check=engine_version_is_offered,
        if_wrong="Change `database.engine_major`.",
        source='Amazon RDS, "Release calendars for Amazon RDS for PostgreSQL"',
        actions=("rds:DescribeDBEngineVersions",),
    ),
    Assumption(
        id="instance-class",
        assumed="RDS offers the instance class with gp3 in two of the zones, or in one without a standby.",
        why="Not every zone has every class.",
        check=instance_class_is_offered,
        if_wrong="Change `database.instance_class`, or `network.zones` before the first deployment.",
        source="Amazon RDS API, DescribeOrderableDBInstanceOptions",
        actions=("rds:DescribeOrderableDBInstanceOptions", "ec2:DescribeAvailabilityZones"),
    ),
    Assumption(
        id="cache-version",
        assumed="ElastiCache offers the version of the cache's engine.",
        why="A version that is not offered stops the creation of the data stack.",
        check=cache_version_is_offered,
        if_wrong="Change CACHE_ENGINES in settings/constants.py, or `cache.engine`.",
        source='Amazon ElastiCache, "Supported engines and versions"',
        actions=("elasticache:DescribeCacheEngineVersions",),
    ),
    Assumption(
        id="firewall-rules",
        assumed="WAF offers the managed rule groups of the firewall.",
        why="A group that is not offered stops the creation of the web ACL.",
        check=rule_groups_are_offered,
        if_wrong="Change the rule groups in constructs_lib/edge/waf.py.",
        source='AWS WAF, "AWS Managed Rules rule groups list"',
        actions=("wafv2:ListAvailableManagedRuleGroups",),
    ),
    Assumption(
        id="hosted-zone",
        assumed="The hosted zone of `[domain]` is in this account, public, and has the name of the settings.",
        why="The certificate is validated there: with another zone its creation waits until it times out.",
        check=hosted_zone_matches,
        if_wrong="Change `domain.hosted_zone_id` and `domain.hosted_zone_name`.",
        source='AWS Certificate Manager, "DNS validation"',
        actions=("route53:GetHostedZone",),
    ),
    Assumption(
        id="cost-tags",
        assumed="The tag `environment` is active for cost allocation.",
        why="Without it the budget's figures are empty and its notices never come. Only the management account may activate it.",
        check=cost_tags_are_active,
        if_wrong="Activate it (docs/runbooks/budget.md, last section); AWS needs a day.",
        source='AWS Billing, "Activating user-defined cost allocation tags"',
        actions=("ce:ListCostAllocationTags",),
    ),
    Assumption(
        id="service-monitor",
        assumed="`anomaly_detection.monitor_arn` is the account's monitor of AWS services, if it has one already.",
        why="An account may have one; AWS creates it with Cost Explorer, and a second one is refused.",
        check=service_monitor_is_known,
        if_wrong="Set `anomaly_detection.monitor_arn` to that monitor, or remove it from the settings (ADR 0026).",
        source="aws-cloudformation/cloudformation-coverage-roadmap#2515",
        actions=("ce:GetAnomalyMonitors",),
    ),
)
