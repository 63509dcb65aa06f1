"""Read-only assumptions: a good account, each way in which an account can be wrong, refusals, and the permissions that are stated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from settings.sections import AnomalyDetection, Domain, Pipeline
from tests.account.fakes import PROD, READABLE, FakeAws, Refusal, account
from tests.conftest import Built
from tools.account import readings
from tools.account.readings import READINGS
from tools.environment import Deployed

BY_ID = {one.id: one for one in READINGS}
# IAM's names where they are not the service's signing name and the operation's name (AWS Service Authorization Reference).
SERVICES = {"service-quotas": "servicequotas", "elbv2": "elasticloadbalancing"}
ACTIONS = {"s3:GetBucketEncryption": "s3:GetEncryptionConfiguration"}


def action(operation: str) -> str:
    service, _, name = operation.partition(".")
    found = f"{SERVICES.get(service, service)}:{name}"
    return ACTIONS.get(found, found)


def pipeline(**more: Any) -> Any:
    given = Pipeline(repository="a/b", branch="main", protected_environment="production", **more)
    return PROD.model_copy(update={"pipeline": given})


DOMAIN = PROD.model_copy(
    update={"domain": Domain(name="erp.example.com", hosted_zone_id="Z0123456789ABCDEFGHIJ", hosted_zone_name="example.com")}
)
NAT_INSTANCES = PROD.model_copy(update={"network": PROD.network.model_copy(update={"nat_instances": True})})
ANOMALIES = PROD.model_copy(update={"anomaly_detection": AnomalyDetection()})
SERVICE_MONITOR = {
    "MonitorArn": "arn:aws:ce::000000000000:anomalymonitor/1",
    "MonitorName": "Default-Services-Monitor",
    "MonitorType": "DIMENSIONAL",
    "MonitorDimension": "SERVICE",
}
PROVIDER = {"OpenIDConnectProviderList": [{"Arn": "arn:aws:iam::000000000000:oidc-provider/token.actions.githubusercontent.com"}]}


def zone(name: str, *, private: bool = False) -> dict[str, Any]:
    return {"HostedZone": {"Id": "Z", "Name": name, "CallerReference": "r", "Config": {"PrivateZone": private}}}


def quota(value: float) -> dict[str, Any]:
    return {"service__quotas_GetServiceQuota": {"Quota": {"Value": value}}}


def policies(*names: str) -> dict[str, Any]:
    summary = [
        {"Type": "custom", "CachePolicy": {"Id": name, "LastModifiedTime": 0, "CachePolicyConfig": {"Name": name, "MinTTL": 0}}}
        for name in names
    ]
    return {"cloudfront_ListCachePolicies": {"CachePolicyList": {"MaxItems": 100, "Quantity": len(names), "Items": summary}}}


def encryption(key: str) -> dict[str, Any]:
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    return {"s3_GetBucketEncryption": {"ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}}}


WRONG: list[tuple[str, Any, dict[str, Any], str]] = [
    ("regions", PROD, {"ec2_DescribeRegions": {"Regions": [{"RegionName": "af-south-1", "OptInStatus": "not-opted-in"}]}}, "not enabled: af-south-1"),
    ("zones", PROD, {"ec2_DescribeAvailabilityZones": {"AvailabilityZones": []}}, "not usable: use1-az1, use1-az2, use1-az4"),
    ("bootstrap-version", PROD, {"ssm_GetParameter": {"Parameter": {"Value": "7"}}}, "us-east-1: version 7 (needed: 8)"),
    ("bootstrap-version", PROD, {"ssm_GetParameter": Refusal("ParameterNotFound")}, "us-east-1: none (needed: 8)"),
    ("bootstrap-key", PROD, encryption("arn:aws:kms:us-east-1:111111111111:key/1"), "us-east-1: arn:aws:kms:us-east-1:111111111111:key/1"),
    ("bootstrap-boundary", PROD.model_copy(update={"permissions_boundary": "CarmenBoundary"}), {}, "has no boundary; the settings say CarmenBoundary"),
    ("service-linked-roles", PROD, {"iam_GetRole": Refusal("NoSuchEntity")}, "missing: ecs.amazonaws.com, ecs.application-autoscaling"),
    ("identity-provider", pipeline(), {"iam_ListOpenIDConnectProviders": PROVIDER}, "exists; provider_exists is false"),
    ("identity-provider", pipeline(provider_exists=True), {}, "does not exist; provider_exists is true"),
    ("quota-fargate", PROD, quota(6), "the quota is 6, others use 0, this environment needs 6.5 vCPU"),
    ("quota-addresses", PROD, quota(5) | {"ec2_DescribeAddresses": {"Addresses": [{"PublicIp": "192.0.2.1"}] * 4}}, "the quota is 5, others use 4"),
    ("quota-vpcs", PROD, quota(1), "the quota is 1, others use 1"),
    (
        "quota-nat-gateways",
        PROD,
        quota(1)
        | {
            "ec2_DescribeNatGateways": {"NatGateways": [{"SubnetId": "s"}]},
            "ec2_DescribeSubnets": {"Subnets": [{"SubnetId": "s", "AvailabilityZoneId": "use1-az2"}]},
        },
        "the quota is 1, others use 1",
    ),
    ("quota-nat-instances", NAT_INSTANCES, quota(1), "the quota is 1, others use 0, this environment needs 4 vCPU"),
    ("quota-databases", PROD, quota(2) | {"rds_DescribeDBInstances": {"DBInstances": [{}]}}, "others use 1, this environment needs 2"),
    ("quota-proxies", PROD, quota(1) | {"rds_DescribeDBProxies": {"DBProxies": [{"DBProxyName": "Other"}]}}, "others use 1"),
    ("quota-load-balancers", PROD, quota(1) | {"elbv2_DescribeLoadBalancers": {"LoadBalancers": [{"Type": "application"}]}}, "others use 1"),
    ("quota-cache-policies", PROD, quota(3) | policies("CarmenProdX", "other", "another"), "the quota is 3, others use 2"),
    ("quota-functions", PROD, {"lambda_GetAccountSettings": {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}}, "the quota is 10"),
    ("engine-version", PROD, {"rds_DescribeDBEngineVersions": {"DBEngineVersions": []}}, "RDS offers no PostgreSQL 17"),
    ("instance-class", PROD, {"rds_DescribeOrderableDBInstanceOptions": {"OrderableDBInstanceOptions": []}}, "offered in none of the zones"),
    ("cache-version", PROD, {"elasticache_DescribeCacheEngineVersions": {"CacheEngineVersions": [{"EngineVersion": "9.0"}]}}, "8.1 is not among 9.0"),
    ("firewall-rules", PROD, {"wafv2_ListAvailableManagedRuleGroups": {"ManagedRuleGroups": []}}, "missing: AWSManagedRulesAmazonIpReputationList"),
    ("hosted-zone", DOMAIN, {"route53_GetHostedZone": zone("example.org.")}, "is the public zone example.org"),
    ("hosted-zone", DOMAIN, {"route53_GetHostedZone": zone("example.com.", private=True)}, "is the private zone example.com"),
    ("hosted-zone", DOMAIN, {"route53_GetHostedZone": Refusal("NoSuchHostedZone")}, "has no hosted zone"),
    ("cost-tags", PROD, {"ce_ListCostAllocationTags": {"CostAllocationTags": []}}, "unknown: AWS lists a tag about a day after"),
    ("service-monitor", ANOMALIES, {"ce_GetAnomalyMonitors": {"AnomalyMonitors": [SERVICE_MONITOR]}}, "anomalymonitor/1 exists; monitor_arn is not set"),
]  # fmt: skip


def test_good_account_confirms_every_assumption() -> None:
    for one in READINGS:
        answer = one.answer(account())
        assert answer.holds, (one.id, answer.text)


def test_every_assumption_has_an_account_that_contradicts_it() -> None:
    assert {name for name, *_ in WRONG} == BY_ID.keys()


@pytest.mark.parametrize(("name", "settings", "answers", "text"), WRONG, ids=[f"{number}-{row[0]}" for number, row in enumerate(WRONG)])
def test_wrong_account_is_found(name: str, settings: Any, answers: dict[str, Any], text: str) -> None:
    answer = BY_ID[name].answer(account(settings, **answers))
    assert answer.holds is False
    assert text in answer.text


def test_resources_of_the_environment_itself_do_not_count() -> None:
    tags = [{"Key": "environment", "Value": "prod"}]
    answers: dict[str, Any] = quota(2) | {"ec2_DescribeAddresses": {"Addresses": [{"Tags": tags}] * 2}}
    assert readings.addresses_have_room(account(**answers)).holds


def test_quota_without_an_applied_value_is_the_default() -> None:
    answers: dict[str, Any] = {
        "service__quotas_GetServiceQuota": Refusal("NoSuchResourceException"),
        "service__quotas_GetAWSDefaultServiceQuota": {"Quota": {"Value": 6}},
    }
    assert readings.quota(account(**answers), "fargate", "L-3032A538") == 6


def test_provider_of_our_own_stack_is_no_contradiction() -> None:
    stack = {"Stacks": [{"StackName": "CarmenPipelineAccess", "CreationTime": 0, "StackStatus": "CREATE_COMPLETE"}]}
    deployed = account(pipeline(), iam_ListOpenIDConnectProviders=PROVIDER, cloudformation_DescribeStacks=stack)
    assert readings.identity_provider_matches(deployed).holds


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_cost_tags_in_a_member_account_stay_open(code: str) -> None:
    answer = readings.cost_tags_are_active(account(ce_ListCostAllocationTags=Refusal(code, "Linked account doesn't have access")))
    assert answer.holds is None
    assert "management account" in answer.text


@pytest.mark.parametrize("name", ["bootstrap-key", "bootstrap-boundary"])
def test_account_without_bootstrap_stays_open(name: str) -> None:
    answer = BY_ID[name].answer(account(s3_GetBucketEncryption=Refusal("NoSuchBucket"), iam_GetRole=Refusal("NoSuchEntity")))
    assert answer.holds is None
    assert "./carmen bootstrap" in answer.text


def test_missing_permission_is_an_open_question() -> None:
    refused = FakeAws(dict.fromkeys(READABLE, Refusal("AccessDenied", "not authorized")))
    for one in READINGS:
        answer = one.answer(Deployed(NAT_INSTANCES.model_copy(update={"pipeline": pipeline().pipeline}), refused))
        assert answer.holds is None or not refused.calls, one.id
        refused.calls.clear()


@pytest.mark.parametrize("name", BY_ID)
def test_permissions_are_those_of_the_calls(name: str) -> None:
    """Everything that the check calls in some account is stated, and nothing else."""
    called = set()
    defaults = {"service__quotas_GetAWSDefaultServiceQuota": {"Quota": {"Value": 6}}}
    rows = [(name, PROD, {}, ""), *(row for row in WRONG if row[0] == name)]
    if any("servicequotas" in one for one in BY_ID[name].actions):
        rows.append((name, NAT_INSTANCES, {"service__quotas_GetServiceQuota": Refusal("NoSuchResourceException")}, ""))
    for _, settings, answers, _ in rows:
        deployed = account(settings, **defaults, **answers)
        assert BY_ID[name].answer(deployed).text
        called |= {action(operation) for operation in deployed.session.operations}
    assert called == set(BY_ID[name].actions)


def test_constants_match_the_templates(built: Built) -> None:
    assert len(built.resources("AWS::CloudFront::CachePolicy", "CarmenProdEdge")) == readings.CACHE_POLICIES
    functions = sum(len(built.resources("AWS::Lambda::Function", name)) for name in built.templates if name.startswith("CarmenProd"))
    assert functions <= readings.FUNCTIONS_AT_ONCE
    rules = json.dumps([one["Properties"]["Rules"] for one in built.resources("AWS::WAFv2::WebACL").values()])
    assert all(group in rules for group in readings.MANAGED_RULE_GROUPS)
    assert rules.count("ManagedRuleGroupStatement") % len(readings.MANAGED_RULE_GROUPS) == 0
    manifest = json.loads((built.assembly / "manifest.json").read_text(encoding="utf-8"))
    versions = [
        part["requiresBootstrapStackVersion"]
        for one in manifest["artifacts"].values()
        for part in (one.get("properties", {}), one.get("properties", {}).get("lookupRole", {}))
        if "requiresBootstrapStackVersion" in part
    ]
    assert max(versions) == readings.BOOTSTRAP_VERSION
