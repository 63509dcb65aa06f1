"""Write the report as Markdown: dangers first, then cost, interruptions and changes; noise is folded away at the end.

A report that is too long for a comment loses its last rows and says so.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.reports.assembly import importance
from tools.reports.diff.acceptances import FILE
from tools.reports.diff.collect import GONE, Change, Comparison, Impact, Leaf
from tools.reports.diff.costs import Costs
from tools.reports.diff.dangers import Danger
from tools.reports.diff.deployment import Interruption
from tools.reports.diff.live import Live
from tools.reports.diff.markdown import cell, code, plain, words
from tools.reports.diff.state import because

MARKER = "<!-- carmen-diff-report -->"  # a pipeline finds its comment by this marker
GITHUB_LIMIT = 65_536  # characters of a comment
GITLAB_LIMIT = 1_000_000
SHOWN = 100  # characters of a value
LEAVES_SHOWN = 12  # per resource
ORDER = (
    Impact.REPLACED,
    Impact.MAY_BE_REPLACED,
    Impact.MOVED,
    Impact.REMOVED,
    Impact.ORPHANED,
    Impact.CHANGED,
    Impact.REVISED,
    Impact.ADDED,
)
SIGN = {
    **{impact: f"**{impact.value}**" for impact in ORDER},
    Impact.ADDED: "added",
    Impact.CHANGED: "changed",
    Impact.REVISED: "new revision",
}


@dataclass
class Section:
    """A section of the report. A report that is too long loses rows of its last sections."""

    head: list[str]
    rows: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)

    def text(self, rows: int | None = None) -> str:
        return "\n".join([*self.head, *self.rows[:rows], *self.tail])


@dataclass(frozen=True)
class Report:
    """Everything that the report shows."""

    comparison: Comparison
    dangers: list[Danger]
    accepted: Mapping[str, str]
    interruptions: list[Interruption]
    costs: Costs
    base: str
    live: Live | None = None  # further facts, if the base is the deployed stacks

    @property
    def refused(self) -> list[Danger]:
        """Dangers that are not accepted."""
        return [one for one in self.dangers if one.id not in self.accepted]

    def markdown(self, limit: int | None = None, whole: str = "") -> str:
        """The report in at most `limit` characters; `whole` names the location of the full report."""
        sections = [one for one in self._sections() if one.head or one.rows]
        text = "\n\n".join(one.text() for one in sections) + "\n"
        return text if limit is None or len(text) <= limit else _cut(sections, limit, whole)

    def _sections(self) -> list[Section]:
        return [
            Section([MARKER, self._headline()]),
            self._dangers(self.refused),
            self._acceptances([one for one in self.dangers if one.id in self.accepted]),
            self._unknown_acceptances(),
            self._drift(),
            self._cost(),
            Section(["### During deployment", ""], [f"- {_in(one.environments)}{words(one.words)}" for one in self.interruptions])
            if self.interruptions
            else Section([]),
            *_changes(self.comparison),
            *_noise(self.comparison),
        ]

    def _headline(self) -> str:
        changed, quiet = [], []
        for environment in self.comparison.environments:
            found = [one for one in self.comparison.changes if one.environment == environment]
            relevant = [one for one in found if not one.noise]
            if relevant:
                counts = Counter(one.impact for one in relevant)
                counted = ", ".join(f"{counts[impact]} {impact.value}" for impact in ORDER if counts[impact])
                changed.append(f"- **{environment}**: {counted}{self.costs.summary(environment)}")
            elif found:
                quiet.append(f"- {environment}: only noise ({_number(len(found), 'resource')}: {_noises(found)}).")
            else:
                quiet.append(f"- {environment}: unchanged.")
        refused = self.refused
        verdict = (
            f"{_number(len(refused), 'danger')} to accept"
            if refused
            else f"{_number(len(self.dangers), 'danger')}, all accepted"
            if self.dangers
            else "no danger"
        )
        sign = "🔴" if refused else "🟡" if self.dangers else "🟢"
        title = f"## {sign} Infrastructure: {verdict if changed or self.dangers else 'nothing changes'}"
        if self.live:
            what = f"What a deployment changes in {', '.join(self.live.environments)}:"
            return "\n".join([title, "", what, "", *changed, *quiet, *(f"- {note}" for note in self.live.notes)])
        return "\n".join([title, "", f"Changes compared with `{self.base}`, from the templates alone:", "", *changed, *quiet])

    def _dangers(self, dangers: list[Danger]) -> Section:
        rows = [f"| {one.kind} | {_in(one.environments)}{words(one.words)}{_reason(one.reason)} | `{one.id}` |" for one in dangers]
        if not rows:
            return Section([])
        how = (
            f"No entry in `{FILE}` accepts these: approving the deployment does, or a pull request that appends id and reason."
            if self.live
            else f"To accept a danger, append its id and a reason to `{FILE}` in this pull request."
        )
        return Section(["### Danger", "", "| | What | Id |", "|---|---|---|"], rows, ["", how])

    def _acceptances(self, dangers: list[Danger]) -> Section:
        rows = [
            f"| {one.kind} | {_in(one.environments)}{words(one.words)}{_reason(one.reason)} | “{plain(self.accepted[one.id])}” `{one.id}` |"
            for one in dangers
        ]
        title = f"### Accepted in `{FILE}`" if self.live else "### Accepted by this pull request"
        return Section([title, "", "| | What | Why |", "|---|---|---|"], rows) if rows else Section([])

    def _unknown_acceptances(self) -> Section:
        unknown = sorted(self.accepted.keys() - {one.id for one in self.dangers})
        if not unknown:
            return Section([])
        return Section([f"Accepted ids that match no danger (an id changes with its text): {', '.join(f'`{one}`' for one in unknown)}."])

    def _drift(self) -> Section:
        """One line without drift; otherwise a row for each difference and for each stack with unknown drift."""
        found = self.live.drift if self.live else ()
        wrong = [stack for stack in found if not stack.in_sync]
        if not wrong:
            return Section([f"**Drift**: none; {_number(len(found), 'stack')} match their templates."] if found else [])
        rows = [
            f"| `{stack.name}` | {' | '.join(_code(part) if part else '' for part in difference)} |"
            for stack in wrong
            for difference in stack.differences
        ]
        rows += [f"| `{stack.name}` | {plain(stack.description)} | | | |" for stack in wrong if stack.state != "DRIFTED"]
        what = f"{len(found) - len(wrong)} of {_number(len(found), 'stack')} match their templates. A deployment updates only what"
        head = ["### Drift", "", f"{what} its template changes; other drift stays.", ""]
        return Section([*head, "| Stack | Resource | Property | Template | Deployed |", "|---|---|---|---|---|"], rows)

    def _cost(self) -> Section:
        rows = self.costs.rows()
        if not rows and not self.costs.unknown:
            return Section([])
        unknown = (
            [f"No price known for {', '.join(f'`{kind}`' for kind in self.costs.unknown)}: totals with it are incomplete.", ""]
            if self.costs.unknown
            else []
        )
        return Section(
            ["### Cost, USD per month", "", *unknown, *(self.costs.heading() if rows else [])], rows, ["", self.costs.footnote()]
        )


def _in(environments: tuple[str, ...]) -> str:
    return f"**{', '.join(environments)}:** " if environments else ""


def _reason(reason: str) -> str:
    return f" Reason in the settings: “{plain(reason)}”" if reason else ""


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _noises(changes: list[Change]) -> str:
    kinds = Counter(leaf.noise for change in changes for leaf in change.leaves if leaf.noise)
    kinds.update(change.noise for change in changes if not change.leaves)
    return ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))


@dataclass
class _Line:
    """A changed property and the environments with this change."""

    text: str
    environments: list[str] = field(default_factory=list)


def _changes(comparison: Comparison) -> Iterator[Section]:
    """A table for each stack with a row for each resource; the same change in several environments is one row."""
    parts: dict[str, list[Change]] = defaultdict(list)
    for change in comparison.changes:
        if not change.noise:
            parts[change.part].append(change)
    title = ["### Changes", ""]
    for part, changes in sorted(parts.items(), key=lambda one: (min(ORDER.index(change.impact) for change in one[1]), one[0])):
        head = [*title, f"#### {part}", "", "| | Resource | Property: old → new |", "|---|---|---|"]
        yield Section(head, [*_changed(changes), *_added(changes)])
        title = []


def _changed(changes: list[Change]) -> Iterator[str]:
    resources: dict[tuple[int, str, str], dict[str, _Line]] = defaultdict(dict)
    for change in changes:
        if change.impact is not Impact.ADDED:
            lines = resources[ORDER.index(change.impact), change.path, _name(change)]
            texts = [f"{_property(leaf)}: {_values(leaf)}" for leaf in change.relevant] or [""]
            for text in texts:
                lines.setdefault(_masked(text, change.environment), _Line(text)).environments.append(change.environment)
    for (order, _, name), found in sorted(resources.items()):
        where = sorted({one for line in found.values() for one in line.environments}, key=importance)
        by_property = sorted(found.values(), key=lambda line: line.text.partition(":")[0])
        properties = [
            f"{line.text}{'' if len(line.environments) == len(where) else f' ({_listed(line.environments)})'}" for line in by_property
        ]
        more = [f"and {len(properties) - LEAVES_SHOWN} more"] if len(properties) > LEAVES_SHOWN else []
        yield f"| {SIGN[ORDER[order]]}<br>{_listed(where)} | {name} | {'<br>'.join([*properties[:LEAVES_SHOWN], *more])} |"


def _added(changes: list[Change]) -> Iterator[str]:
    """New resources, one row for each construct."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for change in changes:
        if change.impact is Impact.ADDED:
            groups["/".join(change.path.split("/")[:2]), change.environment].append(_kind(change))
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (group, environment), kinds in groups.items():
        counted = ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in sorted(Counter(kinds).items()))
        rows[group, counted].append(environment)
    for (group, counted), environments in sorted(rows.items()):
        yield f"| {SIGN[Impact.ADDED]}<br>{_listed(environments)} | {code(group)} | {counted} |"


def _listed(environments: list[str]) -> str:
    return ", ".join(sorted(environments, key=importance))


def _masked(text: str, environment: str) -> str:
    """Mask environment names and the CDK's hashes, so that the same change in another environment is equal."""
    text = re.sub(rf"(?i)carmen{environment}|\b{re.escape(environment)}\b", "<environment>", text)
    return re.sub(r"[0-9A-F]{8}(?![0-9A-Za-z])", "<hash>", text)


def _kind(change: Change) -> str:
    return words(" ".join(change.kind.split("::")[1:]) or change.kind)


def _name(change: Change) -> str:
    return f"`{cell(change.path)}`{'' if change.kind == 'Stack' else f'<br>{_kind(change)}'}{_why(change)}"


def _why(change: Change) -> str:
    """Why it is replaced, or its old name."""
    if change.impact in (Impact.REPLACED, Impact.MAY_BE_REPLACED):
        return f"<br>because {because(change)}"
    if change.impact is Impact.MOVED and change.old:
        same = change.old.path == change.path
        return f"<br>logical id was `{change.old.logical_id}`" if same else f"<br>was `{cell(change.old.path)}`"
    return ""


def _property(leaf: Leaf) -> str:
    return f"`{cell(leaf.path)}`{' (immutable)' if leaf.impact is Impact.REPLACED else ''}"


def _values(leaf: Leaf) -> str:
    old, new = _text(leaf.old), _text(leaf.new)
    if old == new:
        return "the resource it refers to is replaced"
    if max(len(old), len(new)) > SHOWN:
        old, new = _differing(old, new)
    return f"{_code(old)} → {_code(new)}"


def _text(value: Any) -> str:
    if isinstance(value, dict) and value.get("Effect") in ("Allow", "Deny"):
        return _statement(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _statement(statement: dict[str, Any]) -> str:
    """A policy statement in one line."""
    values = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in statement.items()}
    named = {key: values.pop(key, None) for key in ("Effect", "Action", "Resource", "Sid")}
    rest = "".join(f", {key} {_text(value)}" for key, value in sorted(values.items()))
    return f"{named['Effect']} {named['Action']}{' on ' if named['Resource'] else ''}{named['Resource'] or ''}{rest}"


def _differing(old: str, new: str) -> tuple[str, str]:
    """The differing parts of long values."""
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks() if len(old) + len(new) < 4_000 else []
    start = blocks[0].size if blocks and blocks[0].a == blocks[0].b == 0 else 0
    end = (
        blocks[-2].size
        if len(blocks) > 1 and blocks[-2].a + blocks[-2].size == len(old) and blocks[-2].b + blocks[-2].size == len(new)
        else 0
    )
    start = max(0, start - 20)
    return _window(old, start, max(0, end - 20)), _window(new, start, max(0, end - 20))


def _window(text: str, start: int, end: int) -> str:
    inner = text[start : len(text) - end]
    inner = inner if len(inner) <= SHOWN else f"{inner[: SHOWN - 1]}…"
    return f"{'…' if start else ''}{inner}{'…' if end and not inner.endswith('…') else ''}" if text != GONE else text


def _code(text: str) -> str:
    return text if text == GONE else code(text)


def _noise(comparison: Comparison) -> Iterator[Section]:
    by_noise: dict[tuple[str, str], set[str]] = defaultdict(set)
    for change in comparison.changes:
        for noise in {leaf.noise for leaf in change.leaves if leaf.noise} | (
            {change.noise} if change.noise and not change.leaves else set()
        ):
            by_noise[noise, change.path].add(change.environment)
    if not by_noise:
        return
    count = len({path for _, path in by_noise})
    rows = [
        f"- {noise}: {code(path)} ({', '.join(sorted(environments, key=importance))})"
        for (noise, path), environments in sorted(by_noise.items())
    ]
    yield Section(
        [f"<details><summary>Noise: code hashes, tags, metadata, versions ({_number(count, 'resource')})</summary>", ""],
        rows,
        ["", "</details>"],
    )


def _cut(sections: list[Section], limit: int, whole: str) -> str:
    """As many rows as fit, from the first sections to the last."""
    left = "\n\n**Shortened: {} rows are omitted**" + (f"; the full report is {whole}." if whole else ".") + "\n"
    room = limit - len(left) - 10
    kept: list[str] = []
    missing = 0
    for section in sections:
        rows = len(section.rows)
        while rows and len(section.text(rows)) + 2 > room:
            rows = rows * 9 // 10
        text = section.text(rows)
        missing += len(section.rows) - rows
        if len(text) + 2 <= room and (rows or not section.rows):
            kept.append(text)
            room -= len(text) + 2
        else:
            missing += rows
            room = 0
    return "\n\n".join(kept) + left.format(missing)
