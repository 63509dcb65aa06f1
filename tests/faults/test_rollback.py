"""A resource that fails in deployment: CloudFormation rolls back, its own reason is shown, and the corrected version deploys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.failures import failures
from tests.isolated_checkout import Copy

LAST = "        self.always_export(self.topic.topic_arn)\n"  # of the constructor's statements; the resources come after it
TWICE = """
        from aws_cdk import aws_ssm as ssm

        first = ssm.StringParameter(self, "First", parameter_name="/carmen/one", string_value="1")
        ssm.StringParameter(self, "Second", parameter_name="/carmen/one", string_value="2").node.add_dependency(first)
"""
REASON = "ParameterAlreadyExists"
GOES_ON = "Correct the cause; then run `make local-update` to continue from here, or `make local` to start again.\n"
NOW = datetime.now(UTC)


def _statuses(copy: Copy) -> dict[str, str]:
    stacks = copy.deployment.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"]: stack["StackStatus"] for stack in stacks}


def _parameters(copy: Copy) -> list[str]:
    return [parameter["Name"] for parameter in copy.deployment.client("ssm").describe_parameters()["Parameters"]]


@pytest.mark.long
def test_failed_resource_rolls_back_and_its_correction_deploys(copy: Copy) -> None:
    stack = copy.root / "stacks" / "alerts.py"
    right = stack.read_text()
    wrong = right.replace(LAST, LAST + TWICE)
    assert wrong != right

    stack.write_text(wrong)
    done = copy.run("make", "local")
    assert done.returncode == 2
    assert "CarmenProdAlerts/Second/Resource (AWS::SSM::Parameter, Second394350F9): CREATE_FAILED\n" in done.stderr
    assert REASON in done.stderr
    assert "CarmenProdAlerts: ROLLBACK_COMPLETE (rolled back; what it had created is deleted)\n" in done.stderr
    assert GOES_ON in done.stderr
    assert "Traceback" not in done.stderr
    assert _statuses(copy)["CarmenProdAlerts"] == "ROLLBACK_COMPLETE"
    assert "/carmen/one" not in _parameters(copy)

    stack.write_text(right)
    done = copy.run("make", "local-update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {status for name, status in _statuses(copy).items() if name.startswith("CarmenProd")} == {"CREATE_COMPLETE"}

    stack.write_text(wrong)
    done = copy.run("make", "local-update")
    assert done.returncode == 2
    assert REASON in done.stderr
    assert "CarmenProdAlerts: UPDATE_ROLLBACK_COMPLETE (rolled back to its earlier state)\n" in done.stderr
    assert GOES_ON in done.stderr
    assert "/carmen/one" not in _parameters(copy)
    assert REASON in copy.run("make", "local-update").stderr  # still wrong, so still tried

    stack.write_text(right)
    assert "nothing changed" in copy.run("make", "local-update").stdout
    stack.write_text(right.replace(LAST, LAST + TWICE).replace('/carmen/one", string_value="2"', '/carmen/two", string_value="2"'))
    done = copy.run("make", "local-update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"/carmen/one", "/carmen/two"} <= set(_parameters(copy))


@pytest.mark.long
def test_protected_database_that_cannot_roll_back_is_reported(copy: Copy) -> None:
    """As on AWS (README, step 4): the output has the error of DatabaseRoles, and that only a new start helps."""
    function = copy.root / "lambda_src" / "database_roles" / "handler.py"
    function.write_text(function.read_text() + '\n\ndef correct() -> dict[str, str]:\n    raise LookupError("no such role")\n')
    done = copy.run("make", "local")
    assert done.returncode == 2
    assert "CarmenProdData/DatabaseRoles/Apply/Default (Custom::DatabaseRoles, " in done.stderr
    assert "    LookupError: no such role\n" in done.stderr
    assert "CarmenProdData: ROLLBACK_FAILED (the rollback failed too; some resources are left)\n" in done.stderr
    assert "Correct the cause; then run `make local`.\n" in done.stderr


class _Recorded:
    """CloudFormation's answers, as far as failures are read from them; events newest first, as it gives them."""

    def __init__(self, *events: tuple[str, str, str, float]) -> None:
        self._events = [
            {
                "StackName": "CarmenProdData",
                "LogicalResourceId": name,
                "ResourceType": "AWS::CloudFormation::Stack" if name == "CarmenProdData" else "AWS::SNS::Topic",
                "ResourceStatus": status,
                **({"ResourceStatusReason": reason} if reason else {}),
                "Timestamp": NOW + timedelta(seconds=seconds),
            }
            for name, status, reason, seconds in reversed(events)
        ]

    def get_paginator(self, operation: str) -> Any:
        stacks = [{"StackName": "CarmenProdData", "StackStatus": "ROLLBACK_COMPLETE", "StackId": "arn"}]
        pages = [{"Stacks": stacks}] if operation == "describe_stacks" else [{"StackEvents": self._events}]
        return type("Paginator", (), {"paginate": lambda self, **arguments: pages})()


def test_only_the_first_failure_of_this_deployment_is_shown(tmp_path: Path) -> None:
    """AWS cancels what else is being created, and the stack repeats the reason; the emulator never has two at once."""
    recorded = _Recorded(
        ("Old", "CREATE_FAILED", "of yesterday", -86400),
        ("CarmenProdData", "CREATE_IN_PROGRESS", "User Initiated", 0),
        ("Cause", "CREATE_FAILED", "Value (x) is invalid", 1),
        ("Other", "CREATE_FAILED", "Resource creation cancelled", 2),
        ("Later", "CREATE_FAILED", "also wrong", 3),
        ("CarmenProdData", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Cause, Other, Later].", 4),
        ("CarmenProdData", "ROLLBACK_COMPLETE", "", 5),
    )
    (failure,) = failures(recorded, tmp_path, NOW)
    assert str(failure) == (
        "  Cause (AWS::SNS::Topic, Cause): CREATE_FAILED\n"
        "    Value (x) is invalid\n"
        "  CarmenProdData: ROLLBACK_COMPLETE (rolled back; what it had created is deleted)"
    )
    assert failures(recorded, tmp_path, NOW + timedelta(seconds=6)) == []
