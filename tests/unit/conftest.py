"""Production with other settings, for tests of what a setting does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from settings.model import Settings
from tests.conftest import Built, build

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
