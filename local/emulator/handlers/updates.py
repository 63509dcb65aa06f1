"""What CloudFormation refuses when stacks change, and ministack accepts.

Exports in use (User Guide, "Get exported outputs from a deployed stack"), resources that need what another one still has (create before
delete, tools/reports/diff/collisions.py), updates that a service does not support (unsupported_updates.py there), and immutable properties
of a type that the emulator cannot replace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from ministack.services import cloudformation
from ministack.services.cloudformation import handlers, stacks

from local.emulator.handlers.base import Created, Properties
from tools.reports.diff import unsupported_updates
from tools.reports.diff.collisions import IDEMPOTENT, KEYS

Json = dict[str, Any]


def register() -> None:
    """Wrap the functions that provision resources and resolve outputs."""
    stacks._provision_resource = partial(_provision, stacks._provision_resource)
    stacks._update_resource = partial(_update, stacks._update_resource)
    stacks._resolve_stack_outputs = partial(_resolve_outputs, stacks._resolve_stack_outputs)


def _provision(native: Any, resource_type: str, logical_id: str, properties: Properties, stack: str, *rest: Any) -> Created:
    key = unique_key(resource_type, properties)
    if key and (holder := next(_holders(resource_type, key, except_for=(stack, logical_id)), None)):
        raise ValueError(f"{resource_type} with {key} already exists: {holder}")
    created: Created = native(resource_type, logical_id, properties, stack, *rest)
    return created


def _update(
    native: Any, resource_type: str, physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str, *rest: Any
) -> Created:
    if reason := unsupported_updates.refusal(resource_type, old, new):
        raise ValueError(reason)
    changed = [path for path in create_only(resource_type) if _at(old, path) != _at(new, path)]
    if changed and (key := unique_key(resource_type, new)) and key == unique_key(resource_type, old):
        raise ValueError(f"{resource_type} with {key} already exists: the one that is to be replaced ({', '.join(changed)} changed)")
    updated: Created = native(resource_type, physical_id, old, new, stack, logical_id, *rest)
    if changed and updated[0] == physical_id and not stacks._DEFERRED_PREDECESSOR_DELETES.get():
        raise ValueError(
            f"{', '.join(changed)} of {resource_type} cannot be changed in place, and the embedded AWS replaces no such resource"
        )
    return updated


def _resolve_outputs(native: Any, *arguments: Any) -> tuple[list[Json], Json]:
    """Refuse to remove or change an export that another stack imports; forget removed ones."""
    outputs, exports = native(*arguments)
    stack_id = arguments[-1]
    for name, export in list(cloudformation._exports.items()):
        if export["StackId"] != stack_id:
            continue
        if name in exports and exports[name]["Value"] == export["Value"]:
            continue
        users = [other for other, stack in cloudformation._stacks.items() if _imports(stack, other, name)]
        if users:
            verb = "Cannot update export" if name in exports else "Cannot delete export"
            raise ValueError(f"{verb} {name} as it is in use by {', '.join(sorted(users))}.")
        if name not in exports:
            cloudformation._exports.pop(name, None)
    return outputs, exports


def _imports(stack: Json, name: str, export: str) -> bool:
    status = stack.get("StackStatus", "")
    return "DELETE" not in status and export in handlers._imported_export_names(stack, name)


def unique_key(resource_type: str, properties: Properties) -> str | None:
    """What only one resource of a type can have, as text; None if the properties do not set it."""
    paths = () if resource_type in IDEMPOTENT else KEYS.get(resource_type, ())
    values = {path: _at(properties, path.replace(".", "/")) for path in paths}
    if not paths or values[paths[0]] is None:
        return None
    return json.dumps({path: value for path, value in values.items() if value is not None}, sort_keys=True)


def _holders(resource_type: str, key: str, except_for: tuple[str, str]) -> Iterator[str]:
    """Resources of all stacks of this account and region that have the key."""
    for name, stack in cloudformation._stacks.items():
        for logical_id, resource in list(stack.get("_resources", {}).items()):
            if "DELETE" in stack.get("StackStatus", "") or (name, logical_id) == except_for or resource["ResourceType"] != resource_type:
                continue
            if unique_key(resource_type, resource.get("Properties", {})) == key:
                yield f"{logical_id} of {name}"


@cache
def create_only(resource_type: str) -> tuple[str, ...]:
    """The properties that cannot be changed in place, as paths, according to AWS's resource schemas in cfn-lint's data."""
    from cfnlint.exceptions import CfnLintExitException
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER, ResourceNotFoundError

    try:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource_type).schema
    except (ResourceNotFoundError, CfnLintExitException):  # a custom resource
        return ()
    return tuple(pointer.removeprefix("/properties/") for pointer in schema.get("createOnlyProperties", ()) if "*" not in pointer)


def _at(properties: Properties, path: str) -> Any:
    value: Any = properties
    for step in path.split("/"):
        value = value.get(step) if isinstance(value, dict) else None
    return value
