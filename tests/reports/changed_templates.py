"""Edited copies of an assembly's templates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tools.reports.assembly import Assembly
from tools.reports.diff import collect
from tools.reports.diff.collect import Comparison, compare

Json = dict[str, Any]
GONE = object()


class Edits:
    """Templates to edit by the report's paths."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.templates: dict[str, Json] = {name: json.loads(json.dumps(stack.template)) for name, stack in assembly.stacks.items()}
        self.metadata = {
            name: json.loads((assembly.folder / f"{name}.metadata.json").read_text(encoding="utf-8")) for name in assembly.stacks
        }
        self.manifest: Json = json.loads((assembly.folder / "manifest.json").read_text(encoding="utf-8"))

    def stack(self, part: str) -> str:
        return next(name for name, stack in self.assembly.stacks.items() if stack.part == part)

    def resource(self, path: str) -> Json:
        """The body of a resource."""
        one = next(one for one in self.assembly.resources.values() if one.path == path)
        body: Json = self.templates[one.stack.name]["Resources"][one.logical_id]
        return body

    def properties(self, path: str) -> Json:
        found: Json = self.resource(path)["Properties"]
        return found

    def logical_id(self, path: str) -> str:
        return next(one.logical_id for one in self.assembly.resources.values() if one.path == path)

    def set(self, path: str, properties: str, value: Any) -> None:
        """Set a property at a dotted path; a number is an index, GONE removes it."""
        place: Any = self.properties(path)
        *steps, last = (int(step) if step.isdigit() else step for step in properties.split("."))
        for step in steps:
            place = place[step]
        if value is GONE:
            del place[last]
        else:
            place[last] = value

    def remove(self, path: str) -> None:
        one = next(one for one in self.assembly.resources.values() if one.path == path)
        del self.templates[one.stack.name]["Resources"][one.logical_id]

    def add(self, part: str, logical_id: str, body: Json, construct: str = "") -> None:
        """Add a resource; `construct` is its path in the stack, by default its logical id."""
        name = self.stack(part)
        self.templates[name]["Resources"][logical_id] = body
        self.metadata[name][f"/{name}/{construct or f'{logical_id}/Resource'}"] = [{"type": "aws:cdk:logicalId", "data": logical_id}]

    def rename(self, path: str, logical_id: str, construct: str | None = None) -> None:
        """Change a resource's logical id with all references; `construct` is its new path in the stack."""
        one = next(one for one in self.assembly.resources.values() if one.path == path)
        name, old = one.stack.name, one.logical_id
        for stack in self.templates:
            text = json.dumps(self.templates[stack])
            text = text.replace(json.dumps(old), json.dumps(logical_id)) if stack == name else text
            self.templates[stack] = json.loads(text)
        for where, entries in list(self.metadata[name].items()):
            for entry in entries:
                if entry["type"] == "aws:cdk:logicalId" and entry["data"] == old:
                    entry["data"] = logical_id
                    if construct:
                        self.metadata[name][f"/{name}/{construct}"] = self.metadata[name].pop(where)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(self.manifest), encoding="utf-8")
        for name, template in self.templates.items():
            (folder / f"{name}.template.json").write_text(json.dumps(template), encoding="utf-8")
            (folder / f"{name}.metadata.json").write_text(json.dumps(self.metadata[name]), encoding="utf-8")
        return folder


Edit = Callable[[Edits], object]


def setting(path: str, properties: str, value: Any) -> Edit:
    """The edit that sets a property."""
    return lambda edits: edits.set(path, properties, value)


def together(*several: Edit) -> Edit:
    """One edit of several."""

    def edit(edits: Edits) -> None:
        for one in several:
            one(edits)

    return edit


def statements(path: str) -> Callable[[Edits], list[Json]]:
    """The statements of a policy or a trust policy."""

    def read(edits: Edits) -> list[Json]:
        properties = edits.properties(path)
        document = properties.get("PolicyDocument") or properties.get("AssumeRolePolicyDocument") or properties["KeyPolicy"]
        found: list[Json] = document["Statement"]
        return found

    return read


def by_name(entries: Iterable[Json], name: str) -> Json:
    """The list entry with this name."""
    return next(one for one in entries if one["Name"] == name)


def compare_all(base: Assembly, edits: Mapping[str, Edit], folder: Path) -> dict[str, Comparison]:
    """The changes of each edit. One call of the engine compares all: it takes most of a second to start."""
    assemblies = {}
    for number, (name, edit) in enumerate(edits.items()):
        edited = Edits(base)
        edit(edited)
        assemblies[name] = Assembly(edited.write(folder / str(number)))
    pairs = {
        f"{name} {stack}": [str(base.stacks[stack].file), str(assembly.stacks[stack].file)]
        for name, assembly in assemblies.items()
        for stack in base.stacks
        if base.stacks[stack].template != assembly.stacks[stack].template
    }
    answer = collect.engine({"stacks": pairs})
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, assembly in assemblies.items():
            of_this = {stack: impacts for stack in base.stacks if (impacts := answer["stacks"].get(f"{name} {stack}")) is not None}
            patch.setattr(collect, "engine", lambda _, stacks=of_this: {**answer, "stacks": stacks})
            found[name] = compare(base, assembly)
    return found
