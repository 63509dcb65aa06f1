"""Every construct module has a test file with the same name."""

from __future__ import annotations

from tests.conftest import ROOT


def test_every_module_has_a_test_file() -> None:
    modules = {path.relative_to(ROOT / "constructs_lib") for path in (ROOT / "constructs_lib").glob("*/*.py") if path.stem != "__init__"}
    assert len(modules) > 40
    assert [str(path) for path in modules if not (ROOT / "tests" / "constructs" / path.parent / f"test_{path.name}").is_file()] == []
