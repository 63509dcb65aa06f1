"""Check the imports of a tree: which folder imports which, and no cycles at any level."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path, PurePosixPath

IMPORT_ROOTS = ("", "lambda_src")  # pyproject.toml, `pythonpath`
SKIPPED = {"node_modules", "cdk.out"}  # and hidden folders

Graph = dict[PurePosixPath, set[PurePosixPath]]


def python_files(root: Path) -> list[PurePosixPath]:
    """All Python files below `root`, relative to it, without installed and generated ones."""
    found = (PurePosixPath(path.relative_to(root)) for path in root.rglob("*.py"))
    return sorted(path for path in found if not any(part in SKIPPED or part.startswith(".") for part in path.parts))


def import_graph(root: Path) -> Graph:
    """Map each Python file to the files of the tree that it imports, inside functions too."""
    files = python_files(root)
    modules = {name: file for file in files for name in _module_names(file)}
    return {
        file: {modules[name] for name in _imported_modules(ast.parse((root / file).read_text(encoding="utf-8")), file, modules)} - {file}
        for file in files
    }


def _module_names(file: PurePosixPath) -> Iterator[str]:
    for base in IMPORT_ROOTS:
        if file.is_relative_to(base):
            module = file.relative_to(base).with_suffix("")
            yield ".".join(module.parent.parts if module.name == "__init__" else module.parts)


def _imported_modules(code: ast.Module, file: PurePosixPath, modules: Mapping[str, PurePosixPath]) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = [*file.parts[: -node.level], node.module or ""] if node.level else [node.module or ""]
            module = ".".join(filter(None, base))
            for alias in node.names:
                yield from [name for name in (f"{module}.{alias.name}", module) if name in modules][:1]


def imported_packages(path: Path) -> set[str]:
    """The top-level names that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def dependency_errors(graph: Graph, allowed: Mapping[str, Set[str]]) -> list[str]:
    """Compare the imports with `allowed`: folder or file → the folders and files that it may import besides itself.

    The longest matching key applies to a file. Every file must have a key, and every key Python files.
    """
    rules = {file: _rule(file, allowed) for file in graph}
    unknown = {file.parts[0] for file, rule in rules.items() if rule is None}
    errors = [f"{entry} has no rule: add it to the table" for entry in sorted(unknown)]
    errors += [f"{key} has no Python files: delete it from the table" for key in allowed if key not in rules.values()]
    for file, targets in graph.items():
        if rule := rules[file]:
            wrong = sorted(target for target in targets if rules[target] not in {rule, *allowed[rule]})
            errors += [f"{file} imports {target}: {rule} must not import {rules[target]}" for target in wrong]
    return errors


def _rule(file: PurePosixPath, keys: Iterable[str]) -> str | None:
    return max((key for key in keys if file.is_relative_to(key)), key=len, default=None)


def cycle_errors(graph: Graph, separate: Iterable[str] = ()) -> list[str]:
    """Find import cycles between the entries of each folder: its files, and its sub-folders with everything in them.

    Folders in `separate` count as top-level entries.
    """
    parts = {file: (key, *file.relative_to(key).parts) if (key := _rule(file, separate)) else file.parts for file in graph}
    examples: dict[tuple[str, ...], dict[tuple[str, str], str]] = defaultdict(dict)
    for file, targets in graph.items():
        for target in sorted(targets):
            common = next(number for number, (one, other) in enumerate(zip(parts[file], parts[target], strict=False)) if one != other)
            edge = parts[file][common], parts[target][common]
            examples[parts[file][:common]].setdefault(edge, f"{file} imports {target}")
    errors = []
    for edges in examples.values():
        imports: dict[str, set[str]] = defaultdict(set)
        for importer, imported in edges:
            imports[importer].add(imported)
        try:
            TopologicalSorter(imports).prepare()
        except CycleError as error:
            errors.append("cycle: " + ", ".join(edges[edge] for edge in pairwise(reversed(error.args[1]))))
    return errors
