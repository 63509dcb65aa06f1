"""The checker of import rules itself, on small trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.imports import cycle_errors, dependency_errors, import_graph, python_files


def _tree(folder: Path, **files: str) -> Path:
    """Write `a__b="import c"` to a/b.py."""
    for name, code in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return folder


def test_allowed_imports_pass(tmp_path: Path) -> None:
    graph = import_graph(_tree(tmp_path, app="import stacks.one", stacks__one="from settings import model", settings__model="import json"))
    assert dependency_errors(graph, {"app.py": {"stacks"}, "stacks": {"settings"}, "settings": set()}) == []
    assert cycle_errors(graph) == []


@pytest.mark.parametrize(
    "code",
    [
        "import tools.cli",
        "from tools import cli",
        "from tools.cli import main",
        "def f():\n    import tools.cli",
        "from ..tools import cli",
    ],
)
def test_every_form_of_a_forbidden_import_is_reported(tmp_path: Path, code: str) -> None:
    graph = import_graph(_tree(tmp_path, settings__deep="" if code.startswith("from ..") else code, settings__model=code, tools__cli=""))
    errors = dependency_errors(graph, {"settings": set(), "tools": set()})
    assert "settings/model.py imports tools/cli.py: settings must not import tools" in errors


def test_sub_folder_with_a_rule_is_separate(tmp_path: Path) -> None:
    tree = _tree(tmp_path, tools__a="import tools.bench.b", tools__bench__b="import local.c", local__c="import tools.d", tools__d="")
    table: dict[str, set[str]] = {"tools": set(), "tools/bench": {"tools", "local"}, "local": {"tools"}}
    graph = import_graph(tree)
    assert dependency_errors(graph, table) == ["tools/a.py imports tools/bench/b.py: tools must not import tools/bench"]
    assert len(cycle_errors(graph)) == 1
    (tree / "tools" / "a.py").write_text("", encoding="utf-8")
    assert dependency_errors(import_graph(tree), table) == cycle_errors(import_graph(tree), table) == []


def test_functions_import_each_other_from_their_own_root(tmp_path: Path) -> None:
    graph = import_graph(_tree(tmp_path, lambda_src__backup__run="from common import tls", lambda_src__common__tls="import backup.run"))
    assert len(cycle_errors(graph)) == 1


def test_cycle_between_files_is_reported(tmp_path: Path) -> None:
    graph = import_graph(_tree(tmp_path, settings__a="import settings.b", settings__b="def late():\n    import settings.a"))
    (error,) = cycle_errors(graph)
    assert {"settings/a.py imports settings/b.py", "settings/b.py imports settings/a.py"} == set(error.removeprefix("cycle: ").split(", "))


def test_cycle_between_folders_is_reported(tmp_path: Path) -> None:
    """No file imports itself here, but each folder imports the other."""
    tree = _tree(tmp_path, lib__one__a="import lib.two.b", lib__two__b="", lib__two__c="import lib.one.d", lib__one__d="")
    (error,) = cycle_errors(import_graph(tree))
    assert {"lib/one/a.py imports lib/two/b.py", "lib/two/c.py imports lib/one/d.py"} == set(error.removeprefix("cycle: ").split(", "))


def test_unknown_folder_is_reported(tmp_path: Path) -> None:
    graph = import_graph(_tree(tmp_path, settings__model="", console__page=""))
    assert dependency_errors(graph, {"settings": set()}) == ["console has no rule: add it to the table"]


def test_folder_without_python_files_is_reported(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    graph = import_graph(_tree(tmp_path, settings__model=""))
    table: dict[str, set[str]] = {"settings": set(), "stacks": set()}
    assert dependency_errors(graph, table) == ["stacks has no Python files: delete it from the table"]


def test_installed_files_are_skipped(tmp_path: Path) -> None:
    _tree(tmp_path, settings__model="", node_modules__x="")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "y.py").touch()
    assert [str(file) for file in python_files(tmp_path)] == ["settings/model.py"]
