"""The permissions boundary in a small stack: name, statements and conditions. tests/models/iam/test_boundary.py tries escalations against it."""

from __future__ import annotations

import json
import re
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


def test_listed_actions_are_allowed_and_three_statements_deny(built: Synthesized) -> None:
    effects = {sid: statement["Effect"] for sid, statement in _statements(built).items()}
    assert [sid for sid, effect in effects.items() if effect == "Deny"] == [
        "DenyInstancesWithRole",
        "DenyOtherInstanceTypes",
        "DenyShellsInContainers",
    ]
    wide = {action for action in _statements(built)["AllowServicesOfCarmen"]["Action"] if action.endswith(":*")}
    assert wide == {f"{service}:*" for service in SERVICES}


def test_roles_are_on_the_path_and_need_the_boundary(built: Synthesized) -> None:
    statements = [one for one in _statements(built).values() if "iam:" in json.dumps(one["Action"])]
    assert len(statements) == 3
    for statement in statements:
        assert re.search(r":role/(carmen|aws-service-role)/\*", json.dumps(statement["Resource"]))
    bounded = _statements(built)["AllowBoundedRoles"]
    assert "iam:CreateRole" in bounded["Action"]
    (boundary,) = bounded["Condition"]["StringEquals"].values()
    assert f":policy/{NAME}" in json.dumps(boundary)


def test_event_sources_need_a_function_of_carmen(built: Synthesized) -> None:
    (function,) = _statements(built)["AllowEventSourcesOfOwnFunctions"]["Condition"]["ArnLike"].values()
    assert ":function:Carmen*" in json.dumps(function)
