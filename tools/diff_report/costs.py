"""The monthly difference per stack, and what it comes from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tools.cost import PRICES, Bill, bill
from tools.diff_report.sides import Side, importance

CENT = 0.005


@dataclass(frozen=True)
class Costs:
    """Both bills."""

    base: Bill
    head: Bill
    environments: list[str]

    @classmethod
    def of(cls, base: Side, head: Side) -> Costs:
        """From both sides' templates."""
        return cls(bill(base), bill(head), sorted({*base.environments, *head.environments}, key=importance))

    @property
    def unknown(self) -> list[str]:
        """What is new in the head and has no price."""
        return [kind for kind in self.head.unknown if kind not in self.base.unknown]

    def difference(self, environment: str, part: str | None = None) -> float:
        """USD a month."""
        return self.head.total(environment, part) - self.base.total(environment, part)

    def shortly(self, environment: str) -> str:
        """For the headline."""
        difference = self.difference(environment)
        return f"; {_signed(difference)} USD a month" if abs(difference) >= CENT else "; costs the same"

    def heading(self) -> list[str]:
        """Of the table that `rows` fills."""
        return [f"| Stack | {' | '.join(self.environments)} | From |", f"|---|{'---:|' * len(self.environments)}---|"]

    def rows(self) -> list[str]:
        """A row per stack whose cost differs, and the total; none when nothing does."""
        parts = sorted({one.part for one in (*self.base.items, *self.head.items)})
        differing = [part for part in parts if any(abs(self.difference(one, part)) >= CENT for one in self.environments)]
        rows = []
        for part in differing:
            cells = [_signed(self.difference(one, part)) if abs(self.difference(one, part)) >= CENT else "" for one in self.environments]
            rows.append(f"| {part} | {' | '.join(cells)} | {'; '.join(self._reasons(part))} |")
        totals = [f"{_usd(self.base.total(one))} → **{_usd(self.head.total(one))}**" for one in self.environments]
        return [*rows, f"| **Total** | {' | '.join(totals)} | |"] if rows else []

    def footnote(self) -> str:
        """What the figures are."""
        return (
            f"List prices of {PRICES['date']} in {PRICES['region']}, at the least number of tasks. "
            "Not counted: traffic, requests, metrics, and the volume of logs, images, backups and files."
        )

    def _reasons(self, part: str) -> list[str]:
        """`Data/Database/Instance` db.t4g.medium → db.t4g.large: told once for all environments."""
        lines: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: {"base": [], "head": []})
        for side, items in (("base", self.base.items), ("head", self.head.items)):
            for one in items:
                if one.part == part:
                    lines[f"{one.environment} {one.path}"][side].append((one.what, one.usd))
        found = []
        for key, sides in sorted(lines.items(), key=lambda one: one[0].partition(" ")[2]):
            path = key.partition(" ")[2]
            before = [what for what, usd in sides["base"] if (what, usd) not in sides["head"]]
            after = [what for what, usd in sides["head"] if (what, usd) not in sides["base"]]
            if not sides["base"] or not sides["head"]:
                found.append(f"{'new' if sides['head'] else 'gone'}: `{path}`")
            elif before or after:
                found.append(f"`{path}` {', '.join(before)} → {', '.join(after)}")
        return list(dict.fromkeys(found))


def _usd(amount: float) -> str:
    return f"{amount:,.2f}"


def _signed(amount: float) -> str:
    return f"{'+' if amount > 0 else '−'}{abs(amount):,.2f}"
