"""Execution of maintenance: one object, one statement and one transaction at a time, online only, within the time left.

After a lock, a time-out or another error the run continues with the next object; only a lost connection ends it. The server's
statistics still show the rest as due, so the next run finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.scrubbed_logs import scrubbed_logger
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from maintenance import catalog
from maintenance.state import State

logger = scrubbed_logger()

_LOCKED, _CANCELED, _DROPPED = "55P03", "57014", ("42P01", "42704")
_MEASURING_SHARE = 0.4  # of the time left; the rest is for rebuilds
_REBUILT_BYTES_PER_SECOND = 10_000_000  # a low estimate: an interrupted rebuild needs cleaning up
_MIN_SECONDS = 2  # with less, nothing is started


@dataclass(frozen=True)
class Settings:
    """Limits of a run. An index with random keys settles at 25 % waste: with less than 40 here it would always be rebuilt."""

    index_bloat_percent: float = 40
    min_index_mb: float = 8
    lock_seconds: float = 5  # for a table's lock; other sessions queue behind it
    drop_lock_seconds: float = 1  # for dropping a leftover index with the strongest lock
    wait_seconds: float = 60  # a rebuild waits for open transactions, without blocking others
    statement_seconds: float = 600
    reserve_seconds: float = 60  # for cleanup and report


class Deadline:
    """The time until which statements may run."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def earlier(self, seconds: float) -> Deadline:
        return Deadline(self.left() - seconds)

    def left(self) -> float:
        return self._end - time.monotonic()


@dataclass
class Outcome:
    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)  # may succeed in the next run
    failed: list[dict[str, str]] = field(default_factory=list)
    left_overs: list[str] = field(default_factory=list)  # leftover indexes that were dropped
    reclaimed_bytes: int = 0
    remaining: list[str] = field(default_factory=list)  # still due


class Runner:
    """One run. `writer` is carmen_maintenance and changes objects; `reader` is carmen_monitor and measures. Both autocommit."""

    def __init__(
        self, writer: Connection, reader: Connection, *, settings: Settings, state: State, deadline: Deadline, save: Callable[[], None]
    ) -> None:
        self._writer, self._reader = writer, reader
        self._settings, self._state, self._deadline, self._save = settings, state, deadline, save
        self._saved = time.monotonic()
        self.outcome = Outcome()

    def run(self, kind: str) -> Outcome:
        weekly = kind == "weekly"
        try:
            if weekly:
                self._clean_up(self._deadline.left())
            self._tables(vacuum=weekly)
            if weekly:
                self._measure()
                self._rebuild()
        finally:
            if weekly:
                self._clean_up(self._settings.reserve_seconds / 2)
        self.outcome.remaining = self._remaining(vacuum=weekly)
        return self.outcome

    def _tables(self, *, vacuum: bool) -> None:
        due = catalog.tables_due(self._writer, self._state.cycle_started_at, vacuum=vacuum)
        for table in sorted(due, key=lambda table: table.name in self._state.late):
            if self._deadline.left() < _MIN_SECONDS:
                return
            task = table.statement.split(" ", 1)[0].lower()
            reason = self._attempt(task, table.name, table.statement, lock_seconds=self._settings.lock_seconds)
            if reason == _CANCELED and table.name not in self._state.late:
                self._state.late.append(table.name)

    def _measure(self) -> None:
        """Measure the waste of each large B-tree, once per cycle, because this reads the whole index."""
        schema = catalog.extension_schema(self._reader, "pgstattuple")
        if schema is None:
            self.outcome.failed.append({"task": "measure", "object": "all indexes", "reason": "extension pgstattuple is not installed"})
            return
        end = Deadline(self._deadline.left() * _MEASURING_SHARE)
        for index in catalog.indexes(self._writer):
            if not self._worth_measuring(index) or index.name in self._state.measured:
                continue
            if end.left() < _MIN_SECONDS:
                return
            self._limit(self._reader, min(end.left(), self._settings.statement_seconds), self._settings.lock_seconds)
            try:
                measured = catalog.measure(self._reader, schema, index)
            except DatabaseError as error:
                if _code(error) not in _DROPPED:
                    self.outcome.skipped.append({"task": "measure", "object": index.name, "reason": _reason(error)})
                continue
            if measured:
                self._state.measured[index.name] = measured
                self._save_sometimes()

    def _rebuild(self) -> None:
        known = {index.name: index for index in catalog.indexes(self._writer)}
        for name in self._to_rebuild(known):
            index = known[name]
            measured = self._state.measured.get(name, {"bytes": index.bytes, "wasted": 100.0})
            left = self._deadline.left()
            if left < max(_MIN_SECONDS, measured["bytes"] / _REBUILT_BYTES_PER_SECOND):
                self._skip("reindex", name, f"{measured['bytes'] / 1e6:,.0f} MB need more than the {max(left, 0):.0f} s left")
                continue
            if waiting := self._open_transaction():
                self._skip("reindex", name, waiting)
                continue
            wait = self._settings.wait_seconds
            if self._attempt("reindex", name, f"REINDEX INDEX CONCURRENTLY {name}", lock_seconds=wait) is None:
                self._after_rebuild(name, measured["bytes"])
            self._save_sometimes()

    def _after_rebuild(self, name: str, before: float) -> None:
        """Measure again: the waste of a new index is no reason to rebuild it next week."""
        schema = catalog.extension_schema(self._reader, "pgstattuple")
        index = next((index for index in catalog.indexes(self._writer) if index.name == name), None)
        if index is None:
            return
        after = catalog.measure(self._reader, schema, index) if schema and index.measurable else None
        after = after or {"bytes": float(index.bytes), "wasted": 0.0}
        self._state.measured[name] = after
        self._state.floors[name] = after["wasted"]
        self.outcome.done[-1] |= {"bytes_before": int(before), "bytes_after": int(after["bytes"])}
        self.outcome.reclaimed_bytes += max(0, int(before - after["bytes"]))

    def _to_rebuild(self, known: dict[str, catalog.Index]) -> list[str]:
        """Invalid indexes first, then by wasted bytes."""
        invalid = [name for name, index in known.items() if not index.valid]
        bloated = {
            name: measured["bytes"] * measured["wasted"]
            for name, measured in self._state.measured.items()
            if name in known
            and known[name].valid
            and measured["wasted"] >= max(self._settings.index_bloat_percent, self._state.floors.get(name, 0) + 10)
        }
        return [*invalid, *sorted(bloated, key=lambda name: -bloated[name])]

    def _clean_up(self, seconds: float) -> None:
        for name, statement in catalog.leftover_indexes(self._writer):
            lock = self._settings.wait_seconds if statement.startswith("DROP") else self._settings.drop_lock_seconds
            if self._attempt("drop", name, statement, lock_seconds=lock, within=seconds) is None:
                self.outcome.left_overs.append(name)

    def _remaining(self, *, vacuum: bool) -> list[str]:
        left = [table.name for table in catalog.tables_due(self._writer, self._state.cycle_started_at, vacuum=vacuum)]
        if vacuum:
            known = {index.name: index for index in catalog.indexes(self._writer)}
            left += self._to_rebuild(known)
            left += [index.name for index in known.values() if self._worth_measuring(index) and index.name not in self._state.measured]
            left += [name for name, _ in catalog.leftover_indexes(self._writer)]
        return left

    def _worth_measuring(self, index: catalog.Index) -> bool:
        return index.measurable and index.valid and index.bytes >= self._settings.min_index_mb * 1_000_000

    def _open_transaction(self) -> str | None:
        """An open transaction for which a rebuild would wait until its time-out, and then need cleaning up."""
        rows = self._reader.run(
            """SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::int FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
                  AND clock_timestamp() - xact_start > make_interval(secs => :wait) AND backend_type = 'client backend'
                ORDER BY xact_start LIMIT 1""",
            wait=self._settings.wait_seconds,
        )
        return f"process {rows[0][0]} ({rows[0][1] or 'no name'}) keeps a transaction open for {rows[0][2]} s" if rows else None

    def _attempt(self, task: str, name: str, statement: str, *, lock_seconds: float, within: float | None = None) -> str | None:
        """Run the statement and record the outcome. Return None after success, otherwise the error code."""
        limit = min(self._settings.statement_seconds, self._deadline.left() if within is None else within)
        self._limit(self._writer, limit, lock_seconds)
        self._writer.notices.clear()
        start = time.monotonic()
        try:
            self._writer.run(statement)
            warned = [
                notice
                for notice in self._writer.notices
                if notice.get(b"S") == b"WARNING" and notice.get(b"C") in (b"55P03", b"01000", b"42501")
            ]
        except DatabaseError as error:
            code = _code(error)
            if code in (_LOCKED, _CANCELED):
                self._skip(task, name, _reason(error) if code == _LOCKED else f"not finished within {limit:.0f} s")
            elif code not in _DROPPED:
                self.outcome.failed.append({"task": task, "object": name, "reason": _reason(error)})
                logger.warning("maintenance of an object failed", task=task, object=name, reason=_reason(error))
            return code
        finally:
            self._writer.run("SET statement_timeout = 0")
        skipped = next((notice for notice in warned if b"skipping" in notice.get(b"M", b"")), None)
        if skipped:
            self._skip(task, name, skipped[b"M"].decode(errors="replace"))
            return _LOCKED
        self.outcome.done.append({"task": task, "object": name, "seconds": round(time.monotonic() - start, 3)})
        return None

    def _skip(self, task: str, name: str, reason: str) -> None:
        self.outcome.skipped.append({"task": task, "object": name, "reason": reason})
        logger.info("object skipped; will be retried in the next run", task=task, object=name, reason=reason)

    def _limit(self, connection: Connection, seconds: float, lock_seconds: float) -> None:
        connection.run(f"SET statement_timeout = {max(1, int(seconds * 1000))}")
        connection.run(f"SET lock_timeout = {max(1, int(lock_seconds * 1000))}")

    def _save_sometimes(self) -> None:
        """Save the measurements at most every 30 s, in case the run is killed."""
        if time.monotonic() - self._saved > 30:
            self._save()
            self._saved = time.monotonic()


def _code(error: DatabaseError) -> str:
    return str(error.args[0].get("C", "")) if error.args and isinstance(error.args[0], dict) else ""


def _reason(error: DatabaseError) -> str:
    return str(error.args[0].get("M", error)) if error.args and isinstance(error.args[0], dict) else str(error)
