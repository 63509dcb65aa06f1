"""Sessions of roles on the embedded AWS: functions and tasks that start at the same time all get theirs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from ministack.services import sts

from local.emulator.handlers.identity import one_at_a_time


def test_functions_that_start_together_get_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts, "_sessions", {f"before {number}": {} for number in range(50_000)})
    register = one_at_a_time(sts.register_session)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: register(f"key {number}", {}), range(200)))
    assert len(sts._sessions) == 50_200
