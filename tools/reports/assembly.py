"""A synthesized cloud assembly, read from its folder, with resource paths that are the same in every environment.

`CarmenProdData/Database/Instance/Resource` is `Data/Database/Instance` of `prod`. References in templates are replaced by these
paths too, so that the same change in two environments has the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.environment import FailedError

Body = dict[str, Any]
Constructs = dict[str, list[dict[str, Any]]]  # construct path → metadata entries
TOP = "Carmen"  # the part of an environment's top stack
LOGICAL_ID = "aws:cdk:logicalId"
STACK_NAME, LOGICAL_NAME, TYPE_NAME = r"[A-Za-z][A-Za-z0-9-]{0,127}", r"[A-Za-z0-9]{1,255}", r"[\w:-]{1,204}"  # CloudFormation's own rules
MAIN_RESOURCES = ("Resource", "Default")  # the CDK's ids for a construct's main resource


@dataclass(frozen=True)
class Stack:
    """A stack: `CarmenProdData` is the part `Data` of the environment `prod`."""

    name: str
    environment: str
    part: str
    place: str  # account and region
    protected: bool
    template: Body
    file: Path

    @property
    def exports(self) -> Body:
        """Export name → exported value."""
        outputs = self.template.get("Outputs", {}).values()
        return {one["Export"]["Name"]: one["Value"] for one in outputs if isinstance(one.get("Export", {}).get("Name"), str)}


@dataclass(frozen=True)
class Resource:
    """A resource of a stack, with its body in the template."""

    stack: Stack
    logical_id: str
    path: str
    body: Body

    @property
    def kind(self) -> str:
        return str(self.body["Type"])

    @property
    def properties(self) -> Body:
        properties: Body = self.body.get("Properties", {})
        return properties

    @property
    def environment(self) -> str:
        return self.stack.environment

    def at(self, path: str, default: Any = None) -> Any:
        """The value at a dotted path of the properties, or `default`."""
        value: Any = self.properties
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        return default if value is None else value


class Assembly:
    """All stacks in an assembly's folder. `tops` maps stacks to their top stack if the manifest has no dependencies."""

    def __init__(self, folder: Path, tops: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._tops = tops or {}
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"]
        found = {name: one for name, one in manifest.items() if one["type"] == "aws:cloudformation:stack"}
        if wrong := [name for name in found if not re.fullmatch(STACK_NAME, name)]:
            raise FailedError(f"{folder / 'manifest.json'}: {wrong[0]!r} is no stack name.")
        self.stacks: dict[str, Stack] = {name: self._stack(name, found) for name in sorted(found)}
        self.exports = {name: (stack, value) for stack in self.stacks.values() for name, value in stack.exports.items()}
        self._upstream = {name: _upstream(name, found) - {name} for name in found}

    def upstream(self, stack: str) -> set[str]:
        """The stacks that are deployed before a stack; empty if the manifest has no dependencies."""
        return self._upstream.get(stack, set())

    def _stack(self, name: str, found: Body) -> Stack:
        # An environment's top stack depends only on stacks whose names start with its own. What it depends on, and what depends on it,
        # belongs to that environment.
        tops = [
            top
            for top in sorted(found)
            if (needed := _upstream(top, found) - {top})
            and all(one.startswith(top) for one in needed)
            and (name == top or name in needed or top in _upstream(name, found))
        ]
        top = self._tops.get(name) or (tops[0] if tops else name)
        properties = found[name]["properties"]
        file = self.folder / properties["templateFile"]
        if file.parent != self.folder:
            raise FailedError(f"{self.folder / 'manifest.json'}: the template of {name} is outside the assembly.")
        template = json.loads(file.read_text(encoding="utf-8"))
        for logical_id, body in template.get("Resources", {}).items():
            if not (re.fullmatch(LOGICAL_NAME, logical_id) and re.fullmatch(TYPE_NAME, str(body.get("Type")))):
                raise FailedError(f"{file.name}: resource {logical_id!r} has an id or a type that CloudFormation refuses.")
        return Stack(
            name=name,
            environment=top.removeprefix("Carmen").lower() or top,
            part=TOP if name == top else name.removeprefix(top).removeprefix(TOP),
            place=found[name]["environment"].removeprefix("aws://"),
            protected=properties.get("terminationProtection", False),
            template=template,
            file=file,
        )

    @cached_property
    def environments(self) -> list[str]:
        """Names of the environments, production first."""
        return sorted({stack.environment for stack in self.stacks.values()}, key=importance)

    @cached_property
    def resources(self) -> dict[tuple[str, str], Resource]:
        """All resources, by stack and logical id."""
        return {
            (stack.name, logical_id): Resource(stack, logical_id, self._paths[stack.name, logical_id], body)
            for stack in self.stacks.values()
            for logical_id, body in stack.template.get("Resources", {}).items()
        }

    @cached_property
    def by_path(self) -> dict[tuple[str, str], Resource]:
        """All resources, by environment and path."""
        return {(one.environment, one.path): one for one in self.resources.values()}

    def of_kind(self, *kinds: str) -> Iterator[Resource]:
        """All resources of these types."""
        return (one for one in self.resources.values() if one.kind in kinds)

    @cached_property
    def _paths(self) -> dict[tuple[str, str], str]:
        paths = {}
        for stack in self.stacks.values():
            constructs = {logical_id: path for path, logical_id in logical_ids(read_metadata(self.folder, stack.name))}
            taken: set[str] = set()
            for logical_id in stack.template.get("Resources", {}):
                whole = _without_names(constructs.get(logical_id, logical_id).removeprefix(f"{stack.name}/"), stack)
                steps = whole.split("/")
                short = "/".join(steps[:-1] if steps[-1] in MAIN_RESOURCES and len(steps) > 1 else steps)
                paths[stack.name, logical_id] = f"{stack.part}/{whole if short in taken else short}"
                taken.add(short)
        return paths

    def with_paths(self, stack: Stack, value: Any) -> Any:
        """Replace every reference in `value` by the path of its target. Unknown references stay unchanged."""
        if isinstance(value, list):
            return [self.with_paths(stack, one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._intrinsic(stack, function, argument)
        return {key: self.with_paths(stack, one) for key, one in value.items()}

    def _intrinsic(self, stack: Stack, function: str, argument: Any) -> Any:
        match function:
            case "Ref" if (stack.name, argument) in self._paths:
                return self._paths[stack.name, argument]
            case "Ref":
                return f"${{{argument}}}"
            case "Fn::GetAtt":
                name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return f"{self._paths.get((stack.name, name), name)}.{attribute}"
            case "Fn::Join" if isinstance(argument[1], list):
                return str(argument[0]).join(_text(self.with_paths(stack, part)) for part in argument[1])
            case "Fn::ImportValue" if isinstance(argument, str) and argument in self.exports:
                return self.with_paths(*self.exports[argument])
            case "Fn::GetStackOutput" if argument.get("StackName") in self.stacks:
                other = self.stacks[argument["StackName"]]
                return self.with_paths(other, other.template.get("Outputs", {}).get(argument.get("OutputName"), {}).get("Value", argument))
            case "Fn::Sub" if isinstance(argument, str):
                names = r"\$\{([^}!]+)\}"
                return re.sub(names, lambda match: str(self._substituted(stack, match[1])), argument)
        return {function: self.with_paths(stack, argument)}

    def _substituted(self, stack: Stack, name: str) -> Any:
        return self._intrinsic(stack, "Fn::GetAtt", name) if "." in name else self._intrinsic(stack, "Ref", name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def importance(environment: str) -> tuple[int, str]:
    """Sort key for environments: production, staging, others."""
    return ({"prod": 0, "staging": 1}.get(environment, 2), environment)


def _upstream(top: str, found: Body) -> set[str]:
    reached: set[str] = set()
    todo = [top]
    while todo:
        name = todo.pop()
        if name in found and name not in reached:
            reached.add(name)
            todo += found[name].get("dependencies", [])
    return reached


def _without_names(path: str, stack: Stack) -> str:
    """Remove unique names of other constructs from a path, such as `from CarmenProdDataDatabaseProxySecurityGroup2AFC9A21:5432`."""
    top = stack.name.removesuffix(stack.part) if stack.part != TOP else stack.name
    return re.sub(rf"{re.escape(top)}(\w+?)[0-9A-F]{{8}}\b", r"\1", path)


def read_metadata(folder: Path, stack: str) -> Constructs:
    """The CDK's metadata of a stack's constructs by their path (`Stack/Construct/Resource`); empty if the stack has no such file."""
    file = folder / f"{stack}.metadata.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {path.removeprefix("/"): entries for path, entries in sorted(found.items())}


def logical_ids(constructs: Constructs) -> Iterator[tuple[str, str]]:
    """(construct path, logical id) of every resource in the metadata."""
    return ((path, entry["data"]) for path, entries in constructs.items() for entry in entries if entry["type"] == LOGICAL_ID)
