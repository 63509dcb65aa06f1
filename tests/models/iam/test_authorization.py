"""Every permission of our roles is one that AWS uses. The table is tools/reports/security/authorization.py."""

from __future__ import annotations

from typing import Any

import pytest

from local.emulator.handlers import identity
from tests.models.iam.conftest import Deployed
from tests.models.iam.grants import unusable
from tools.reports.security.authorization import (
    RULES,
    NotRecorded,
    checked_against,
    condition_keys,
    is_of_type,
    listed_types,
)
from tools.reports.security.policies import ACCOUNT, Role
from tools.reports.security.policy_evaluator import Account

CLUSTER = f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/one"


def test_every_permission_is_recorded_and_usable(deployed: Deployed) -> None:
    assert list(unusable(deployed.account)) == []


def granting(action: str, resource: str, **more: Any) -> Account:
    """An account of one role with this permission."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    arn = f"arn:aws:iam::{ACCOUNT}:role/one"
    return Account({arn: Role("Stack", "Role", arn, {}, {"policy": {"Statement": [statement]}}, None)}, {}, {})


@pytest.mark.parametrize(
    ("action", "resource", "why"),
    [
        ("ecs:ListTasks", f"arn:aws:ecs:us-east-1:{ACCOUNT}:container-instance/one/*", "AWS checks it against \\*"),
        ("ecs:RegisterTaskDefinition", f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/one:*", "AWS checks it against \\*"),
        ("ecs:DescribeTasks", CLUSTER, "AWS checks it against task"),
        ("ecs:DescribeTasks", "*", "AWS checks it against task"),
        ("s3:ListBucket", "arn:aws:s3:::bucket/*", "AWS checks it against bucket"),
        ("s3:GetObject", "arn:aws:s3:::bucket", "AWS checks it against object"),
        ("logs:PutRetentionPolicy", f"arn:aws:logs:us-east-1:{ACCOUNT}:metric:one", "AWS checks it against log-stream"),
        ("ecs:ListTask", "*", "is it misspelt"),
        (
            "rds:ModifyDBInstance",
            f"arn:aws:rds:us-east-1:{ACCOUNT}:db:one",
            "lists .*db.* add the action to RULES in tools/reports/security",
        ),
    ],
)
def test_unusable_permission_is_found(action: str, resource: str, why: str) -> None:
    (found,) = unusable(granting(action, resource))
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found)


def test_condition_on_a_key_that_requests_lack_is_found() -> None:
    in_cluster = {"ArnEquals": {"ecs:cluster": CLUSTER}}
    assert list(unusable(granting("ecs:ListTasks", "*", Condition=in_cluster))) == []
    (found,) = unusable(granting("ecs:DescribeTaskDefinition", "*", Condition=in_cluster))
    assert "condition on ecs:cluster" in found


def test_rules_name_types_of_the_reference() -> None:
    """An entry that the reference already decides, or that names another type, is a mistake of the table."""
    for action, rule in RULES.items():
        known = {*listed_types(action), "*"} | ({"log-stream"} if action.startswith("logs:") else set())
        assert set(rule.types) <= known, action
        assert rule.source, action
    assert checked_against("sqs:SendMessage") == ("queue",)
    assert is_of_type("logs:PutRetentionPolicy", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/a/b:log-stream:", ("log-stream",))
    with pytest.raises(NotRecorded):
        checked_against("sqs:SendMessages")


# The embedded AWS uses the same table


def in_emulator(action: str, body: bytes, native: str = CLUSTER) -> str:
    """What the embedded AWS checks an ECS request against; ministack itself answers `native`."""
    find = identity.with_ecs(lambda *_: native)
    return str(find("ecs", "POST", "/", {"x-amz-target": f"AmazonEC2ContainerServiceV20141113.{action}"}, body, {}, "us-east-1", ACCOUNT))


def test_embedded_aws_checks_ecs_requests_against_recorded_types() -> None:
    definition = f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/one:1"
    asked = {
        "ListTasks": b'{"cluster": "one"}',
        "RegisterTaskDefinition": b'{"family": "one"}',
        "DescribeTaskDefinition": f'{{"taskDefinition": "{definition}"}}'.encode(),
        "DeregisterTaskDefinition": f'{{"taskDefinition": "{definition}"}}'.encode(),
        "RunTask": f'{{"cluster": "one", "taskDefinition": "{definition}"}}'.encode(),
        "DescribeTasks": b'{"cluster": "one", "tasks": ["1"]}',
        "StopTask": b'{"cluster": "one", "task": "1"}',
        "DescribeServices": b'{"cluster": "one", "services": ["web"]}',
        "UpdateService": b'{"cluster": "one", "service": "web"}',
    }
    found = {f"ecs:{action}": in_emulator(action, body) for action, body in asked.items()}
    assert {action: resource for action, resource in found.items() if not is_of_type(action, resource, checked_against(action))} == {}


def test_embedded_aws_sets_the_cluster_where_aws_does() -> None:
    context = identity.with_cluster(lambda *_: {"aws:TagKeys": []})
    assert context("ecs", "ecs:ListTasks", b'{"cluster": "one"}', {})["ecs:cluster"].endswith(":cluster/one")
    assert context("ecs", "ecs:ListTasks", f'{{"cluster": "{CLUSTER}"}}'.encode(), {}) == {"aws:TagKeys": [], "ecs:cluster": CLUSTER}
    assert context("ecs", "ecs:DescribeTaskDefinition", b"{}", {}) == {"aws:TagKeys": []}
    not_here = {"ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"}  # the embedded AWS has no service deployments
    ours = {action for action in RULES if action.startswith("ecs:")} - not_here | {f"ecs:{one}" for one in identity.IN_CLUSTER}
    assert {action for action in ours if "ecs:cluster" in condition_keys(action)} == {f"ecs:{one}" for one in identity.IN_CLUSTER}
