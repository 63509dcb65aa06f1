"""The dated price table, and what is assumed where no template says it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
Table = dict[str, Any]


class UnknownPriceError(Exception):
    """What has no price in `prices.toml`."""


def _read(name: str) -> Table:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


PRICES = _read("prices.toml")
ASSUMPTIONS = _read("assumptions.toml")
NO_PRICES = ("source", "date", "seen")


def tables() -> Iterator[tuple[str, Table]]:
    """Every table of prices by its name."""
    return ((name, one) for name, one in PRICES.items() if isinstance(one, dict))


def price(table: str, name: Any = "usd") -> float:
    """USD for one unit; raises UnknownPriceError for what is not listed."""
    found = PRICES[table]
    if not isinstance(name, str) or name not in found or name in NO_PRICES:
        raise UnknownPriceError(name)
    return float(found[name])


def oldest() -> date:
    """When the price that was not looked at for longest was looked at."""
    dates: list[date] = [one["date"] for _, one in tables()]
    return min(dates)


def stale(today: date) -> list[str]:
    """The tables nobody has looked at for `stale_after_days`."""
    return [name for name, one in tables() if (today - one["date"]).days > PRICES["stale_after_days"]]


def assumed(environment: str) -> Table:
    """The assumptions for an environment: its own over those for all, tables likewise."""
    common, own = ASSUMPTIONS["default"], ASSUMPTIONS.get(environment, {})
    return {key: {**value, **own.get(key, {})} if isinstance(value, dict) else own.get(key, value) for key, value in common.items()}
