"""The synthesized app, built once a session for all tests of templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from settings.loader import environment_names, load
from settings.model import Settings
from tools.reports.synthesis import CONTEXT, ROOT, Built, build

__all__ = ["CONTEXT", "DOMAIN", "ROOT", "Built", "Variant", "build", "built", "by_id", "only", "preview", "variant"]

# xdist's workers run whole files (`--dist loadfile`) in this order: the longest begin first. `--dist loadgroup` loses its groups with
# pytest 9.2 (pytest-dev/pytest-xdist#1386).
LONGEST = (
    "tests/local/test_deployment.py",
    "tests/rules/test_validators.py",
    "tests/pipelines/test_execution.py",
    "tests/faults/test_local.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All real environments."""
    return build([load(name) for name in environment_names()], tmp_path_factory.mktemp("cdk.out"))


@pytest.fixture(scope="session")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A preview, as `./carmen preview up pr-123` deploys it."""
    return build([load("preview-pr-123")], tmp_path_factory.mktemp("cdk.out"), preview_ends="2026-12-01")


Variant = Callable[..., Built]
DOMAIN = {"name": "carmen.example.com", "hosted_zone_id": "Z0123456789ABCDEFGHIJ", "hosted_zone_name": "example.com"}


@pytest.fixture(scope="session")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """`variant(database={"multi_az": False})`: production with these settings; each one is built once."""
    known: dict[str, Built] = {}

    def make(**settings: Any) -> Built:
        key = repr(settings)
        if key not in known:
            known[key] = build([Settings.model_validate({"name": "prod", **settings})], tmp_path_factory.mktemp("variant"))
        return known[key]

    return make


def only(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The properties of the one resource found."""
    (resource,) = found.values()
    return dict(resource.get("Properties", {}))


def by_id(found: dict[str, dict[str, Any]], part: str) -> dict[str, Any]:
    """The one resource whose `Stack/LogicalId` holds `part`."""
    (resource,) = [resource for name, resource in found.items() if part in name]
    return resource
