"""Changes of settings that `./carmen deploy` refuses: fixed once deployed, or possible in a stated order only (settings/changes.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from settings.changes import OUTPUT, RECORDED_IN, refusals
from tools.reports.assembly import Assembly
from tools.reports.diff.collect import Comparison
from tools.reports.diff.findings import Finding


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield a finding for each setting that cannot simply change; none for environments without a record."""
    for environment in comparison.environments:
        before, after = (_record(assembly, environment) for assembly in (comparison.base, comparison.head))
        for refusal in refusals(before, after):
            yield Finding(environment, "Deployment", " ".join(str(refusal).split()))


def _record(assembly: Assembly, environment: str) -> dict[str, Any]:
    for stack in assembly.stacks.values():
        is_recorded = (stack.environment, stack.part) == (environment, RECORDED_IN[0])
        if is_recorded and (output := stack.template.get("Outputs", {}).get(OUTPUT)):
            found: dict[str, Any] = json.loads(output["Value"])
            return found
    return {}
