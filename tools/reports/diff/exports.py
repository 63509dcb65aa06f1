"""Deployments that CloudFormation refuses half-way: what one stack exports and another one uses can neither change nor go.

CloudFormation User Guide, "Get exported outputs from a deployed stack": an export in use cannot be deleted or modified. The
stack that exports is deployed first, so it counts what is deployed now: the base.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from tools.reports.assembly import Assembly, Stack
from tools.reports.diff.collect import Comparison, Impact
from tools.reports.diff.findings import Finding

GONE = (Impact.REPLACED, Impact.MOVED, Impact.REMOVED, Impact.ORPHANED)


def find(comparison: Comparison) -> Iterator[Finding]:
    """One finding for each stack whose deployment fails."""
    users = _users(comparison.base)
    named = {(one.environment, one.old.path) for one in comparison.changes if one.impact in GONE and one.old}
    for stack in comparison.base.stacks.values():
        now = comparison.head.stacks.get(stack.name)
        if now is None:
            continue
        kept = set(_exports(now))
        stuck: dict[str, set[str]] = defaultdict(set)
        for export, value in _exports(stack).items():
            path = _resource(comparison.base, stack, str(comparison.base.with_paths(stack, value)))
            if users.get(export) and ((stack.environment, path) in named or export not in kept):
                stuck[path] |= users[export]
        if stuck:
            parts = sorted({user for several in stuck.values() for user in several})
            use = "uses" if len(parts) == 1 else "use"
            words = (
                f"The deployment of `{stack.part}` fails half-way: {_listed(parts)} {use} what is replaced "
                f"or no longer exported ({_listed(sorted(stuck))}), and CloudFormation neither changes nor deletes an export in use."
            )
            yield Finding(stack.environment, "Deployment", words)


def _exports(stack: Stack) -> dict[str, object]:
    return {
        output["Export"]["Name"]: output["Value"]
        for output in stack.template.get("Outputs", {}).values()
        if isinstance(output.get("Export", {}).get("Name"), str)
    }


def _users(assembly: Assembly) -> dict[str, set[str]]:
    """Export → the parts that import it."""
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


def _resource(assembly: Assembly, stack: Stack, told: str) -> str:
    """The resource whose Ref or attribute is exported."""
    paths = [
        one.path for one in assembly.resources.values() if one.stack is stack and (told == one.path or told.startswith(f"{one.path}."))
    ]
    return max(paths, key=len, default=told if len(told) < 60 else json.dumps(told)[:60])


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
