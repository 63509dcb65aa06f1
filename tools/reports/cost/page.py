"""The bill in words: for a terminal, and as the README's table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tools.reports.assembly import importance
from tools.reports.cost.bill import Bill, Item
from tools.reports.cost.prices import PRICES, Table, assumed, oldest
from tools.reports.cost.savings import Saving

SMALL = 1.0  # USD: below it, what is of one kind in one stack is one line
LEVERS_SHOWN = 5


def page(made: Bill, environment: str, levers: list[Saving]) -> str:
    """All that `make cost` prints; the last line is the total."""
    parts = [
        f"{environment}, USD a month: {_basis()}.",
        _resources(made, environment),
        _assumptions(environment),
        _beside(made),
        f"What would cost less, each alone, before traffic ({environment} really synthesized with it):\n"
        + ("\n".join(_row(str(one), -one.usd) for one in levers[:LEVERS_SHOWN]) or "Nothing more."),
        *([f"No price is known of, and not counted: {', '.join(made.unknown)}."] if made.unknown else []),
        total_line(made, environment),
    ]
    return "\n\n".join(parts)


def _basis() -> str:
    prices = f"list prices in {PRICES['region']}, looked up on {oldest()} and after (tools/reports/cost/prices.toml)"
    return f"{prices}, without discounts and free tiers"


def total_line(made: Bill, environment: str) -> str:
    """The bill before traffic, and with it."""
    before, use = made.total(environment), made.total(environment, by_use=True)
    return f"Total {before:,.2f} USD a month before traffic, {before + use:,.2f} with the traffic and volumes assumed"


def _resources(made: Bill, environment: str) -> str:
    lines = [f"{'':<104}{'before traffic':>14}  {'by use':>8}"]
    for part in sorted({one.part for one in made.items if one.environment == environment}, key=lambda part: -made.total(environment, part)):
        lines.append(_row(part, made.total(environment, part), made.total(environment, part, by_use=True)))
        lines += (_row(f"  {told}", before, use) for told, before, use in _lines(made, environment, part))
    lines.append(_row("All", made.total(environment), made.total(environment, by_use=True)))
    cents = ", ".join(kind.removeprefix("AWS::") for kind in made.not_counted[environment])
    lines.append(f"\nFree: {made.free[environment]} more resources. By messages and calls, cents, not counted: {cents}.")
    return "\n".join(lines)


def _lines(made: Bill, environment: str, part: str) -> Iterator[tuple[str, float, float]]:
    """A line for each resource, the dearest first; small ones of one kind together."""
    by_path: dict[str, list[Item]] = defaultdict(list)
    for one in made.items:
        if (one.environment, one.part) == (environment, part):
            by_path[one.path].append(one)
    by_kind: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for path, items in by_path.items():
        before, use = (sum(one.usd for one in items if one.by_use is by_use) for by_use in (False, True))
        told = "; ".join(one.what for one in items if one.what)
        by_kind[items[0].kind].append((f"{path}{f': {told}' if told else ''}", before, use))
    lines: list[tuple[str, float, float]] = []
    for kind, rows in by_kind.items():
        small = [row for row in rows if row[1] + row[2] < SMALL]
        lines += (row for row in rows if row not in small) if len(small) > 1 else rows
        if len(small) > 1:
            lines.append((f"{len(small)} × {kind.removeprefix('AWS::')}", sum(row[1] for row in small), sum(row[2] for row in small)))
    return iter(sorted(lines, key=lambda row: (-row[1] - row[2], row[0])))


def _assumptions(environment: str) -> str:
    """Every one of them, tables on a line of their own."""
    found = assumed(environment)
    plain = ", ".join(f"{key} {value:g}" for key, value in found.items() if not isinstance(value, dict))
    tables = [
        f"  {key}: {'; '.join(f'{name} {_told(one)}' for name, one in value.items())}"
        for key, value in found.items()
        if isinstance(value, dict)
    ]
    return "\n".join([f"Assumed (tools/reports/cost/assumptions.toml): {plain}", *tables])


def _told(value: float | Table) -> str:
    return f"{value:g}" if not isinstance(value, dict) else ", ".join(f"{key} {one:g}" for key, one in value.items())


def _beside(made: Bill) -> str:
    """The environments beside each other, stack by stack."""
    environments = sorted(made.free, key=importance)
    head = f"{'Before traffic':<20}{''.join(f'{one:>12}' for one in environments)}"
    return "\n".join([head, *(f"{name:<20}{''.join(f'{usd:>12,.2f}' for usd in row)}" for name, row in _sums(made, environments))])


def _sums(made: Bill, environments: list[str]) -> Iterator[tuple[str, list[float]]]:
    for part in sorted({one.part for one in made.items}, key=lambda part: -max(made.total(one, part) for one in environments)):
        row = [made.total(one, part) for one in environments]
        if any(row):
            yield part, row
    yield "Before traffic", [made.total(one) for one in environments]
    yield "Traffic, volumes", [made.total(one, by_use=True) for one in environments]
    yield "Together", [made.total(one) + made.total(one, by_use=True) for one in environments]


def table(made: Bill) -> str:
    """The README's: stacks × environments, and what is dearest in each."""
    environments = sorted(made.free, key=importance)
    rows = [f"| USD a month | {' | '.join(environments)} |", f"|---|{'---:|' * len(environments)}"]
    for name, sums in _sums(made, environments):
        bold = "**" if name == "Before traffic" else ""
        rows.append(f"| {bold}{name}{bold} | {' | '.join(f'{bold}{usd:,.2f}{bold}' for usd in sums)} |")
    return "\n".join([*rows, "", f"At {_basis()}."])


def _row(told: str, before: float, use: float = 0.0) -> str:
    return f"{told:<104}{before:>14,.2f}{f'  {use:>8,.2f}' if use else ''}"
