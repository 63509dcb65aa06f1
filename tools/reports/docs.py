"""Write the generated documents: docs/architecture.svg, docs/assumptions.md, docs/cost.md and docs/security.md (`make docs`).

    python -m tools.reports.docs [--check]

With --check nothing is written: exit code 1, with the names of the documents that are not current.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from settings.loader import environment_names, load
from tools.account import page as assumptions
from tools.reports import architecture_picture
from tools.reports.assembly import Assembly
from tools.reports.cost import page as cost
from tools.reports.cost.bill import bill
from tools.reports.security import page as security
from tools.reports.security.scan import Result, run_validators
from tools.reports.synthesis import ROOT, Built, build

ARCHITECTURE, ASSUMPTIONS, COST, SECURITY = "docs/architecture.svg", "docs/assumptions.md", "docs/cost.md", "docs/security.md"


def architecture_document(built: Built) -> str:
    return architecture_picture.draw(built, load("prod"))


def assumptions_document() -> str:
    return assumptions.document()


def cost_document(built: Built) -> str:
    return cost.document(bill(Assembly(built.assembly)))


def security_document(built: Built, results: list[Result]) -> str:
    return security.page(built, results)


def current(name: str, text: str) -> bool:
    """Whether the document in docs/ has this text."""
    file = ROOT / name
    return file.is_file() and file.read_text(encoding="utf-8") == text


def main(arguments: list[str] | None = None) -> int:
    """Write the documents, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is not current")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        built = build([load(name) for name in environment_names()], Path(folder) / "cdk.out")
        texts = {
            ARCHITECTURE: architecture_document(built),
            ASSUMPTIONS: assumptions_document(),
            COST: cost_document(built),
            SECURITY: security_document(built, run_validators(built, Path(folder) / "preflight")),
        }
    outdated = [name for name, text in texts.items() if not current(name, text)]
    for name in outdated:
        if check:
            print(f"{name} is not current: run `make docs` and commit the result.", file=sys.stderr)
        else:
            (ROOT / name).write_text(texts[name], encoding="utf-8")
            print(f"Wrote {name}")
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
