"""Deployments that fail halfway, because an export changes or is removed while another stack imports it.

CloudFormation User Guide, "Get exported outputs from a deployed stack": an export in use cannot be deleted or modified. The
exporting stack is deployed first, so the imports of the base count.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache

from tools.reports.assembly import Assembly, Stack
from tools.reports.diff.collect import Comparison, Impact
from tools.reports.diff.findings import Finding

GONE = (Impact.REPLACED, Impact.REVISED, Impact.MOVED, Impact.REMOVED, Impact.ORPHANED)


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield a finding for each stack whose deployment fails."""
    users = _users(comparison.base)
    replaced = {(one.environment, one.old.path) for one in comparison.changes if one.impact in GONE and one.old}
    for stack in comparison.base.stacks.values():
        now = comparison.head.stacks.get(stack.name)
        if now is None:
            continue
        stuck: dict[str, set[str]] = defaultdict(set)
        for export, value in stack.exports.items():
            path = _resource(comparison.base, stack, str(comparison.base.with_paths(stack, value)))
            if users.get(export) and ((stack.environment, path) in replaced or export not in now.exports):
                stuck[path] |= users[export]
        if stuck:
            parts = sorted({user for several in stuck.values() for user in several})
            use = "uses" if len(parts) == 1 else "use"
            words = (
                f"The deployment of `{stack.part}` fails halfway: {_listed(parts)} {use} values that are replaced "
                f"or no longer exported ({_listed(sorted(stuck))}), and CloudFormation does not change or delete an export in use."
            )
            yield Finding(stack.environment, "Deployment", words)


@lru_cache(maxsize=2)  # many heads are compared with one base in tests
def _users(assembly: Assembly) -> dict[str, set[str]]:
    """Export name → the stacks that import it."""
    found: dict[str, set[str]] = defaultdict(set)
    for stack in assembly.stacks.values():
        for name in _imports(stack.template):
            found[name].add(stack.part)
    return found


def _imports(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(name := value.get("Fn::ImportValue"), str):
            yield name
        for one in value.values():
            yield from _imports(one)
    elif isinstance(value, list):
        for one in value:
            yield from _imports(one)


def _resource(assembly: Assembly, stack: Stack, path: str) -> str:
    """Path of the resource whose Ref or attribute is exported."""
    paths = [
        one.path for one in assembly.resources.values() if one.stack is stack and (path == one.path or path.startswith(f"{one.path}."))
    ]
    return max(paths, key=len, default=path if len(path) < 60 else json.dumps(path)[:60])


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
