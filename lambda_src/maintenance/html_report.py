"""The report as one self-contained HTML document without scripts, in light or dark mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from maintenance.findings import missing, rows, size

Column = tuple[str, str, Callable[[Any], str]]  # heading, key, format

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5b6b7a; --paper: #fbfcfd; --card: #fff; --line: #dde4ea; --warn: #9a4a00;
  --warn-paper: #fff5e9; --good: #14693b; --good-paper: #edf8f1; --bar: #cfe3f7 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #9aa9b7; --paper: #10161c; --card: #171f27; --line: #2b3742;
  --warn: #f3b26b; --warn-paper: #2c2115; --good: #7ed3a1; --good-paper: #14271c; --bar: #24445f } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; letter-spacing: -.01em } h2 { font-size: 1.1rem; margin: 2.25rem 0 .25rem }
p { margin: .25rem 0 .75rem } .soft { color: var(--soft) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem .9rem }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums } .card span { color: var(--soft); font-size: .85rem }
.findings { border-left: 4px solid var(--warn); background: var(--warn-paper); padding: .75rem 1rem .75rem 2rem;
  border-radius: 0 .5rem .5rem 0; margin: 0 }
.findings li { margin: .2rem 0; overflow-wrap: anywhere } .findings li::marker { color: var(--warn) }
.well { border-left: 4px solid var(--good); background: var(--good-paper); padding: .75rem 1rem; border-radius: 0 .5rem .5rem 0; margin: 0 }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem }
table { border-collapse: collapse; width: 100%; font-size: .875rem } th, td { padding: .4rem .75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line) }
tr:last-child td { border-bottom: 0 } th { color: var(--soft); font-weight: 600; white-space: nowrap } td.n, th.n { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap }
td code { font: .8rem/1.4 ui-monospace, "SF Mono", Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.bar { display: inline-block; height: .55rem; border-radius: .3rem; background: var(--bar); margin-right: .5rem; min-width: 2px }
"""


def render(report: dict[str, Any]) -> str:
    """The report as HTML. Escapes every name, statement and message."""
    facts, work = report["facts"], report["work"]
    about = facts["database"]
    kind = report["kind"].capitalize()
    title = f"{kind} maintenance of {about.get('name', 'the database')}, {report['environment']}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subtitle(report))}</p>',
        _cards(report),
        _findings(report["findings"]),
        _baseline(facts["baseline"]),
        _section(
            "Slowest statements",
            "By mean time, without backup, maintenance and monitoring; since the counters were last reset.",
            facts["slowest_statements"],
            _STATEMENTS,
        ),
        _section("Costliest statements", "By total time.", facts["costliest_statements"], _STATEMENTS),
        _section("Unused indexes", _unused_note(about), facts["unused_indexes"], _UNUSED),
        _section("Invalid indexes", "", facts["invalid_indexes"], _INVALID),
        _section(
            "Bloat of indexes",
            "Compared with the fill factor; measured with pgstattuple, B-trees only.",
            facts["index_bloat"],
            _BLOAT,
        ),
        _section(
            "Bloat of tables",
            "Dead rows and free space. New rows use free space.",
            facts["table_bloat"],
            _BLOAT,
        ),
        _section("Tables", "Sizes as of the last VACUUM; age of statistics in hours.", facts["tables"], _TABLES, 40),
        _section("Sequences", "Used share of the range of the sequence and its columns.", facts["sequences"], _SEQUENCES),
        _section(
            "Transaction ids, databases", "At 100 % PostgreSQL stops taking writes.", _within(facts["transaction_ids"], "databases"), _IDS
        ),
        _section("Transaction ids, oldest tables", "", _within(facts["transaction_ids"], "tables"), _TABLE_IDS),
        _section(
            "Actions", "", [*work["done"], *[row | {"note": row["reason"]} for row in (*work["failed"], *work["skipped"])]], _DONE, 40
        ),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def _text(value: Any) -> str:
    return "–" if value is None else escape(str(value))


def _code(value: Any) -> str:
    return f"<code>{_text(value)}</code>"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{1 if abs(value) >= 10 else 2}f}"


def _bytes(value: Any) -> str:
    return "–" if value is None else size(value)


def _formatted(value: Any) -> str:
    """A number that is already text."""
    return _text(value)


def _percent(value: Any) -> str:
    return "–" if value is None else f'<i class="bar" style="width:{min(100, max(0, value)) * 0.06:.2f}rem"></i>{value:,.1f} %'


_DONE: list[Column] = [
    ("Task", "task", _text), ("Object", "object", _code), ("Seconds", "seconds", _number), ("Before", "bytes_before", _bytes),
    ("After", "bytes_after", _bytes), ("Note", "note", _text),
]  # fmt: skip
_STATEMENTS: list[Column] = [
    ("Statement", "statement", _code), ("Role", "role", _text), ("Calls", "calls", _number), ("Mean ms", "mean_ms", _number),
    ("Last report", "mean_ms_before", _number), ("Max ms", "max_ms", _number), ("Total ms", "total_ms", _number),
    ("From cache", "cache_hit_percent", _percent),
]  # fmt: skip
_UNUSED: list[Column] = [
    ("Index", "name", _code),
    ("Table", "of_table", _code),
    ("Size", "bytes", _bytes),
    ("Definition", "definition", _code),
]
_INVALID: list[Column] = [("Index", "name", _code), ("Table", "of_table", _code), ("Leftover of a rebuild", "left_over", _text)]
_BLOAT: list[Column] = [
    ("Name", "name", _code), ("Size", "bytes", _bytes), ("Wasted", "wasted_bytes", _bytes), ("Share", "wasted_percent", _percent),
]  # fmt: skip
_TABLES: list[Column] = [
    ("Table", "name", _code), ("Part of", "part_of", _code), ("Rows", "rows", _number), ("Heap", "heap_bytes", _bytes),
    ("TOAST", "toast_bytes", _bytes), ("Indexes", "index_bytes", _bytes), ("Dead rows", "dead_rows", _number),
    ("Changed", "changed_since_analyze", _number), ("Analyzed", "analyzed_hours_ago", _number), ("Vacuumed", "vacuumed_hours_ago", _number),
]  # fmt: skip
_SEQUENCES: list[Column] = [
    ("Sequence", "name", _code), ("Feeds", "feeds", _code), ("Last value", "last_value", _number), ("Limit", "limit", _number),
    ("Used", "used_percent", _percent),
]  # fmt: skip
_IDS: list[Column] = [
    ("Database", "name", _code), ("Age", "age", _number), ("Multixact age", "multixact_age", _number), ("Used", "used_percent", _percent),
]  # fmt: skip
_TABLE_IDS: list[Column] = [("Table", "name", _code), ("Age", "age", _number)]
_NUMERIC = (_number, _bytes, _percent, _formatted)


def _section(heading: str, note: str, part: Any, columns: Sequence[Column], limit: int = 20) -> str:
    found = rows(part)
    text = f"<h2>{escape(heading)}</h2>" + (f'<p class="soft">{escape(note)}</p>' if note else "")
    if missing(part):
        return text + f"<p>Not available: {escape(part['unavailable'])}</p>"
    if not found:
        return text + "<p>None.</p>"
    columns = [column for column in columns if any(row.get(column[1]) is not None for row in found)]
    head = "".join(f'<th class="n">{escape(name)}</th>' if show in _NUMERIC else f"<th>{escape(name)}</th>" for name, _, show in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="n">{show(row.get(key))}</td>' if show in _NUMERIC else f"<td>{show(row.get(key))}</td>" for _, key, show in columns
        )
        + "</tr>"
        for row in found[:limit]
    )
    more = f'<p class="soft">and {len(found) - limit:,} more in the JSON report</p>' if len(found) > limit else ""
    return f'{text}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _subtitle(report: dict[str, Any]) -> str:
    about = report["facts"]["database"]
    return (
        f"{about.get('taken_at', report['stamp'])[:16].replace('T', ' ')} UTC, PostgreSQL {about.get('server_version', '?')}, "
        f"run {report['run']} of the cycle that began "
        f"{report['cycle_started_at'][:16].replace('T', ' ')} UTC, {'finished' if report['finished'] else 'not finished'}"
    )


def _cards(report: dict[str, Any]) -> str:
    work, facts = report["work"], report["facts"]
    transaction_ids = rows(_within(facts["transaction_ids"], "databases"))
    shown = [
        (_bytes(facts["database"].get("bytes")), "database"),
        (f"{len(work['done']):,}", "objects maintained"),
        (f"{len(work['skipped']) + len(work['failed']):,}", "skipped or failed"),
        (_bytes(work["reclaimed_bytes"]), "reclaimed from indexes"),
        (f"{max((row['used_percent'] for row in rows(facts['sequences'])), default=0):,.1f} %", "fullest sequence"),
        (f"{max((row['used_percent'] for row in transaction_ids), default=0):,.1f} %", "transaction ids used"),
    ]
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in shown)
        + "</div>"
    )


def _findings(found: list[str]) -> str:
    heading = "<h2>What needs attention</h2>"
    if not found:
        return heading + '<p class="well">Nothing.</p>'
    return heading + '<ul class="findings">' + "".join(f"<li>{escape(line)}</li>" for line in found) + "</ul>"


def _baseline(part: dict[str, Any]) -> str:
    if missing(part):
        return _section("Performance baseline", "", part, [])
    before, change = part["before"] or {}, part["change_percent"]
    lines = [
        {
            "name": name.replace("_", " "),
            "now": _measure(name, value),
            "before": _measure(name, before.get(name)),
            "change": change.get(name),
        }
        for name, value in part["values"].items()
    ]
    columns: list[Column] = [
        ("Measure", "name", _text),
        ("Now", "now", _formatted),
        ("Last report", "before", _formatted),
        ("Change %", "change", _number),
    ]
    note = f"Over {_number(part['days'])} days." + ("" if before else " There is no earlier report to compare with.")
    return _section("Performance baseline", note, lines, columns)


def _measure(name: str, value: float | None) -> str:
    return _bytes(value) if "bytes" in name else _number(value)


def _unused_note(about: dict[str, Any]) -> str:
    since = about.get("counted_since") or f"the server's start, {about.get('started_at', '?')}"
    return f"Never scanned since {since}; without unique and constraint indexes. A standby has separate counters."


def _within(part: dict[str, Any], key: str) -> Any:
    return part if missing(part) else part[key]
