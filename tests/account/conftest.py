"""No waiting, no credentials, no archive of 40 MB."""

from __future__ import annotations

import pytest

from tests.lambdas.conftest import aws, embedded_aws
from tools.account import proof_stack, proofs

__all__ = ["aws", "embedded_aws"]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_slow_parts(monkeypatch)


def skip_slow_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of the template and of the archive call the originals."""
    monkeypatch.setattr(proof_stack, "POLL_SECONDS", 0)
    monkeypatch.setattr(proof_stack, "function_archive", lambda major: b"zip")
    monkeypatch.setattr(proof_stack, "template", lambda settings: {})
    monkeypatch.setattr(proofs, "MODIFYING_SECONDS", 0)
    monkeypatch.setattr(proofs, "BUDGET_SECONDS", 0)
