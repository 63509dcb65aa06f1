"""`./carmen tasks scale` states its limits; `make local` proves its effects."""

from __future__ import annotations

import pytest

from tests.cli.fakes import deployed
from tools.cli.commands import tasks


def test_scaling_above_the_settings_names_the_connections(capsys: pytest.CaptureFixture[str]) -> None:
    tasks.scale(deployed(register_scalable_target={}), 20)
    output = capsys.readouterr().out
    assert output.startswith("From 20 to 20 tasks. Undo: `./carmen tasks scale --env prod`.")
    assert "more than the database's connections are sized for (6 tasks" in output
