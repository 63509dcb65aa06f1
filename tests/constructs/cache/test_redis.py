from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import only
from tests.constructs.conftest import Synthesized, stack, template
from tests.constructs.neighbours import REASON, ExistingNetwork, cache
from tools.reports.diff.unsupported_updates import refusal

GROUP = "AWS::ElastiCache::ReplicationGroup"


def build(**changes: Any) -> Synthesized:
    one = stack()
    cache(one, ExistingNetwork(one), **changes)
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


def test_cache_is_encrypted_authenticated_and_fails_over(built: Synthesized) -> None:
    (resource,) = built.resources("AWS::ElastiCache::ReplicationGroup").values()
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    group = resource["Properties"]
    expected = {
        "Engine": "valkey",
        "EngineVersion": "8.1",
        "AutoMinorVersionUpgrade": False,
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "AutomaticFailoverEnabled": True,
        "MultiAZEnabled": True,
        "NumCacheClusters": 2,
    }
    assert {name: group.get(name) for name in expected} == expected
    assert str(group["KmsKeyId"]).startswith("arn:aws:kms:")
    assert "NumNodeGroups" not in group  # cluster mode is disabled: clients need only one URL


def test_auth_token_is_a_reference_to_its_secret(built: Synthesized) -> None:
    group = only(built.resources("AWS::ElastiCache::ReplicationGroup"))
    assert str(group["AuthToken"]).count("{{resolve:secretsmanager:") == 1
    generated = only(built.resources("AWS::SecretsManager::Secret"))["GenerateSecretString"]
    assert (generated["PasswordLength"], generated["GenerateStringKey"]) == (64, "value")


def test_cache_is_in_isolated_subnets_behind_a_closed_group(built: Synthesized) -> None:
    subnets = only(built.resources("AWS::ElastiCache::SubnetGroup"))["SubnetIds"]
    assert subnets == ["subnet-isolated0", "subnet-isolated1", "subnet-isolated2"]
    group = only(built.resources("AWS::EC2::SecurityGroup"))
    assert "SecurityGroupIngress" not in group
    assert [rule["CidrIp"] for rule in group["SecurityGroupEgress"]] == ["127.0.0.1/32"]


def test_parameter_group_sets_the_eviction_policy(built: Synthesized) -> None:
    assert only(built.resources("AWS::ElastiCache::ParameterGroup"))["Properties"] == {"maxmemory-policy": "allkeys-lru"}


def test_cache_without_replicas_has_no_failover() -> None:
    (alone,) = build(replicas=0, replicas_opt_out_reason=REASON).resources("AWS::ElastiCache::ReplicationGroup").values()
    properties = alone["Properties"]
    assert (properties["AutomaticFailoverEnabled"], properties["MultiAZEnabled"], properties["NumCacheClusters"]) == (False, False, 1)
    assert alone["Metadata"]["ReplicasOptOut"] == REASON


def test_first_replica_and_failover_take_two_deployments() -> None:
    """aws-cloudformation/cloudformation-coverage-roadmap#383: `cache.replicas` declares these steps."""
    alone, waiting, failing_over = (
        only(build(**changes).resources(GROUP))
        for changes in (
            {"replicas": 0, "replicas_opt_out_reason": REASON},
            {"failover": False, "failover_opt_out_reason": REASON},
            {},
        )
    )
    assert (waiting["AutomaticFailoverEnabled"], waiting["MultiAZEnabled"], waiting["NumCacheClusters"]) == (False, False, 2)
    for old, new in ((alone, failing_over), (failing_over, alone)):
        assert refusal(GROUP, old, new)
    for old, new in ((alone, waiting), (waiting, failing_over), (failing_over, waiting), (waiting, alone)):
        assert refusal(GROUP, old, new) is None


def test_redis_engine_has_its_version_and_family() -> None:
    redis = build(engine="redis")
    group = only(redis.resources("AWS::ElastiCache::ReplicationGroup"))
    assert (group["Engine"], group["EngineVersion"]) == ("redis", "7.1")
    assert only(redis.resources("AWS::ElastiCache::ParameterGroup"))["CacheParameterGroupFamily"] == "redis7"
