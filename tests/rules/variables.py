"""Which environment variables Python code reads: from `os.environ`, or from a mapping named `environment`."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from tests.rules.imports import import_graph

MAPPINGS = {"environ", "environment"}


class Readers:
    """The variables that each Python file below `root` reads, itself or through its imports."""

    def __init__(self, root: Path) -> None:
        self._imports = import_graph(root)
        self._patterns = {file: list(_variables(ast.parse((root / file).read_text(encoding="utf-8")))) for file in self._imports}

    def unread(self, files: Collection[str], names: Collection[str]) -> list[str]:
        """Those of `names` that none of `files`, and no file that they import, reads."""
        patterns = [re.compile(pattern) for file in self._with_imports(files) for pattern in self._patterns[file]]
        return sorted(name for name in names if not any(pattern.fullmatch(name) for pattern in patterns))

    def _with_imports(self, files: Collection[str]) -> set[PurePosixPath]:
        found: set[PurePosixPath] = set()
        waiting = [PurePosixPath(file) for file in files]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting += self._imports[file]
        return found


def _variables(code: ast.Module) -> Iterator[str]:
    """A pattern for each variable: `environ["A"]`, `environ.get("A")`, `function(environ, "A")`; `f"{prefix}A"` is `.+A`."""
    for node in ast.walk(code):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environment(node.value):
            yield from _pattern(node.slice)
        elif isinstance(node, ast.Call):
            is_get = isinstance(node.func, ast.Attribute) and node.func.attr == "get" and _is_environment(node.func.value)
            arguments = node.args if is_get else node.args[1:] if node.args and _is_environment(node.args[0]) else []
            for argument in arguments[:1]:
                yield from _pattern(argument)


def _is_environment(node: ast.expr) -> bool:
    return (node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else "") in MAPPINGS


def _pattern(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in node.values)
