"""Restores with the newest client programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.services.postgres import LocalRds
from tests.lambdas.conftest import INSTALLATIONS
from tests.lambdas.restore.intact import Restores
from tools.build.postgres_wheels import MAJORS, install


@pytest.fixture
def restores(server: LocalRds, s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restores]:
    monkeypatch.setenv("POSTGRESQL_HOME", str(install(max(MAJORS), INSTALLATIONS)))
    monkeypatch.setenv("RDS_CA_FILE", str(server.ca_file))
    found = Restores(server, s3, bucket, tmp_path)
    yield found
    found.drop()
