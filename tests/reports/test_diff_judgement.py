"""Changes that the report once called harmless, or wrongly dangerous: one resource each (cases/changes.md, issue 22)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reports.small_assembly import resource, small_assembly
from tools.reports.diff.collect import Impact, compare
from tools.reports.diff.dangers import find_dangers

Body = dict[str, Any]


def alarm(**changed: Any) -> Body:
    properties = {
        "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 25, "EvaluationPeriods": 2, "Namespace": "AWS/ApplicationELB",
        "MetricName": "HTTPCode_Target_5XX_Count", "TreatMissingData": "breaching", "Statistic": "Sum", "Period": 60,
    }  # fmt: skip
    return resource("CloudWatch::Alarm", **(properties | changed))


def retention(days: int) -> Body:
    call = {
        "service": "CloudWatchLogs",
        "action": "putRetentionPolicy",
        "parameters": {"logGroupName": "/aws/rds", "retentionInDays": days},
    }
    parts = json.dumps(call).partition("/aws/rds")
    joined = {"Fn::Join": ["", [parts[0], {"Ref": "AWS::Partition"}, parts[2]]]}
    return {"Type": "Custom::AWS", "Properties": {"Create": joined, "Update": joined}}


def database(**changed: Any) -> Body:
    safe = {"DBInstanceClass": "db.t4g.micro", "StorageEncrypted": True, "PubliclyAccessible": False, "BackupRetentionPeriod": 14}
    return {**resource("RDS::DBInstance", **(safe | changed)), "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def firewall(action: str) -> Body:
    group = {"VendorName": "AWS", "Name": "Common", "RuleActionOverrides": [{"Name": "SizeRestrictions_BODY", "ActionToUse": {action: {}}}]}
    rule = {"Name": "Common", "Priority": 0, "OverrideAction": {"None": {}}, "Statement": {"ManagedRuleGroupStatement": group}}
    return resource("WAFv2::WebACL", DefaultAction={"Allow": {}}, Scope="CLOUDFRONT", Rules=[rule])


def distribution(enabled: bool = True, **behavior: Any) -> Body:
    default = {
        "TargetOriginId": "app",
        "ViewerProtocolPolicy": "redirect-to-https",
        "CachePolicyId": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    }
    return resource("CloudFront::Distribution", DistributionConfig={"Enabled": enabled, "DefaultCacheBehavior": default | behavior})


def task(environment: list[Body], secrets: list[Body]) -> Body:
    container = {"Name": "carmen", "Image": "one", "User": "1001", "Environment": environment, "Secrets": secrets}
    return resource("ECS::TaskDefinition", Family="web", ContainerDefinitions=[container])


PASSWORD = "plain"
WEAKENED: dict[str, tuple[Body, Body, str]] = {
    "higher threshold": (alarm(), alarm(Threshold=200), "is in alarm later: threshold, 25 → 200"),
    "lower threshold of less-than": (
        alarm(ComparisonOperator="LessThanThreshold", Threshold=50),
        alarm(ComparisonOperator="LessThanThreshold", Threshold=1),
        "is in alarm later: threshold, 50 → 1",
    ),
    "more periods": (alarm(), alarm(EvaluationPeriods=5), "is in alarm later: `EvaluationPeriods`, 2 → 5"),
    "missing data": (alarm(), alarm(TreatMissingData="notBreaching"), "no longer reports missing data, breaching → notBreaching"),
    "another metric": (alarm(), alarm(MetricName="RequestCount"), "watches something else: MetricName"),
    "retention in a call's JSON": (retention(90), retention(30), "log retention in days, 90 → 30"),
    "shorter backups": (database(), database(BackupRetentionPeriod=7), "days of automated backups, 14 → 7"),
    "firewall's count becomes allow": (firewall("Count"), firewall("Allow"), "allows what its sub-rule SizeRestrictions_BODY matches"),
    "disabled distribution": (distribution(), distribution(enabled=False), "the distribution is switched off"),
    "no origin request policy": (
        distribution(OriginRequestPolicyId="216adef6-5c7f-47e4-b989-5492eafa07d3"),
        distribution(),
        "requests on `*` reach the application without their headers, cookies and query",
    ),
    "function that never runs": (
        resource("Lambda::Function"),
        resource("Lambda::Function", ReservedConcurrentExecutions=0),
        "never runs (`ReservedConcurrentExecutions`)",
    ),
    "disabled rule": (resource("Events::Rule"), resource("Events::Rule", State="DISABLED"), "the rule, ENABLED → DISABLED"),
    "disabled schedule": (
        resource("Scheduler::Schedule"),
        resource("Scheduler::Schedule", State="DISABLED"),
        "the schedule, ENABLED → DISABLED",
    ),
    "plain value where a secret was": (
        task([], [{"Name": "TOKEN", "ValueFrom": "arn:aws:secretsmanager:us-east-1:1:secret:one"}]),
        task([{"Name": "TOKEN", "Value": "plain"}], []),
        "container carmen: TOKEN is plain text in the template, and was a secret",
    ),
}
NEW: dict[str, tuple[Body, tuple[str, ...]]] = {
    "bucket without public-access block": (
        resource("S3::Bucket"),
        tuple(
            f"is new, and the block of public access ({one}) is switched off"
            for one in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
        ),
    ),
    "database": (
        resource("RDS::DBInstance", PubliclyAccessible=True, MasterUserPassword=PASSWORD),
        (
            "is new, and encryption is switched off",
            "is new, and becomes reachable from the internet",
            "is new, and its password is in the template (`MasterUserPassword`)",
        ),
    ),
    "function's public URL": (resource("Lambda::Url", AuthType="NONE"), ("is new, and can be called by anyone: authentication, NONE",)),
    "public balancer": (
        resource("ElasticLoadBalancingV2::LoadBalancer", Scheme="internet-facing"),
        ("is new, and scheme, internet-facing",),
    ),
}
HARMLESS: dict[str, tuple[Body, Body]] = {
    "lower threshold": (alarm(), alarm(Threshold=10)),
    "fewer periods": (alarm(), alarm(EvaluationPeriods=1)),
    "longer retention": (retention(30), retention(90)),
    "longer backups": (database(), database(BackupRetentionPeriod=21)),
    "firewall's allow becomes count": (firewall("Allow"), firewall("Count")),
    "function with a limit": (resource("Lambda::Function"), resource("Lambda::Function", ReservedConcurrentExecutions=2)),
    "enabled rule": (resource("Events::Rule", State="DISABLED"), resource("Events::Rule", State="ENABLED")),
    "replaced parameter group": (
        resource("RDS::DBParameterGroup", Family="postgres17", Description="old"),
        resource("RDS::DBParameterGroup", Family="postgres17", Description="new"),
    ),
}


@pytest.fixture
def words(tmp_path: Path) -> Callable[[Body, Body], list[str]]:
    def words(old: Body, new: Body) -> list[str]:
        base, head = (small_assembly(tmp_path / name, found) for name, found in (("base", old), ("head", new)))
        return [one.words for one in find_dangers(compare(base, head))]

    return words


@pytest.mark.parametrize("case", WEAKENED)
def test_weakened_protection_is_a_danger(case: str, words: Callable[[Body, Body], list[str]]) -> None:
    old, new, expected = WEAKENED[case]
    (found,) = words({"One": old}, {"One": new})
    assert expected in found


@pytest.mark.parametrize("case", NEW)
def test_new_resource_is_judged_as_a_changed_one(case: str, words: Callable[[Body, Body], list[str]]) -> None:
    new, expected = NEW[case]
    found = "\n".join(words({}, {"One": new}))
    for one in expected:
        assert one in found


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_change_is_no_danger(case: str, words: Callable[[Body, Body], list[str]]) -> None:
    old, new = HARMLESS[case]
    assert words({"One": old}, {"One": new}) == []


def test_new_safe_resources_are_no_danger(words: Callable[[Body, Body], list[str]]) -> None:
    blocked = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)
    bucket = resource("S3::Bucket", PublicAccessBlockConfiguration=blocked)
    assert words({}, {"Bucket": bucket, "Database": database(MasterUserPassword="{{resolve:secretsmanager:one}}")}) == []


def test_change_of_backup_retention_is_no_replacement(tmp_path: Path) -> None:
    """RDS User Guide, "Backup retention period": it can be modified; the schema calls it conditionally create-only."""
    base, head = (small_assembly(tmp_path / str(days), {"One": database(BackupRetentionPeriod=days)}) for days in (14, 7))
    (change,) = compare(base, head).changes
    assert change.impact is Impact.CHANGED
