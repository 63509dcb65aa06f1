"""The threat model is current: each row names a boundary and an existing test, and each attack test has a row."""

from __future__ import annotations

import re

from tests.conftest import ROOT

MODEL = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", MODEL)


def test_every_named_test_exists() -> None:
    assert len(NAMED) >= 30
    missing = [f"{path}::{name}" for path, name in NAMED if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert missing == []


def test_every_row_names_actor_limit_boundary_and_test() -> None:
    boundaries = set(re.findall(r"^(\d)\. \*\*", MODEL, re.MULTILINE))
    rows = [line for line in MODEL.splitlines() if line.startswith("|") and "::" in line]
    assert len(rows) == len(NAMED)
    for row in rows:
        actor, limit, boundary, test = (part.strip() for part in row.strip("|").split("|"))
        assert actor
        assert limit
        assert set(boundary.split(", ")) <= boundaries, row
        assert re.fullmatch(r"`tests/[\w/.]+::\w+`", test), row


def test_every_file_of_attacks_is_in_the_model() -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "attacks").glob("test_*.py")}
    assert files <= {path for path, _ in NAMED}
