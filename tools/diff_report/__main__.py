"""The command line: writes the report of this folder against a base.

    python -m tools.diff_report BASE [OUT]

BASE is a branch, tag or commit. Without OUT the whole report is printed. With it, the file stays below the 65,536 characters
of a comment on GitHub; when it had to be cut, the whole is beside it in OUT with `.whole` before the suffix, below GitLab's
1,000,000. A danger is accepted by what this folder adds to the base's docs/accepted-dangers.toml.

Exit codes: 0 no danger, or all accepted; 3 danger that nobody accepted; 1 no report could be made. (`make` turns any but 0 into 2.)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from local.processes import Ended, end_on_signals
from tools.diff_report.acceptances import FILE, AcceptanceError, added
from tools.diff_report.checkout import ROOT, CheckoutError, both, text_in
from tools.diff_report.collect import compare
from tools.diff_report.costs import Costs
from tools.diff_report.deployment import interruptions
from tools.diff_report.judge import judge
from tools.diff_report.render import GITHUB_LIMIT, GITLAB_LIMIT, Report
from tools.diff_report.sides import Side

DANGER = 3


def report(base: Path, head: Path, name: str, accepted: Mapping[str, str] | None = None) -> Report:
    """The report on two assemblies; `accepted` holds ids of dangers, and why."""
    comparison = compare(Side(base), Side(head))
    costs = Costs.of(comparison.base, comparison.head)
    return Report(comparison, judge(comparison), accepted or {}, interruptions(comparison), costs, name)


def write(made: Report, out: Path) -> None:
    """The report as a comment, and the whole of it beside, when that is longer."""
    whole = out.with_name(f"{out.stem}.whole{out.suffix}")
    text = made.markdown(GITHUB_LIMIT, whole=f"`{whole.name}`, an artifact of this pipeline")
    out.write_text(text, encoding="utf-8")
    whole.unlink(missing_ok=True)
    if text != made.markdown():
        whole.write_text(made.markdown(GITLAB_LIMIT), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """3 when there is danger that nobody accepted, 1 with a message when there is no report."""
    end_on_signals()
    if not 1 <= len(arguments) <= 2:
        print("Usage: make diff-report BASE=origin/main [OUT=report.md]", file=sys.stderr)
        return 1
    base, out = arguments[0], Path(arguments[1]) if len(arguments) == 2 else None
    try:
        head = ROOT / FILE
        accepted = added(text_in(base, FILE), head.read_text(encoding="utf-8") if head.exists() else "")
        with both(base) as (old, new):
            made = report(old, new, base, accepted)
        if out:
            write(made, out)
        else:
            print(made.markdown())
    except (AcceptanceError, CheckoutError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except Ended:
        print("Ended; the worktree of the base is gone.", file=sys.stderr)
        raise
    for danger in made.refused:
        print(f"Danger {danger.id} ({', '.join(danger.environments)}): {danger.words}", file=sys.stderr)
    return DANGER if made.refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
