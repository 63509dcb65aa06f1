"""Findings: figures of a report that need attention, as sentences."""

from __future__ import annotations

from typing import Any

SEQUENCE_PERCENT = 70
TRANSACTION_ID_PERCENT = 25  # autovacuum begins to freeze at 10 %; above this it does not keep up
UNUSED_BYTES = 10_000_000
BLOAT_BYTES, BLOAT_PERCENT = 100_000_000, 50
STALE_SHARE = 0.2  # of the rows changed since ANALYZE
SLOWER_PERCENT = 50


def findings(report: dict[str, Any]) -> list[str]:
    """Most serious first."""
    facts, work = report["facts"], report["work"]
    found = [f"{row['task'].upper()} {row['object']} failed: {row['reason']}" for row in work["failed"]]
    ids = facts["transaction_ids"]
    found += [
        f"Transaction ids of database {row['name']} are {row['used_percent']} % used up: a transaction or slot prevents freezing"
        for row in rows(ids.get("databases"))
        if row["used_percent"] >= TRANSACTION_ID_PERCENT
    ]
    found += [
        f"Sequence {row['name']} is {row['used_percent']} % used up" + (f" and feeds {row['feeds']}" if row["feeds"] else "")
        for row in rows(facts["sequences"])
        if row["used_percent"] >= SEQUENCE_PERCENT
    ]
    found += [
        f"Index {row['name']} of {row['of_table']} is invalid: it slows down writes, and no query uses it"
        for row in rows(facts["invalid_indexes"])
    ]
    found += [
        f"Statistics of {row['name']} are stale: {row['changed_since_analyze']:,} of {row['rows']:,} rows changed since ANALYZE"
        for row in rows(facts["tables"])
        if row["changed_since_analyze"] and row["changed_since_analyze"] > max(1_000, STALE_SHARE * row["rows"])
    ]
    found += [
        f"Index {row['name']} was never used since {facts['database'].get('counted_since') or facts['database'].get('started_at')} "
        f"and takes {size(row['bytes'])}"
        for row in rows(facts["unused_indexes"])
        if row["bytes"] >= UNUSED_BYTES
    ]
    found += [
        f"{row['wasted_percent']} % of table {row['name']}, {size(row['wasted_bytes'])}, are free or dead: "
        "VACUUM keeps the space for new rows; only a rewrite returns it"
        for row in rows(facts["table_bloat"])
        if row["wasted_bytes"] >= BLOAT_BYTES and row["wasted_percent"] >= BLOAT_PERCENT
    ]
    found += [
        f"A statement ran {row['mean_ms']:,.1f} ms on average, {row['mean_ms_before']:,.1f} ms in the last report: {row['statement'][:120]}"
        for row in rows(facts["slowest_statements"])
        if row["mean_ms_before"] and row["mean_ms"] > row["mean_ms_before"] * (1 + SLOWER_PERCENT / 100)
    ]
    if work["remaining"]:
        found.append(
            f"Not finished, the next run continues: {len(work['remaining'])} objects remain, first {', '.join(work['remaining'][:5])}"
        )
    found += [f"This report lacks {name.replace('_', ' ')}: {part['unavailable']}" for name, part in facts.items() if missing(part)]
    return found


def missing(part: Any) -> bool:
    return isinstance(part, dict) and "unavailable" in part


def rows(part: Any) -> list[dict[str, Any]]:
    """The rows of a part; none if it is unavailable, which is a separate finding."""
    return part if isinstance(part, list) else []


def size(number: float) -> str:
    """Bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
