"""CloudFormation acts with the role of a request, and IAM sees what the request contains; ministack knows neither.

Sources: CloudFormation API Reference, UpdateStack (RoleARN, ResourceTypes); Service Authorization Reference, CloudFormation (condition
keys); IAM User Guide, "Grant a user permissions to pass a role to an AWS service"; CloudFormation's resource schemas (actions of handlers).
CreateStack and UpdateStack only: change sets, which the CDK uses, and deletions act as an administrator, and forget the stack's role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam
from ministack.services.cloudformation import handlers, stacks
from ministack.services.cloudformation.helpers import _error

from local.emulator.handlers.base import Created, Properties

Parameters = dict[str, Any]
KEYS = {"RoleARN": "cloudformation:RoleArn", "TemplateURL": "cloudformation:TemplateUrl"}
READS_AND_TAGS = ("Describe", "Get", "List", "Tag", "Untag", "Pass")
_role: ContextVar[str] = ContextVar("role", default="")  # of the operation; its task and threads inherit the context
_roles: dict[tuple[str, str, str], str] = {}  # account, region and stack → the role of its last operation


def register() -> None:
    """Wrap IAM's check, the operations and the provisioning of resources. Call it after the others."""
    iam_actions.request_tag_context = with_request(iam_actions.request_tag_context)
    iam_evaluator.enforce = with_passed_role(iam_evaluator.enforce)
    for action in ("CreateStack", "UpdateStack"):
        handlers._ACTION_HANDLERS[action] = partial(_operate, handlers._ACTION_HANDLERS[action])
    for action in ("DeleteStack", "ExecuteChangeSet"):
        handlers._ACTION_HANDLERS[action] = partial(_forget, handlers._ACTION_HANDLERS[action])
    stacks._provision_resource = partial(_provision, stacks._provision_resource)
    stacks._update_resource = partial(_update, stacks._update_resource)
    stacks._delete_resource = partial(_delete, stacks._delete_resource)


def with_request(native: Callable[..., Parameters]) -> Callable[..., Parameters]:
    """Set CloudFormation's condition keys. A request without a value has no key."""

    def context(service: str, action: str, body: bytes, parameters: Parameters) -> Parameters:
        keys = native(service, action, body, parameters)
        if service == "cloudformation":
            keys |= {key: value for name, key in KEYS.items() if (value := _parameter(parameters, name))}
        return keys

    return context


def with_passed_role(native: Callable[..., Any]) -> Callable[..., Any]:
    """Who passes a role needs iam:PassRole on it."""

    def enforce(
        key: str, action: str, service: str, region: str, resource_arn: str = "*", service_context: Parameters | None = None
    ) -> Any:
        denied = native(key, action, service, region, resource_arn, service_context)
        passed = (service_context or {}).get("cloudformation:RoleArn")
        if denied is None and passed:
            return native(key, "iam:PassRole", "iam", region, passed, {"iam:PassedToService": "cloudformation.amazonaws.com"})
        return denied

    return enforce


def _operate(native: Any, parameters: Parameters) -> Any:
    """Run an operation with the role of the request, otherwise with the stack's."""
    if any(name.startswith("ResourceTypes") for name in parameters) and any(name.startswith("Capabilities") for name in parameters):
        return _error("ValidationError", "Only one of the Capabilities and ResourceType parameters can be specified.")
    stack = _stack(parameters)
    role = _parameter(parameters, "RoleARN") or _roles.get(stack, "")
    if role and iam._roles.get_scoped(get_account_id(), None, _name(role)) is None:
        return _error("ValidationError", f"Role {role} is invalid or cannot be assumed")
    _roles[stack] = role
    token = _role.set(role)
    try:
        return native(parameters)
    finally:
        _role.reset(token)


def _forget(native: Any, parameters: Parameters) -> Any:
    _roles.pop(_stack(parameters), None)
    return native(parameters)


def _provision(native: Any, kind: str, logical_id: str, properties: Properties, *rest: Any) -> Created:
    authorize(kind, "create", properties)
    created: Created = native(kind, logical_id, properties, *rest)
    return created


def _update(native: Any, kind: str, physical_id: str, old: Properties, new: Properties, *rest: Any) -> Created:
    if old != new:
        replaced = kind == "AWS::ECS::TaskDefinition"  # nothing of it changes in place but tags
        authorize(kind, "create" if replaced else "update", new, physical_id)
    updated: Created = native(kind, physical_id, old, new, *rest)
    return updated


def _delete(native: Any, kind: str, physical_id: str, properties: Properties, *rest: Any) -> None:
    authorize(kind, "delete", properties, physical_id)
    native(kind, physical_id, properties, *rest)


def authorize(kind: str, operation: str, properties: Properties, physical_id: str = "") -> None:
    """Raise ValueError unless the operation's role may take every changing action of the type's handler, and pass the resource's roles."""
    if not (role := _role.get()):
        return
    resource = physical_id if physical_id.startswith("arn:") else "*"
    asked: list[tuple[str, str, Parameters]] = [
        (action, properties.get("ServiceToken", resource), {}) for action in changes(kind, operation)
    ]
    if operation != "delete":
        to = {"iam:passedtoservice": "ecs-tasks.amazonaws.com" if kind.startswith("AWS::ECS::") else None}
        asked += [("iam:PassRole", arn, to) for arn in _role_arns(properties)]
    account = get_account_id()
    policies = iam_evaluator._gather_role_policies(_name(role), account)
    for action, arn, context in asked:
        request = iam_evaluator.EvalContext(
            principal_arn=role,
            principal_type="AssumedRole",
            principal_account=account,
            action=action,
            resource_arn=arn,
            region=get_region(),
            service_context=context,
        )
        if iam_evaluator.evaluate(request, policies).decision != "Allow":
            raise ValueError(f"User: {role} is not authorized to perform: {action} on resource: {arn}")


@cache
def changes(kind: str, operation: str) -> tuple[str, ...]:
    """The actions of a type's handler that change something."""
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

    if kind.startswith(("Custom::", "AWS::CloudFormation::CustomResource")):
        return ("lambda:InvokeFunction",)
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    actions = schema.get("handlers", {}).get(operation, {}).get("permissions", [])
    return tuple(action for action in actions if not action.partition(":")[2].startswith(READS_AND_TAGS))


def _role_arns(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _role_arns(inner)
    elif isinstance(value, str) and value.startswith("arn:") and ":role/" in value:
        yield value


def _stack(parameters: Parameters) -> tuple[str, str, str]:
    name = _parameter(parameters, "StackName")
    return get_account_id(), get_region(), name.split("/")[1] if name.startswith("arn:") else name


def _name(role: str) -> str:
    return role.rsplit("/", 1)[-1]


def _parameter(parameters: Parameters, name: str) -> str:
    return str(iam_actions._query_param(parameters, name))
