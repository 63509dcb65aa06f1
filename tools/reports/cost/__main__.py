"""The command line: what an environment costs a month (`make cost ENV=prod`).

    ENV=prod python -m tools.reports.cost     prints the bill, what would cost less, and the total as the last line
    python -m tools.reports.cost readme       writes the README's table anew

A price that nobody has looked at for long is warned of. Exit codes: 0; 1 with a message when the settings cannot be used.
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
from tools.reports.cost.page import page, table
from tools.reports.cost.prices import PRICES, stale
from tools.reports.cost.savings import savings
from tools.reports.synthesis import ROOT, build

README = ROOT / "README.md"
BEGIN, END = "<!-- cost -->\n", "<!-- /cost -->\n"


def of_all_environments() -> Bill:
    """The bill of what this repository would deploy."""
    with tempfile.TemporaryDirectory() as folder:
        return bill(Assembly(build([load(name) for name in environment_names()], Path(folder)).assembly))


def in_readme(made: Bill, text: str) -> str:
    """The README with a current table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table(made)}\n{END}{after}"


def warning(today: date) -> str | None:
    """What to say of prices that are too old."""
    if old := stale(today):
        days = PRICES["stale_after_days"]
        return f"Warning: not looked at for {days} days: {', '.join(old)}. Compare them with their sources in tools/cost/prices.toml."
    return None


def main(arguments: list[str]) -> int:
    """Prints or writes what is asked for."""
    end_on_signals()
    try:
        if arguments == ["readme"]:
            README.write_text(in_readme(of_all_environments(), README.read_text(encoding="utf-8")), encoding="utf-8")
            return 0
        environment = os.environ.get("ENV", "prod")
        settings = load(environment)
        print(page(of_all_environments(), environment, savings(settings)))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    if told := warning(datetime.now(UTC).date()):
        print(told, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
