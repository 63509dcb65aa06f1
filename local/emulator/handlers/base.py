"""Define and install CloudFormation handlers.

ministack keeps its CloudFormation handlers in a plain dict. `define` adds a handler, `refine` runs a
function after ministack's own handler. Handlers call the emulator through its HTTP endpoint with
boto3, like any client; that blocks, so their types must run on a worker thread.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.model import Shape
from ministack.core.responses import get_account_id, get_region
from ministack.services.cloudformation import provisioners, stacks

Properties = dict[str, Any]
Attributes = dict[str, Any]
Created = tuple[str, Attributes]
Create = Callable[[str, Properties, str], Created]  # logical id, properties, stack
Update = Callable[[str, Properties, Properties], Attributes]  # physical id, old properties, new properties
Delete = Callable[[str, Properties], None]  # physical id, properties

_lock = threading.Lock()
_handled: set[str] = set()


def client(service: str) -> Any:
    """A boto3 client for the account and region of the current stack."""
    return _client(service, get_region(), get_account_id())


@functools.cache
def _client(service: str, region: str, account: str) -> Any:
    with _lock:  # creating clients is not thread-safe, using them is
        return boto3.session.Session().client(
            service,
            region_name=region,
            endpoint_url=f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
            aws_access_key_id=account,  # ministack reads a 12-digit key as the account
            aws_secret_access_key="local",
        )


def call(service: str, method: str, properties: Properties, /, **more: Any) -> dict[str, Any]:
    """Call an operation with the properties of the template that it accepts."""
    api = client(service)
    operation = api.meta.service_model.operation_model(api.meta.method_to_api_mapping[method])
    result: dict[str, Any] = getattr(api, method)(**fit({**properties, **more}, operation.input_shape))
    return result


def fit(value: Any, shape: Shape) -> Any:
    """Convert a template's value to the API's form: spelling of names, types, known members only."""
    kind = shape.type_name
    if kind == "structure":
        members = {name.lower(): name for name in shape.members}
        return {
            members[key.lower()]: fit(item, shape.members[members[key.lower()]])
            for key, item in value.items()
            if key.lower() in members and item is not None
        }
    if kind == "list":
        return [fit(item, shape.member) for item in value]
    if kind == "map":
        return {str(key): fit(item, shape.value) for key, item in value.items()}
    if kind == "boolean":
        return str(value).lower() == "true"
    if kind in ("integer", "long"):
        return int(value)
    if kind in ("float", "double"):
        return float(value)
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else str(value)
    return value


def name_for(logical_id: str, stack: str, length: int, lowercase: bool = False) -> str:
    """A generated physical name, stable over updates."""
    return str(provisioners._physical_name(stack, logical_id, max_len=length, lowercase=lowercase))


def own(properties: Properties) -> Properties:
    """Remove the stack's tags (`aws:...`), which ministack adds and its APIs then refuse."""
    tags = properties.get("Tags")
    if not isinstance(tags, list):
        return properties
    return {**properties, "Tags": [tag for tag in tags if not str(tag["Key"]).lower().startswith("aws:")]}


def define(
    resource_type: str,
    create: Create,
    delete: Delete,
    update: Update | None = None,
) -> None:
    """Handle a type. Without `update`, a change replaces the resource: ministack deletes the old one afterwards."""

    def created(logical_id: str, properties: Properties, stack: str) -> Created:
        return create(logical_id, own(properties), stack)

    def updated(physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        if update is None:
            return create(logical_id, own(new), stack)
        return physical_id, update(physical_id, own(old), own(new))

    put_handler(resource_type, {"create": created, "update": updated, "update_with_logical_id": True, "delete": delete})


def refine(resource_type: str, apply: Callable[[str, Properties, Properties], Attributes | None]) -> None:
    """Run `apply(physical_id, properties, old properties)` after ministack's create and update.

    It applies what ministack drops, and may return attributes for Fn::GetAtt.
    """
    native = provisioners._RESOURCE_HANDLERS[resource_type]
    handler = dict(native)

    def created(logical_id: str, properties: Properties, stack: str) -> Created:
        physical_id, attributes = native["create"](logical_id, properties, stack)
        return physical_id, {**attributes, **(apply(physical_id, own(properties), {}) or {})}

    def updated(physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        arguments = [physical_id, old, new, stack]
        if native.get("update_with_logical_id"):
            arguments.append(logical_id)
        new_id, attributes = native["update"](*arguments)
        before = own(old) if new_id == physical_id else {}
        return new_id, {**attributes, **(apply(new_id, own(new), before) or {})}

    handler["create"] = created
    if "update" in native:
        handler |= {"update": updated, "update_with_logical_id": True}
    put_handler(resource_type, handler)


def guard(
    resource_type: str,
    before_delete: Callable[[str, Properties], None] = lambda physical_id, properties: None,
    before_update: Callable[[str, Properties, Properties], None] = lambda physical_id, old, new: None,
) -> None:
    """Run a function before a deletion or an update; an exception refuses it. Call after `refine`."""
    handler = provisioners._RESOURCE_HANDLERS[resource_type]
    delete, update = handler["delete"], handler["update"]

    def guarded_delete(physical_id: str, properties: Properties) -> None:
        before_delete(physical_id, properties)
        delete(physical_id, properties)

    def guarded_update(physical_id: str, old: Properties, new: Properties, *rest: str) -> Created:
        before_update(physical_id, own(old), own(new))
        updated: Created = update(physical_id, old, new, *rest)
        return updated

    put_handler(resource_type, {**handler, "delete": guarded_delete, "update": guarded_update})


def record(resource_type: str, check: Callable[[Properties, list[Properties]], None] | None = None) -> None:
    """Accept a type for which the emulator has no service, unless `check(properties, those of the existing ones)` raises."""
    existing: dict[str, Properties] = {}

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        name = name_for(logical_id, stack, 64)
        if check:
            check(properties, list(existing.values()))
        existing[name] = properties
        return name, {"Id": name, "Arn": f"arn:aws:recorded:::{name}"}

    def delete(physical_id: str, properties: Properties) -> None:
        existing.pop(physical_id, None)

    define(
        resource_type,
        create,
        delete,
        update=lambda physical_id, old, new: {"Id": physical_id, "Arn": f"arn:aws:recorded:::{physical_id}"},
    )


def put_handler(resource_type: str, handler: dict[str, Any]) -> None:
    """Install a handler in ministack's form."""
    provisioners._RESOURCE_HANDLERS[resource_type] = handler
    _handled.add(resource_type)


def install() -> None:
    """Run our types on ministack's worker threads: on its event loop, a call to itself never returns."""
    native = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda resource_type: resource_type in _handled or native(resource_type)
