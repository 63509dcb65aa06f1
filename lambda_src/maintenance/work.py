"""The work itself: one object, one statement, one transaction at a time, online only, within the time left.

Whatever stops a statement (a lock, a time-out, an error of the object's own) is noted and the next object is taken;
only a lost connection ends a run. What is left is still due by the server's own statistics, so the next run finds it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.scrubbed_logs import scrubbed_logger
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from maintenance import catalogue
from maintenance.state import State

logger = scrubbed_logger()

_LOCKED, _CANCELED, _GONE = "55P03", "57014", ("42P01", "42704")
_MEASURING_SHARE = 0.4  # of the time left: the rest is for rebuilding
_REBUILT_BYTES_PER_SECOND = 10_000_000  # a low guess: what is not begun need not be cleaned up
_LEAST_SECONDS = 2  # what is not worth beginning with


@dataclass(frozen=True)
class Settings:
    """Of the maintenance functions. An index with keys in random order settles at 25 % waste: below 40 it would be rebuilt forever."""

    index_bloat_percent: float = 40
    min_index_mb: float = 8
    lock_seconds: float = 5  # for a table's lock; others queue behind us no longer than that
    drop_lock_seconds: float = 1  # for dropping a left-over where that takes the strongest lock
    wait_seconds: float = 60  # a rebuild waits for open transactions, blocking nobody
    statement_seconds: float = 600
    reserve_seconds: float = 60  # kept for cleaning up and the report

    @classmethod
    def from_environment(cls) -> Settings:
        """`MAINTENANCE_INDEX_BLOAT_PERCENT` and so on; what is not set keeps its default."""
        variables = {name: f"MAINTENANCE_{name.upper()}" for name in cls.__annotations__}
        return cls(**{name: float(os.environ[variable]) for name, variable in variables.items() if variable in os.environ})


class Deadline:
    """The moment until which statements may run; none outside Lambda."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def less(self, seconds: float) -> Deadline:
        """An earlier one."""
        return Deadline(None if self._end is None else self.left() - seconds)

    def left(self) -> float:
        return 86_400 if self._end is None else self._end - time.monotonic()


@dataclass
class Outcome:
    done: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)  # may succeed next time
    failed: list[dict[str, str]] = field(default_factory=list)
    left_overs: list[str] = field(default_factory=list)  # dropped
    reclaimed_bytes: int = 0
    remaining: list[str] = field(default_factory=list)  # still due in this cycle


class Work:
    """One run. `actor` is carmen_maintenance and changes things; `reader` is carmen_monitor and measures. Both autocommit."""

    def __init__(
        self, actor: Connection, reader: Connection, *, settings: Settings, state: State, deadline: Deadline, save: Callable[[], None]
    ) -> None:
        self._actor, self._reader = actor, reader
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
        due = catalogue.tables_due(self._actor, self._state.cycle_started_at, vacuum=vacuum)
        for table in sorted(due, key=lambda table: table.name in self._state.late):
            if self._deadline.left() < _LEAST_SECONDS:
                return
            task = table.statement.split(" ", 1)[0].lower()
            reason = self._attempt(task, table.name, table.statement, lock_seconds=self._settings.lock_seconds)
            if reason == _CANCELED and table.name not in self._state.late:
                self._state.late.append(table.name)

    def _measure(self) -> None:
        """How much of each B-tree is air: reads the whole index, so only those of a size that matters, once a cycle."""
        schema = catalogue.extension_schema(self._reader, "pgstattuple")
        if schema is None:
            self.outcome.failed.append({"task": "measure", "object": "all indexes", "reason": "extension pgstattuple is not there"})
            return
        end = Deadline(self._deadline.left() * _MEASURING_SHARE)
        for index in catalogue.indexes(self._actor):
            if not self._worth_measuring(index) or index.name in self._state.measured:
                continue
            if end.left() < _LEAST_SECONDS:
                return
            self._limit(self._reader, min(end.left(), self._settings.statement_seconds), self._settings.lock_seconds)
            try:
                measured = catalogue.measure(self._reader, schema, index)
            except DatabaseError as error:
                if _code(error) not in _GONE:
                    self.outcome.skipped.append({"task": "measure", "object": index.name, "reason": _reason(error)})
                continue
            if measured:
                self._state.measured[index.name] = measured
                self._save_now_and_then()

    def _rebuild(self) -> None:
        known = {index.name: index for index in catalogue.indexes(self._actor)}
        for name in self._to_rebuild(known):
            index = known[name]
            measured = self._state.measured.get(name, {"bytes": index.bytes, "wasted": 100.0})
            left = self._deadline.left()
            if left < max(_LEAST_SECONDS, measured["bytes"] / _REBUILT_BYTES_PER_SECOND):
                self._skip("reindex", name, f"{measured['bytes'] / 1e6:,.0f} MB would not be done in the {max(left, 0):.0f} s left")
                continue
            if waiting := self._open_transaction():
                self._skip("reindex", name, waiting)
                continue
            wait = self._settings.wait_seconds
            if self._attempt("reindex", name, f"REINDEX INDEX CONCURRENTLY {name}", lock_seconds=wait) is None:
                self._after_rebuild(name, measured["bytes"])
            self._save_now_and_then()

    def _after_rebuild(self, name: str, before: float) -> None:
        """A second look: what a fresh index wastes is its nature, and no reason to rebuild it next week."""
        schema = catalogue.extension_schema(self._reader, "pgstattuple")
        index = next((index for index in catalogue.indexes(self._actor) if index.name == name), None)
        if index is None:
            return
        after = catalogue.measure(self._reader, schema, index) if schema and index.measurable else None
        after = after or {"bytes": float(index.bytes), "wasted": 0.0}
        self._state.measured[name] = after
        self._state.floors[name] = after["wasted"]
        self.outcome.done[-1] |= {"bytes_before": int(before), "bytes_after": int(after["bytes"])}
        self.outcome.reclaimed_bytes += max(0, int(before - after["bytes"]))

    def _to_rebuild(self, known: dict[str, catalogue.Index]) -> list[str]:
        """Invalid ones first, then those with most to win."""
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
        for name, statement in catalogue.left_over_indexes(self._actor):
            lock = self._settings.wait_seconds if statement.startswith("DROP") else self._settings.drop_lock_seconds
            if self._attempt("drop", name, statement, lock_seconds=lock, within=seconds) is None:
                self.outcome.left_overs.append(name)

    def _remaining(self, *, vacuum: bool) -> list[str]:
        left = [table.name for table in catalogue.tables_due(self._actor, self._state.cycle_started_at, vacuum=vacuum)]
        if vacuum:
            known = {index.name: index for index in catalogue.indexes(self._actor)}
            left += self._to_rebuild(known)
            left += [index.name for index in known.values() if self._worth_measuring(index) and index.name not in self._state.measured]
            left += [name for name, _ in catalogue.left_over_indexes(self._actor)]
        return left

    def _worth_measuring(self, index: catalogue.Index) -> bool:
        return index.measurable and index.valid and index.bytes >= self._settings.min_index_mb * 1_000_000

    def _open_transaction(self) -> str | None:
        """A rebuild would wait for it, and time out: not begun, it leaves nothing to clean up."""
        rows = self._reader.run(
            """SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::int FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
                  AND clock_timestamp() - xact_start > make_interval(secs => :wait) AND backend_type = 'client backend'
                ORDER BY xact_start LIMIT 1""",
            wait=self._settings.wait_seconds,
        )
        return f"process {rows[0][0]} ({rows[0][1] or 'no name'}) keeps a transaction open for {rows[0][2]} s" if rows else None

    def _attempt(self, task: str, name: str, statement: str, *, lock_seconds: float, within: float | None = None) -> str | None:
        """Runs it; what it came to is noted. None when it was done, else the error's code (locked, cancelled, …)."""
        limit = min(self._settings.statement_seconds, self._deadline.left() if within is None else within)
        self._limit(self._actor, limit, lock_seconds)
        self._actor.notices.clear()
        start = time.monotonic()
        try:
            self._actor.run(statement)
            warned = [
                notice
                for notice in self._actor.notices
                if notice.get(b"S") == b"WARNING" and notice.get(b"C") in (b"55P03", b"01000", b"42501")
            ]
        except DatabaseError as error:
            code = _code(error)
            if code in (_LOCKED, _CANCELED):
                self._skip(task, name, _reason(error) if code == _LOCKED else f"not done within {limit:.0f} s")
            elif code not in _GONE:
                self.outcome.failed.append({"task": task, "object": name, "reason": _reason(error)})
                logger.warning("could not be maintained", task=task, object=name, reason=_reason(error))
            return code
        finally:
            self._actor.run("SET statement_timeout = 0")
        skipped = next((notice for notice in warned if b"skipping" in notice.get(b"M", b"")), None)
        if skipped:
            self._skip(task, name, skipped[b"M"].decode(errors="replace"))
            return _LOCKED
        self.outcome.done.append({"task": task, "object": name, "seconds": round(time.monotonic() - start, 3)})
        return None

    def _skip(self, task: str, name: str, reason: str) -> None:
        self.outcome.skipped.append({"task": task, "object": name, "reason": reason})
        logger.info("left for the next run", task=task, object=name, reason=reason)

    def _limit(self, connection: Connection, seconds: float, lock_seconds: float) -> None:
        connection.run(f"SET statement_timeout = {max(1, int(seconds * 1000))}")
        connection.run(f"SET lock_timeout = {max(1, int(lock_seconds * 1000))}")

    def _save_now_and_then(self) -> None:
        """So that a run that is killed has not measured for nothing."""
        if time.monotonic() - self._saved > 30:
            self._save()
            self._saved = time.monotonic()


def _code(error: DatabaseError) -> str:
    return str(error.args[0].get("C", "")) if error.args and isinstance(error.args[0], dict) else ""


def _reason(error: DatabaseError) -> str:
    return str(error.args[0].get("M", error)) if error.args and isinstance(error.args[0], dict) else str(error)
