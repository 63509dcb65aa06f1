"""The monthly cost of an assembly, from its templates, the dated list prices in `prices.toml`, and `assumptions.toml`.

The bill before traffic has everything that is paid by time, at the minimum number of tasks. Costs that depend on traffic and stored
volume (`by_use`) are listed separately, at the assumed volumes. Types that are in no table of `pricing.py`, and classes without a
price, are listed as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.reports.assembly import Assembly
from tools.reports.cost.prices import UnknownPriceError, assumed
from tools.reports.cost.pricing import FREE, NOT_COUNTED, PRICED


@dataclass(frozen=True)
class Item:
    """A line of the bill."""

    environment: str
    part: str
    path: str
    kind: str
    what: str
    usd: float  # per month
    by_use: bool = False


@dataclass(frozen=True)
class Bill:
    """All lines, types without a price, the number of free resources and the types that are not counted, by environment."""

    items: tuple[Item, ...]
    unknown: tuple[str, ...]
    free: Mapping[str, int]
    not_counted: Mapping[str, tuple[str, ...]]

    def total(self, environment: str, part: str | None = None, *, by_use: bool = False) -> float:
        """USD per month of an environment or one of its stacks: before traffic, or by use."""
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
