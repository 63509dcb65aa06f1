"""A finding of cdk-nag that is right as it is: named exactly, with the reason, beside the resource it excuses."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from constructs import IConstruct


def acknowledge(construct: IConstruct, findings: dict[str, str]) -> None:
    """Records `findings` (rule id such as `AwsSolutions-S1` → reason) on `construct`.

    The id is qualified for cdk-nag 3, which then logs the finding with its reason instead of hiding it. One that no
    longer excuses anything fails tests/invariants/test_nag.py.
    """
    for rule, reason in findings.items():
        cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))


def named_in_finding(scope: IConstruct, value: str) -> str:
    """`value` as cdk-nag writes it into a finding's id: references as `<LogicalId>` or `<LogicalId.Attribute>`."""
    return _flat(cdk.Stack.of(scope).resolve(value))


def _flat(value: Any) -> str:
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
    return str(value)
