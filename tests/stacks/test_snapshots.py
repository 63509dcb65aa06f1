"""Snapshots for reviewers: production's templates, the differences of staging and dev to them, and of a preview to dev.

Tags, construct paths and the CDK's bootstrap check are omitted, because other tests check them. Asset hashes are masked, so that
a change of a function's code changes no snapshot. `make snapshots` updates them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from settings.loader import load
from settings.model import Settings
from tests.conftest import Built

ASSET_HASH = re.compile(r'[0-9a-f]{64}|(?<="Specification": ")[0-9a-f]{32}(?=")')  # or of code in constructs_lib/database/roles.py
# The hashes in the CDK's ids: 8 hexadecimal digits, some with 32 more, and around the port in security group rules.
CDK_HASHES = {
    r"(?<=[A-Za-z])[0-9A-F]{8}[0-9a-f]{32}": "#",
    r"(?<=[A-Za-z])[0-9A-F]{8}(5432|6379|3006)(?:[0-9A-F]{8}|(?=to))": r"\1",
    r"(?<=[A-Za-z0-9])[0-9A-F]{16}(?![0-9A-Fa-f])": "##",
    r"(?<=[A-Za-z0-9])[0-9A-F]{8}(?![0-9A-Fa-f])": "#",
}
BOOTSTRAP = {"Parameters": "BootstrapVersion", "Rules": "CheckBootstrapVersion"}
LONGEST_SHOWN = 2000
STACKS = ["Network", "Alerts", "Storage", "Data", "EdgeGlobal", "Edge", "Service", "Operations", "EdgeAlarms", "", "Budget"]


@pytest.fixture
def snapshot_json(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(JSONSnapshotExtension)


@pytest.mark.parametrize("stack", STACKS, ids=[name or "Top" for name in STACKS])
def test_production(built: Built, snapshot_json: SnapshotAssertion, stack: str) -> None:
    assert _readable(built.templates[f"CarmenProd{stack}"]) == snapshot_json


@pytest.mark.parametrize("environment", ["staging", "dev"])
def test_differences_to_production(built: Built, snapshot_json: SnapshotAssertion, environment: str) -> None:
    settings = load(environment)
    differences: dict[str, Any] = {}
    for stack in STACKS:
        if f"{settings.stack_prefix}{stack}" not in built.templates:
            differences[stack] = "is not there"
            continue
        production = _without_hashes(_readable(built.templates[f"CarmenProd{stack}"]))
        other = _without_hashes(_as_production(_readable(built.templates[f"{settings.stack_prefix}{stack}"]), settings))
        differences |= _differences(production, other, stack or "Top")
    assert differences == snapshot_json


def test_differences_of_a_preview_to_development(built: Built, preview: Built, snapshot_json: SnapshotAssertion) -> None:
    differences: dict[str, Any] = {}
    pairs = (built, load("dev")), (preview, load("preview-pr-123"))
    stacks, same = (
        [stack for stack in STACKS if f"{settings.stack_prefix}{stack}" in synthesized.templates] for synthesized, settings in pairs
    )
    assert stacks == same
    for stack in stacks:
        dev, other = (
            _without_hashes(_as_production(_readable(synthesized.templates[f"{settings.stack_prefix}{stack}"]), settings))
            for synthesized, settings in pairs
        )
        differences |= _differences(dev, other, stack or "Top")
    assert differences == snapshot_json


def _readable(template: dict[str, Any]) -> dict[str, Any]:
    masked = json.loads(ASSET_HASH.sub("<asset>", json.dumps(template)))
    for section, name in BOOTSTRAP.items():
        masked.get(section, {}).pop(name, None)
        if not masked.get(section):
            masked.pop(section, None)
    for resource in masked["Resources"].values():
        resource.get("Properties", {}).pop("Tags", None)
        metadata = resource.get("Metadata", {})
        metadata.pop("aws:cdk:path", None)
        metadata.pop("aws:asset:path", None)
        if not metadata:
            resource.pop("Metadata", None)
    return dict(masked)


def _as_production(template: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Replace the environment's name by production's, so that only real differences remain."""
    text = json.dumps(template).replace(settings.stack_prefix, "CarmenProd").replace(f"/carmen/{settings.name}/", "/carmen/prod/")
    text = text.replace(f'"{settings.name}"', '"prod"').replace(f'\\"{settings.name}\\"', '\\"prod\\"')
    text = text.replace(f"Carmen {settings.name}:", "Carmen prod:").replace(f"carmen{settings.name}", "carmenprod")
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _without_hashes(template: dict[str, Any]) -> dict[str, Any]:
    """Remove the hashes from the CDK's ids, which depend on the environment's name."""
    bare: dict[str, Any] = _stripped({**template, "Resources": {}})
    for logical_id, resource in template["Resources"].items():
        name = _stripped(logical_id)
        if name in bare["Resources"]:  # ids that differ only in their hash
            name = f"{name} ({resource['Type']})"
        bare["Resources"][name] = _stripped(resource)
    assert len(bare["Resources"]) == len(template["Resources"])
    return bare


def _stripped(value: Any) -> Any:
    """Remove hashes from texts only: a large number looks like a hash."""
    if isinstance(value, dict):
        return {_stripped(key): _stripped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    if isinstance(value, str):
        for pattern, replacement in CDK_HASHES.items():
            value = re.sub(pattern, replacement, value)
    return value


def _differences(production: Any, other: Any, path: str) -> dict[str, Any]:
    """Map each path of a leaf to [production's value, the other's], or `absent`."""
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(production, dict) and isinstance(other, dict):
        pairs = [(key, production.get(key, "absent"), other.get(key, "absent")) for key in sorted({*production, *other})]
    elif isinstance(production, list) and isinstance(other, list) and len(production) == len(other):
        pairs = [(number, *both) for number, both in enumerate(zip(production, other, strict=True))]
    elif production != other:
        return {path: [_short(production), _short(other)]}
    return {key: value for name, one, another in pairs for key, value in _differences(one, another, f"{path}/{name}").items()}


def _short(value: Any) -> Any:
    """Shorten a whole resource to its type, and a list of references to its length."""
    if isinstance(value, dict) and "Type" in value:
        return value["Type"]
    if isinstance(value, list) and len(json.dumps(value)) > LONGEST_SHOWN:  # a dashboard's body
        return f"{len(value)} parts"
    if isinstance(value, list) and value and all(isinstance(item, dict) and len(item) == 1 for item in value):
        return f"{len(value)} × {next(iter(value[0]))}"
    return value
