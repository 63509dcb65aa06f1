"""Assemblies of the shared build; tests edit copies of their templates instead of synthesizing again."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Built
from tools.reports.assembly import Assembly
from tools.reports.cost.bill import Bill, bill


@pytest.fixture(scope="session")
def everywhere(built: Built) -> Assembly:
    """All environments."""
    return Assembly(built.assembly)


@pytest.fixture(scope="session")
def production(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """Production alone: an assembly that links to its templates."""
    folder = tmp_path_factory.mktemp("production")
    manifest = json.loads((built.assembly / "manifest.json").read_text(encoding="utf-8"))
    artifacts = {name: one for name, one in manifest["artifacts"].items() if name.startswith("CarmenProd")}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "artifacts": artifacts}), encoding="utf-8")
    for file in built.assembly.glob("CarmenProd*.json"):
        (folder / file.name).symlink_to(file)
    return Assembly(folder)


@pytest.fixture(scope="session")
def made(everywhere: Assembly) -> Bill:
    """The bill of all environments."""
    return bill(everywhere)
