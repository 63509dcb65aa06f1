"""What an assembly costs a month, from its templates, the dated list prices in `prices.toml`, and `assumptions.toml`.

What is paid for being there and running by the clock is the bill before traffic, at the least number of tasks. What depends on
how much comes and is kept (`by_use`) is told beside it, at the assumed volumes. A type that is in none of the tables of `pricing.py`,
and a class without a price, is told as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.reports.assembly import Assembly
from tools.reports.cost.prices import UnknownPriceError, assumed
from tools.reports.cost.pricing import FREE, NOT_COUNTED, PRICED


@dataclass(frozen=True)
class Item:
    """One line of the bill."""

    environment: str
    part: str
    path: str
    kind: str
    what: str
    usd: float  # a month
    by_use: bool = False


@dataclass(frozen=True)
class Bill:
    """All lines; what has no price here; how many resources there are of the types that cost nothing, and of those not counted."""

    items: tuple[Item, ...]
    unknown: tuple[str, ...]
    free: Mapping[str, int]
    not_counted: Mapping[str, tuple[str, ...]]

    def total(self, environment: str, part: str | None = None, *, by_use: bool = False) -> float:
        """USD a month of an environment, or of one stack of it: before traffic, or what use adds."""
        return sum(one.usd for one in self.items if one.environment == environment and part in (None, one.part) and one.by_use is by_use)


def bill(assembly: Assembly) -> Bill:
    """The bill of all environments of an assembly."""
    items: list[Item] = []
    unknown: set[str] = set()
    free = dict.fromkeys(assembly.environments, 0)
    not_counted: dict[str, set[str]] = {environment: set() for environment in assembly.environments}
    for resource in assembly.resources.values():
        if resource.kind in PRICED:
            try:
                items += (
                    Item(resource.environment, resource.stack.part, resource.path, resource.kind, line.what, line.usd, line.by_use)
                    for line in PRICED[resource.kind](resource, assembly, assumed(resource.environment))
                )
            except UnknownPriceError as error:
                unknown.add(f"{resource.kind} {error}")
        elif resource.kind in NOT_COUNTED:
            not_counted[resource.environment].add(resource.kind)
        elif resource.kind in FREE or resource.kind.startswith(("Custom::", "AWS::CloudFormation::")):
            free[resource.environment] += 1
        else:
            unknown.add(resource.kind)
    return Bill(tuple(items), tuple(sorted(unknown)), free, {one: tuple(sorted(kinds)) for one, kinds in not_counted.items()})
