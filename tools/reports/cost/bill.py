"""The monthly cost of an assembly, from its templates, the dated list prices in `prices.toml`, and `assumptions.toml`.

The bill before traffic has everything that is paid by time, at the minimum number of tasks. Costs that depend on traffic and stored
volume (`by_use`) are listed separately, at the assumed volumes. What has no price (a type that is in no table of `pricing.py`, a class, a
region) is an item too, with `unknown`: it counts 0, and totals with it are incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.reports.assembly import Assembly, Resource
from tools.reports.cost.prices import PRICES, UnknownPriceError, assumed
from tools.reports.cost.pricing import FREE, NOT_COUNTED, PRICED

ANY_REGION = "unknown-region"  # the CDK's name of the region of a stack without one


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
    unknown: str = ""  # what has no price; then `usd` is 0


@dataclass(frozen=True)
class Bill:
    """All lines, the number of free resources and the types that are not counted, by environment."""

    items: tuple[Item, ...]
    free: Mapping[str, int]
    not_counted: Mapping[str, tuple[str, ...]]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Types, classes and regions without a price."""
        return tuple(sorted({one.unknown for one in self.items if one.unknown}))

    def without_price(self, environment: str, part: str | None = None) -> frozenset[tuple[str, str]]:
        """(path, what has no price): the total without them is a lower limit."""
        found = (one for one in self.items if one.unknown and one.environment == environment and part in (None, one.part))
        return frozenset((one.path, one.unknown) for one in found)

    def total(self, environment: str, part: str | None = None, *, by_use: bool = False) -> float:
        """USD per month of an environment or one of its stacks: before traffic, or by use; at least, if something has no price."""
        return sum(one.usd for one in self.items if one.environment == environment and part in (None, one.part) and one.by_use is by_use)


def bill(assembly: Assembly) -> Bill:
    """The bill of all environments of an assembly."""
    items: list[Item] = []
    free = dict.fromkeys(assembly.environments, 0)
    not_counted: dict[str, set[str]] = {environment: set() for environment in assembly.environments}
    for resource in assembly.resources.values():
        if resource.kind in NOT_COUNTED:
            not_counted[resource.environment].add(resource.kind)
        elif resource.kind in FREE or resource.kind.startswith(("Custom::", "AWS::CloudFormation::")):
            free[resource.environment] += 1
        else:
            items += _items(resource, assembly)
    return Bill(tuple(items), free, {one: tuple(sorted(kinds)) for one, kinds in not_counted.items()})


def _items(resource: Resource, assembly: Assembly) -> Iterator[Item]:
    place = (resource.environment, resource.stack.part, resource.path, resource.kind)
    region = resource.stack.place.rsplit("/", 1)[-1]
    if region not in (PRICES["region"], ANY_REGION):
        yield Item(*place, what=f"no prices for {region}", usd=0, unknown=f"prices for {region}")
    elif resource.kind not in PRICED:
        yield Item(*place, what="no price", usd=0, unknown=resource.kind)
    else:
        try:
            for line in PRICED[resource.kind](resource, assembly, assumed(resource.environment)):
                unknown = f"{resource.kind} {line.unknown}" if line.unknown else ""
                yield Item(*place, line.what, line.usd, line.by_use, unknown)
        except UnknownPriceError as error:
            yield Item(*place, what=f"{error}: no price", usd=0, unknown=f"{resource.kind} {error}")
