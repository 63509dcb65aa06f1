"""Print what an environment costs per month: `python -m tools.reports.cost`, with the environment in ENV.

The last line is the total. Prices that were not checked for a long time cause a warning. Exit code 1 if the settings are invalid.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from settings.loader import SettingsError, environment_names, load
from tools.processes import end_on_signals
from tools.reports.assembly import Assembly
from tools.reports.cost.bill import Bill, bill
from tools.reports.cost.page import page
from tools.reports.cost.prices import PRICES, stale
from tools.reports.cost.savings import savings
from tools.reports.synthesis import build


def of_all_environments() -> Bill:
    """The bill of all environments as this folder defines them."""
    with tempfile.TemporaryDirectory() as folder:
        return bill(Assembly(build([load(name) for name in environment_names()], Path(folder)).assembly))


def warning(today: date) -> str | None:
    """A warning if prices are too old."""
    if old := stale(today):
        days = PRICES["stale_after_days"]
        return (
            f"Warning: prices not checked for {days} days: {', '.join(old)}. "
            "Compare them with their sources in tools/reports/cost/prices.toml."
        )
    return None


def main() -> int:
    """Print the bill of the environment in ENV."""
    end_on_signals()
    environment = os.environ.get("ENV", "prod")
    try:
        settings = load(environment)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(page(of_all_environments(), environment, savings(settings)))
    if text := warning(datetime.now(UTC).date()):
        print(text, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
