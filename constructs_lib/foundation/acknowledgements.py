"""What is as it is on purpose, with the reason beside the resource: findings of judges, and protections that are off."""

from __future__ import annotations

import json
from typing import Any

import aws_cdk as cdk
from constructs import IConstruct

from settings.sections import Section


def acknowledge(construct: IConstruct, findings: dict[str, str]) -> None:
    """Records `findings` (name → reason) on `construct`: `AwsSolutions-S1` of cdk-nag, or another judge's, `Parliament::…`.

    Names of cdk-nag are qualified for it, which then logs the finding with its reason instead of hiding it. One that no
    longer excuses anything fails `make judge`; docs/security.md lists all.
    """
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=_qualified(name), reason=reason) for name, reason in findings.items())
    )


def _qualified(name: str) -> str:
    return name if name.startswith(("Parliament::", "Cloudsplaining::")) else f"AwsSolutions::{name}"


def resource_in_finding(scope: IConstruct, value: str) -> str:
    """`value` as cdk-nag writes it into a finding's id: references as `<LogicalId>` or `<LogicalId.Attribute>`."""
    return _flat(cdk.Stack.of(scope).resolve(value))


def export_name(owner: IConstruct, value: str) -> str:
    """What cdk-nag writes for `value`, an attribute of `owner`, in a finding of another stack: the export's name."""
    exporter = cdk.Stack.of(owner)
    return str(exporter.resolve(exporter.export_value(value))["Fn::ImportValue"])


def _flat(value: Any) -> str:
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
        case {"Fn::GetStackOutput": _}:
            return json.dumps(value, separators=(",", ":"))
    return str(value)


def record_opt_outs(construct: IConstruct, settings: Section, *keys: str) -> None:
    """Write why protections are off into the template, as metadata of the resource: of these keys, or of the whole table."""
    resource = construct if isinstance(construct, cdk.CfnResource) else construct.node.default_child
    assert isinstance(resource, cdk.CfnResource)
    for key, reason in settings.opt_outs(*keys).items():
        resource.add_metadata(opt_out_name(key), reason)


def opt_out_name(key: str) -> str:
    """The metadata in which a template has the reason: `MultiAzOptOut` for `multi_az`."""
    return "".join(map(str.capitalize, key.split("_"))) + "OptOut"
