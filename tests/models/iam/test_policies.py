"""tools/reports/security/policies.py reads every kind of permission in a template, or raises an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.reports.security.policies import ACCOUNT, ResolvedAssembly

TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
DOCUMENT = {"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}


def assembly(folder: Path, **resources: tuple[str, dict[str, Any]]) -> ResolvedAssembly:
    """An assembly of one stack."""
    template = {"Resources": {name: {"Type": kind, "Properties": properties} for name, (kind, properties) in resources.items()}}
    (folder / "One.template.json").write_text(json.dumps(template))
    artifact = {
        "type": "aws:cloudformation:stack",
        "environment": f"aws://{ACCOUNT}/eu-west-1",
        "properties": {"templateFile": "One.template.json"},
    }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"One": artifact}}))
    return ResolvedAssembly(folder)


def role(**more: Any) -> tuple[str, dict[str, Any]]:
    return "AWS::IAM::Role", {"AssumeRolePolicyDocument": TRUST, **more}


def test_all_kinds_of_role_policies_are_read(tmp_path: Path) -> None:
    (found,) = assembly(
        tmp_path,
        Role=role(Policies=[{"PolicyName": "inline", "PolicyDocument": DOCUMENT}], ManagedPolicyArns=[{"Ref": "Managed"}]),
        Attached=("AWS::IAM::Policy", {"Roles": [{"Ref": "Role"}], "PolicyDocument": DOCUMENT}),
        Managed=("AWS::IAM::ManagedPolicy", {"PolicyDocument": DOCUMENT}),
    ).roles()
    assert found.policies == {"One/Role/inline": DOCUMENT, "One/Attached": DOCUMENT, "One/Managed": DOCUMENT}
    assert found.arn == f"arn:aws:iam::{ACCOUNT}:role/One-Role"


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        ({"Role": role(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"])}, "AdministratorAccess: AWS-managed policies"),
        ({"Role": role(ManagedPolicyArns=[f"arn:aws:iam::{ACCOUNT}:policy/elsewhere"])}, "policy/elsewhere"),
        ({"More": ("AWS::IAM::RolePolicy", {"RoleName": "r", "PolicyDocument": DOCUMENT})}, "is AWS::IAM::RolePolicy"),
        ({"More": ("AWS::IAM::User", {})}, "is AWS::IAM::User"),
        ({"More": ("AWS::IAM::Policy", {"Users": ["user"], "PolicyDocument": DOCUMENT})}, "Users"),
    ],
)
def test_unreadable_permission_is_an_error(tmp_path: Path, resources: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        assembly(tmp_path, **resources).roles()


def test_function_permissions_are_its_policy(tmp_path: Path) -> None:
    permission = {"FunctionName": {"Fn::GetAtt": ["Function", "Arn"]}, "Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com"}
    (policy,) = (
        assembly(
            tmp_path,
            Function=("AWS::Lambda::Function", {}),
            Topic=("AWS::SNS::Topic", {}),
            Bounded=("AWS::Lambda::Permission", {**permission, "SourceArn": {"Ref": "Topic"}, "SourceAccount": {"Ref": "AWS::AccountId"}}),
            Open=("AWS::Lambda::Permission", permission),
        )
        .resource_policies()
        .values()
    )
    bounded, unbounded = policy["Statement"]
    assert bounded["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:One-Topic"},
    }
    assert unbounded["Condition"] == {}
    assert bounded["Principal"] == {"Service": "sns.amazonaws.com"}
    with pytest.raises(ValueError, match="EventSourceToken"):
        assembly(
            tmp_path, Open=("AWS::Lambda::Permission", {**permission, "FunctionName": "f", "EventSourceToken": "t"})
        ).resource_policies()
