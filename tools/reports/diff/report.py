"""Write the report on this folder against a base: `./carmen diff`.

The base is a branch, tag or commit; or `deployed` for the stacks in the credentials' account, of all environments or of one (a branch
of that name is `heads/deployed`). Without an output file the report is printed. The file stays below the 65,536 characters of a GitHub
comment; if rows are omitted, the full report is in a second file with `.whole` before the suffix, below GitLab's 1,000,000 characters.
A danger is accepted by an entry that this folder adds to the base's docs/accepted-dangers.toml; against the deployed stacks, by any
entry of that file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from settings.loader import environment_names
from tools.reports.assembly import Assembly
from tools.reports.diff import judge
from tools.reports.diff import live as deployed_base
from tools.reports.diff.acceptances import FILE, added, ever
from tools.reports.diff.checkout import ROOT, both, commit_of, head_alone, text_in
from tools.reports.diff.collect import compare
from tools.reports.diff.costs import Costs
from tools.reports.diff.dangers import Danger, find_dangers
from tools.reports.diff.deployment import interruptions
from tools.reports.diff.live import Live
from tools.reports.diff.render import GITHUB_LIMIT, GITLAB_LIMIT, Report

DANGER = 3
DEPLOYED = "deployed"


def report(
    base: Path,
    head: Path,
    name: str,
    accepted: Mapping[str, str] | None = None,
    live: Live | None = None,
    first: Sequence[Danger] = (),
) -> Report:
    """Compare two assemblies. `accepted` maps ids of dangers to reasons; `live` has further facts about a deployed base; `first` are the
    dangers that no template shows."""
    comparison = compare(Assembly(base, live.tops if live else None), Assembly(head))
    costs = Costs.of(comparison.base, comparison.head)
    return Report(comparison, [*first, *find_dangers(comparison)], accepted or {}, interruptions(comparison), costs, name, live)


def against_deployed(base: Path, head: Path, live: Live, acceptances: str) -> Report:
    """Compare with the deployed stacks. `acceptances` is the text of docs/accepted-dangers.toml."""
    made = report(base, head, DEPLOYED, live=live)
    return replace(made, accepted=ever(acceptances, made.dangers, environment_names()))


def write(made: Report, out: Path) -> None:
    """Write the report as a comment, and the full report beside it if it is longer."""
    whole = out.with_name(f"{out.stem}.whole{out.suffix}")
    text = made.markdown(GITHUB_LIMIT, whole=f"`{whole.name}`, an artifact of this pipeline")
    out.write_text(text, encoding="utf-8")
    whole.unlink(missing_ok=True)
    if text != made.markdown():
        whole.write_text(made.markdown(GITLAB_LIMIT), encoding="utf-8")


def run(base: str, environment: str | None, output: Path | None) -> int:
    """Write or print the report. Return 3 if it has a danger that is not accepted."""
    file = ROOT / FILE
    acceptances = file.read_text(encoding="utf-8") if file.exists() else ""
    made = _against_deployed(environment or "", acceptances) if base == DEPLOYED else _against(base, acceptances)
    if output:
        write(made, output)
    else:
        print(made.markdown())
    for danger in made.refused:
        print(f"Danger {danger.id} ({', '.join(danger.environments) or danger.kind}): {danger.words}", file=sys.stderr)
    return DANGER if made.refused else 0


def _against(base: str, acceptances: str) -> Report:
    accepted = added(text_in(base, FILE), acceptances)
    with both(base) as (old, new):
        return report(old, new, base, accepted, first=judge.find(commit_of(base), ROOT))


def _against_deployed(environment: str, acceptances: str) -> Report:
    wanted = deployed_base.environments(environment)
    account = deployed_base.account(wanted)
    with head_alone(environment) as head:
        base = head.with_name("base")
        there = deployed_base.read(account, wanted, head, base, named=bool(environment))
        return against_deployed(base, head, there, acceptances)
