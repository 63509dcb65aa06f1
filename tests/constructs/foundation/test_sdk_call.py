from __future__ import annotations

import json

import pytest
from aws_cdk import aws_iam as iam

from constructs_lib.foundation.sdk_call import SdkCall
from tests.conftest import only
from tests.constructs.conftest import Synthesized, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    for name, once in (("Once", True), ("OnChange", False)):
        SdkCall(
            one,
            name,
            service="SSM",
            action="PutParameter",
            parameters={"Name": name},
            physical_id=name,
            once=once,
            permissions=[iam.PolicyStatement(actions=["ssm:PutParameter"], resources=[f"arn:aws:ssm:::{name}"])],
        )
    return template(one)


def test_call_runs_on_creation_and_unless_once_on_update(built: Synthesized) -> None:
    calls = {name[1:-8]: call["Properties"] for name, call in built.resources("Custom::AWS").items()}
    for name, call in calls.items():
        created = json.loads(call["Create"])
        assert (created["parameters"], created["physicalResourceId"]) == ({"Name": name}, {"id": name})
        assert created["outputPaths"] == ["$metadata.requestId"]
        assert (call["InstallLatestAwsSdk"], call["ServiceTimeout"]) == (False, "300")
        assert "Delete" not in call
    assert ["Update" in calls[name] for name in ("Once", "OnChange")] == [False, True]


def test_calls_of_a_stack_share_function_log_and_role(built: Synthesized) -> None:
    function = only(built.resources("AWS::Lambda::Function"))
    assert (function["Timeout"], function["MemorySize"]) == (120, 256)
    group = only(built.resources("AWS::Logs::LogGroup"))
    assert group["RetentionInDays"] == 30
    (log_group,) = built.resources("AWS::Logs::LogGroup")
    (role,) = built.resources("AWS::IAM::Role")
    assert function["LoggingConfig"]["LogGroup"] == {"Ref": log_group[1:]}
    assert function["Role"] == {"Fn::GetAtt": [role[1:], "Arn"]}


def test_role_has_only_the_given_permissions(built: Synthesized) -> None:
    policies = built.resources("AWS::IAM::Policy")
    given = {
        statement["Resource"]
        for name, policy in policies.items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "CustomResourcePolicy" in name
    }
    assert given == {"arn:aws:ssm:::Once", "arn:aws:ssm:::OnChange"}
    assert len(policies) == 3  # and the log group's
