"""Accepted findings (cdk-nag, parliament, Cloudsplaining) and disabled protections, each with its reason in the template."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
from constructs import IConstruct

from settings.sections import Section


def acknowledge(construct: IConstruct, findings: dict[str, str]) -> None:
    """Record accepted `findings` (id → reason) on `construct`: `AwsSolutions-S1` for cdk-nag, `Parliament::…` for others.

    cdk-nag then reports the finding with its reason. An entry that matches no finding fails `make judge`; docs/security.md lists all.
    """
    cdk.Validations.of(construct).acknowledge(*(cdk.Acknowledgment(id=_qualify(name), reason=reason) for name, reason in findings.items()))


def _qualify(name: str) -> str:
    return name if name.startswith(("Parliament::", "Cloudsplaining::", "NIST.800.53.R5::")) else f"AwsSolutions::{name}"


def resource_in_finding(scope: IConstruct, value: str) -> str:
    """Format `value` as in cdk-nag's finding ids: references become `<LogicalId>` or `<LogicalId.Attribute>`."""
    return _flatten(cdk.Stack.of(scope).resolve(value))


def export_name(owner: IConstruct, value: str) -> str:
    """Name of the export of `value`, an attribute of `owner`: cdk-nag's finding ids use it in other stacks."""
    exporter = cdk.Stack.of(owner)
    return str(exporter.resolve(exporter.export_value(value))["Fn::ImportValue"])


def _flatten(value: Any) -> str:
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flatten(part) for part in parts)
        case {"Fn::GetStackOutput": _}:
            return json.dumps(value, separators=(",", ":"))
    return str(value)


def record_opt_outs(construct: IConstruct, settings: Section, *keys: str) -> None:
    """Write the reasons for disabled protections to the resource's metadata: of `keys`, or of the whole settings table."""
    resource = construct if isinstance(construct, cdk.CfnResource) else construct.node.default_child
    assert isinstance(resource, cdk.CfnResource)
    for key, reason in settings.opt_outs(*keys).items():
        resource.add_metadata(opt_out_name(key), reason)


def opt_out_name(key: str) -> str:
    """Name of the metadata entry: `MultiAzOptOut` for `multi_az`."""
    return "".join(map(str.capitalize, key.split("_"))) + "OptOut"
