"""`./carmen preflight` and `./carmen postflight`: findings and the exit code."""

from __future__ import annotations

import pytest

from tests.cli.fakes import deployed
from tools.cli.commands import checklist
from tools.environment import Deployed, FailedError, NotDeployedError


def test_checklist_with_a_failed_check_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(environment: Deployed) -> checklist.Finding:
        raise NotDeployedError("CarmenProd is not deployed")

    def well(environment: Deployed) -> checklist.Finding:
        return checklist.Finding(True, "as it should be")

    monkeypatch.setattr(checklist, "CHECKS", {"preflight": (well, missing), "postflight": (well, missing)})
    checklist.run_checks(deployed(), "preflight")
    with pytest.raises(FailedError, match="1 of 2 checks failed"):
        checklist.run_checks(deployed(), "postflight")
    output = capsys.readouterr().out
    assert "✓ well: as it should be\n- missing: CarmenProd is not deployed" in output
    assert "✗ missing: CarmenProd is not deployed\n\nTo be checked by a person:\n  [ ] A person signed in" in output
