"""The app as it is deployed, built once a session for every test that looks at templates."""

from __future__ import annotations

import pytest

from environments.loading import environment_names, load
from tools.synthesis import CONTEXT, ROOT, Built, build

__all__ = ["CONTEXT", "ROOT", "Built", "build", "built"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All real environments."""
    return build([load(name) for name in environment_names()], tmp_path_factory.mktemp("cdk.out"))
