"""The permissions boundary in a small stack: name, size and denials. tests/models/iam/test_boundary.py tries escalations against it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.pipelines.permissions_boundary import NAME, SERVICES, PermissionsBoundary
from tests.conftest import only
from tests.constructs.conftest import Synthesized, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    small = stack()
    PermissionsBoundary(small, "Boundary")
    return template(small)


def _statements(built: Synthesized) -> dict[str, dict[str, Any]]:
    policy = only(built.resources("AWS::IAM::ManagedPolicy"))["PolicyDocument"]
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_policy_has_the_name_that_bootstrap_gets(built: Synthesized) -> None:
    assert only(built.resources("AWS::IAM::ManagedPolicy"))["ManagedPolicyName"] == NAME == "CarmenBoundary"


def test_three_statements_allow_and_all_others_deny(built: Synthesized) -> None:
    effects = {sid: statement["Effect"] for sid, statement in _statements(built).items()}
    assert [sid for sid, effect in effects.items() if effect == "Allow"] == [
        "AllowServicesOfCarmen",
        "AllowManagingRolesOfCarmen",
        "AllowCreatingServiceLinkedRoles",
    ]
    assert len(effects) == 14
    services = {action.partition(":")[0] for action in _statements(built)["AllowServicesOfCarmen"]["Action"] if action.endswith(":*")}
    assert services == set(SERVICES)


def test_roles_need_the_boundary(built: Synthesized) -> None:
    statement = _statements(built)["DenyRolesWithoutBoundary"]
    assert "iam:CreateRole" in statement["Action"]
    (boundary,) = statement["Condition"]["StringNotEquals"].values()
    assert f":policy/{NAME}" in json.dumps(boundary)
    assert _statements(built)["DenyRemovingBoundary"]["Action"] == "iam:DeleteRolePermissionsBoundary"


def test_only_carmens_functions_and_buckets_are_changed(built: Synthesized) -> None:
    statements = _statements(built)
    assert ":function:Carmen*" in json.dumps(statements["DenyFunctionsOfOthers"]["NotResource"])
    assert ":s3:::carmen*" in json.dumps(statements["DenyBucketsOfOthers"]["NotResource"])
