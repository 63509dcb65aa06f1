"""What can change on a deployed environment: freely, in a stated order, or not at all.

Settings are changeable unless their field declares `Fixed` or `InOrder` (settings/field_metadata.py). An environment's stacks contain
the values of the declared ones (`record`), so a deployment can compare (`refusals`). tests/updates proves both: the declarations are
needed, and every other setting can be changed and changed back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import getitem
from typing import Any

from settings.field_metadata import Fixed, InOrder, Restriction, declarations
from settings.sections import Tables
from settings.types import as_toml

CHANGEABLE, IN_ORDER, FIXED = "changeable", "in order", "fixed"
# The output with the record, and the stacks that have it: the one that is deployed first, and the one that is always in us-east-1.
OUTPUT, RECORDED_IN = "Settings", ("Network", "EdgeGlobal")


@dataclass(frozen=True)
class Refusal:
    """A change of one setting that a deployment must not make, and the steps that work."""

    key: str
    old: Any
    new: Any
    restriction: Restriction

    def __str__(self) -> str:
        change = f"{self.key}: {_shown(self.old)} → {_shown(self.new)}"
        steps = "\n".join(f"  {number}. {step.format(key=self.key)}" for number, step in enumerate(self.restriction.steps, 1))
        kind = "cannot change once deployed" if isinstance(self.restriction, Fixed) else "changes in this order"
        return f"{change}: {kind}. {self.restriction.reason} What works:\n{steps}"


@cache
def restrictions() -> Mapping[str, tuple[Restriction, ...]]:
    """Every key that is not changeable, with its restrictions."""
    found: dict[str, tuple[Restriction, ...]] = {}
    for key, restriction in declarations(Tables, Restriction):
        found[key] = (*found.get(key, ()), restriction)
    return found


def kind(key: str) -> str:
    """`changeable`, `in order` or `fixed`: the strictest that applies to a change of this setting."""
    declared = restrictions().get(key, ())
    return FIXED if any(isinstance(one, Fixed) for one in declared) else IN_ORDER if declared else CHANGEABLE


def has_steps(key: str) -> bool:
    """Whether some changes of this setting work in a stated order; others of the same setting may be fixed."""
    return any(isinstance(one, InOrder) for one in restrictions().get(key, ()))


def record(settings: Tables) -> dict[str, Any]:
    """The values that a later deployment is compared with, as in JSON. No secrets: settings contain none."""
    values = settings.model_dump(mode="json")
    return {key: reduce(getitem, key.split("."), values) for key in sorted(restrictions())}


def refusals(deployed: Mapping[str, Any], wanted: Mapping[str, Any], steps_taken: Collection[str] = ()) -> list[Refusal]:
    """The changes between two records that a deployment must not make.

    `steps_taken` are the keys of changes in a stated order whose steps were taken. A key that an older record does not have is not
    compared.
    """
    return list(_refusals(deployed, wanted, steps_taken))


def _refusals(deployed: Mapping[str, Any], wanted: Mapping[str, Any], steps_taken: Collection[str]) -> Iterator[Refusal]:
    for key, declared in restrictions().items():
        if key not in deployed or key not in wanted or deployed[key] == wanted[key]:
            continue
        for restriction in declared:
            excused = key in steps_taken and isinstance(restriction, InOrder)
            if not excused and restriction.applies(deployed[key], wanted[key]):
                yield Refusal(key, deployed[key], wanted[key], restriction)


def _shown(value: Any) -> str:
    return "not set" if value is None else as_toml(value)
