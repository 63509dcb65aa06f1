"""`make docs` writes all generated documents; --check names those that are not current."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.reports import docs


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in the place of the repository, with short documents."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "build", lambda environments, folder: None)
    monkeypatch.setattr(docs, "run_validators", lambda built, folder: [])
    monkeypatch.setattr(docs, "architecture_document", lambda built: "picture")
    monkeypatch.setattr(docs, "assumptions_document", lambda: "assumptions")
    monkeypatch.setattr(docs, "cost_document", lambda built: "cost")
    monkeypatch.setattr(docs, "security_document", lambda built, results: "security")
    return tmp_path


def test_documents_are_written_and_then_current(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main([]) == 0
    assert capsys.readouterr().out == "Wrote docs/architecture.svg\nWrote docs/assumptions.md\nWrote docs/cost.md\nWrote docs/security.md\n"
    assert (root / docs.COST).read_text(encoding="utf-8") == "cost"
    assert docs.main(["--check"]) == 0
    assert docs.main([]) == 0
    assert capsys.readouterr().out == ""


def test_check_names_outdated_documents_and_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs.main([])
    (root / docs.COST).write_text("old", encoding="utf-8")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/cost.md is not current: run `make docs` and commit the result.\n"
    assert (root / docs.COST).read_text(encoding="utf-8") == "old"
