from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import aws_logs as logs

from constructs_lib.foundation.function_role import CREATE_INTERFACES, DESCRIBE_NETWORK, MODIFY_INTERFACES, function_role
from tests.constructs.conftest import stack, template
from tests.constructs.neighbours import statements


@pytest.fixture(scope="module")
def by_sid() -> dict[str, dict[str, Any]]:
    one = stack()
    for name, in_vpc in (("Outside", False), ("Inside", True)):
        function_role(one, name, log_group=logs.LogGroup(one, f"{name}Log"), description="For a test", in_vpc=in_vpc)
    built = template(one)
    (write,) = statements(built, "Outside")
    return {"": write, **{statement.get("Sid", "Log"): statement for statement in statements(built, "Inside")}}


def test_role_writes_only_its_log_group(by_sid: dict[str, dict[str, Any]]) -> None:
    assert by_sid[""]["Action"] == by_sid["Log"]["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert str(by_sid[""]["Resource"]).count("OutsideLog") == 1


def test_role_in_vpc_manages_network_interfaces(by_sid: dict[str, dict[str, Any]]) -> None:
    assert by_sid.keys() == {
        "",
        "Log",
        "DescribeNetworkInterfacesAndSubnets",
        "CreateNetworkInterfaces",
        "ManageNetworkInterfaces",
        "DenyNetworkInterfacesToFunctionCode",
    }
    assert by_sid["DescribeNetworkInterfacesAndSubnets"]["Resource"] == "*"
    assert len(by_sid["CreateNetworkInterfaces"]["Resource"]) == 3
    assert "network-interface/*" in str(by_sid["ManageNetworkInterfaces"]["Resource"])


def test_own_code_is_denied_network_interfaces(by_sid: dict[str, dict[str, Any]]) -> None:
    denied = by_sid["DenyNetworkInterfacesToFunctionCode"]
    assert (denied["Effect"], denied["Resource"]) == ("Deny", "*")
    assert set(denied["Action"]) == {*DESCRIBE_NETWORK, *CREATE_INTERFACES, *MODIFY_INTERFACES}
    assert "lambda:SourceFunctionArn" in denied["Condition"]["ArnLike"]
