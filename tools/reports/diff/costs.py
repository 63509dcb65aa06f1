"""The monthly cost difference per stack, with its reasons."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tools.reports.assembly import Assembly, importance
from tools.reports.cost.bill import Bill, Item, bill
from tools.reports.cost.prices import PRICES, oldest
from tools.reports.diff.markdown import words

CENT = 0.005
REASONS_SHOWN = 6  # of one stack


@dataclass(frozen=True)
class Costs:
    """The bills of base and head."""

    base: Bill
    head: Bill
    environments: list[str]

    @classmethod
    def of(cls, base: Assembly, head: Assembly) -> Costs:
        """From the templates of base and head."""
        return cls(bill(base), bill(head), sorted({*base.environments, *head.environments}, key=importance))

    @property
    def unknown(self) -> list[str]:
        """Resource types of the head without a price, unless the base has them too."""
        return [kind for kind in self.head.unknown if kind not in self.base.unknown]

    def difference(self, environment: str, part: str | None = None) -> float:
        """USD per month."""
        return self.head.total(environment, part) - self.base.total(environment, part)

    def undecided(self, environment: str, part: str | None = None) -> list[str]:
        """What has no price and differs between base and head: the difference is unknown."""
        before, after = (one.without_price(environment, part) for one in (self.base, self.head))
        return sorted({unknown for _, unknown in before ^ after})

    def summary(self, environment: str) -> str:
        """The difference for the headline."""
        if undecided := self.undecided(environment):
            return f"; cost unknown: no {', no '.join(_price_of(one) for one in undecided)}"
        difference = self.difference(environment)
        counted = f"{_signed(difference)} USD per month" if abs(difference) >= CENT else "same cost"
        return f"; {counted}{', incomplete' if self.head.without_price(environment) else ''}"

    def heading(self) -> list[str]:
        """Header of the table for `rows`."""
        return [f"| Stack | {' | '.join(self.environments)} | Reason |", f"|---|{'---:|' * len(self.environments)}---|"]

    def rows(self) -> list[str]:
        """A row for each stack whose cost differs, and the total; no rows without a difference."""
        parts = sorted({one.part for one in (*self.base.items, *self.head.items)})
        differing = [part for part in parts if any(self._cell(one, part) for one in self.environments)]
        rows = []
        for part in differing:
            cells = [self._cell(one, part) for one in self.environments]
            rows.append(f"| {part} | {' | '.join(cells)} | {words('; '.join(self._reasons(part)))} |")
        totals = [f"{_total(self.base, one)} → **{_total(self.head, one)}**" for one in self.environments]
        return [*rows, f"| **Total** | {' | '.join(totals)} | |"] if rows else []

    def _cell(self, environment: str, part: str) -> str:
        if self.undecided(environment, part):
            return "unknown"
        difference = self.difference(environment, part)
        return _signed(difference) if abs(difference) >= CENT else ""

    def footnote(self) -> str:
        """How the figures are calculated."""
        return (
            f"List prices in {PRICES['region']}, checked on {oldest()} or later, with the minimum number of tasks. "
            "Before traffic: requests and the volume of logs, images, backups and files are not counted."
        )

    def _reasons(self, part: str) -> list[str]:
        """The reasons, most expensive first: changed resources as old → new, new and removed ones by construct."""
        lines: dict[tuple[str, str], list[list[Item]]] = defaultdict(lambda: [[], []])
        for position, items in enumerate((self.base.items, self.head.items)):
            for one in items:
                if one.part == part and not one.by_use:
                    lines[one.environment, one.path][position].append(one)
        sizes: dict[str, float] = defaultdict(float)
        constructs: dict[str, set[str]] = defaultdict(set)
        for (_, path), (before, after) in lines.items():
            difference = abs(sum(one.usd for one in after) - sum(one.usd for one in before))
            if any(one.unknown for one in (*before, *after)):
                difference = float("inf")  # first
            old, new = ([one.what for one in these if not _among(one, others)] for these, others in ((before, after), (after, before)))
            if before and after and old != new:
                sizes[f"`{path}` {', '.join(old)} → {', '.join(new)}"] += difference
            elif not (before and after):
                construct = f"{'new' if after else 'removed'}: `{'/'.join(path.split('/')[:2])}`"
                constructs[construct].add(path)
                sizes[construct] += difference
        reasons = [_counted(one, constructs[one]) for one in sorted(sizes, key=lambda one: (-sizes[one], one))]
        return [*reasons[:REASONS_SHOWN], *([f"and {len(reasons) - REASONS_SHOWN} more"] if len(reasons) > REASONS_SHOWN else [])]


def _counted(reason: str, paths: set[str]) -> str:
    """A construct's only resource with its own path, several with their number."""
    if len(paths) == 1:
        return f"{reason.partition(' ')[0]} `{next(iter(paths))}`"
    return f"{reason} ({len(paths)})" if paths else reason


def _among(item: Item, others: list[Item]) -> bool:
    return any((item.what, item.usd) == (one.what, one.usd) for one in others)


def _price_of(unknown: str) -> str:
    """`price for AWS::RDS::DBInstance db.r7g.large`, `prices for eu-central-1`."""
    return unknown if unknown.startswith("prices for ") else f"price for {unknown}"


def _total(made: Bill, environment: str) -> str:
    return f"{'incomplete, at least ' if made.without_price(environment) else ''}{_usd(made.total(environment))}"


def _usd(amount: float) -> str:
    return f"{amount:,.2f}"


def _signed(amount: float) -> str:
    return f"{'+' if amount > 0 else '−'}{abs(amount):,.2f}"
