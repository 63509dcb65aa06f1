"""Compare a restored database with its backup, by meaning: facts of the manifest, content of every table, definitions.

The facts and the content are exact. Definitions have more than one text (`definitions`), so a database that differs only there may be
right: the caller keeps it. Everything here needs the privileges of the restoring role only.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from backup import snapshot
from common.backup_manifest import Manifest
from pg8000.native import Connection

from restore import data, definitions
from restore.loading import Server, Tick
from restore.source import Source
from restore.table_of_contents import TableOfContents

_SHOWN = 5

Scratch = Callable[[], AbstractContextManager[str]]  # an empty database, by name, for as long as the context lasts


def facts(connection: Connection, backup: Manifest) -> list[str]:
    """Describe what differs from the manifest's facts: rows of tables, sequences, extensions, large objects."""
    with data.unforced(connection):
        rows = snapshot.count(connection)
    found = snapshot.facts(connection)
    wrong = _compare("table", "rows", backup.tables, rows)
    wrong += _compare("sequence", "value", backup.sequences, snapshot.sequences(connection))
    missing = sorted(backup.extensions.keys() ^ found.extensions.keys())
    wrong += [f"extension {name} is {'missing' if name in backup.extensions else 'not in the backup'}" for name in missing]
    if found.large_objects != backup.large_objects:
        wrong.append(f"{found.large_objects} large objects instead of {backup.large_objects}")
    wrong += [f"index {name} is invalid" for name in found.invalid_indexes]
    return wrong


def content(server: Server, database: str, source: Source, tick: Tick, *, both: bool = False) -> list[str]:
    """Describe the tables and large objects whose content differs from the backup's. Reads both sides at the same time if it can."""
    with ThreadPoolExecutor(1) as worker:
        wanted = worker.submit(source.content, tick, both=both)
        actual = data.of_database(server, database, source.copies() or wanted.result(), tick)
        return data.differences(wanted.result(), actual)


def definition_differences(server: Server, database: str, source: Source, scratch: Scratch, *, jobs: int, tick: Tick) -> list[str]:
    """Describe the objects whose definition, owner or privileges differ, each with a diff."""

    def settled() -> TableOfContents:
        with scratch() as name:
            source.load_definitions(server, name, jobs=jobs, tick=tick)
            return definitions.of_database(server, name)

    return definitions.differences(source.definitions(), definitions.of_database(server, database), settled)


def shown(wrong: list[str]) -> str:
    """The differences as a list for a message, the first of them in full."""
    lines = wrong[:_SHOWN] + ([f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else [])
    return "\n".join(f"- {line}" for line in lines)


def _compare(kind: str, what: str, wanted: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    wrong = [f"{kind} {name} is missing" for name in sorted(wanted.keys() - actual.keys())]
    wrong += [f"{kind} {name} is not in the backup" for name in sorted(actual.keys() - wanted.keys())]
    wrong += [
        f"{kind} {name} has {what} {actual[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & actual.keys())
        if wanted[name] != actual[name]
    ]
    return wrong if len(wrong) <= _SHOWN else [*wrong[:_SHOWN], f"and {len(wrong) - _SHOWN} more {kind}s"]
