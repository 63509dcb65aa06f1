"""The dated price table, and assumptions about what templates do not say."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
Table = dict[str, Any]


class UnknownPriceError(Exception):
    """A name without a price in `prices.toml`."""


def _read(name: str) -> Table:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


PRICES = _read("prices.toml")
ASSUMPTIONS = _read("assumptions.toml")
NO_PRICES = ("source", "date", "seen")


def tables() -> Iterator[tuple[str, Table]]:
    """All price tables with their names."""
    return ((name, one) for name, one in PRICES.items() if isinstance(one, dict))


def price(table: str, name: Any = "usd") -> float:
    """USD per unit. UnknownPriceError for an unlisted name."""
    found = PRICES[table]
    if not isinstance(name, str) or name not in found or name in NO_PRICES:
        raise UnknownPriceError(name)
    return float(found[name])


def oldest() -> date:
    """The date of the oldest price."""
    return min((one["date"] for _, one in tables()), default=date.max)


def stale(today: date) -> list[str]:
    """Tables that were not checked for `stale_after_days`."""
    return [name for name, one in tables() if (today - one["date"]).days > PRICES["stale_after_days"]]


def warning(today: date) -> str | None:
    """A warning if prices are too old."""
    if old := stale(today):
        days = PRICES["stale_after_days"]
        names = ", ".join(old)
        return f"Warning: prices not checked for {days} days: {names}. Compare them with their sources in tools/reports/cost/prices.toml."
    return None


def assumed(environment: str) -> Table:
    """The assumptions for an environment: its own values replace the default ones, also inside tables."""
    common, own = ASSUMPTIONS["default"], ASSUMPTIONS.get(environment, {})
    return {key: {**value, **own.get(key, {})} if isinstance(value, dict) else own.get(key, value) for key, value in common.items()}
