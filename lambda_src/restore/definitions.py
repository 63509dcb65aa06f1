"""Compare definitions, owners and privileges by their meaning.

The text of a definition is not stable: PostgreSQL prints `varchar IN (…)`, a nested BETWEEN and others differently after a dump and
restore (FIELD_NOTES: 15 of 45 constructs; the second round trip is stable). So an object is right if it equals the one of the backup's
table of contents, or what the same backup's schema alone becomes in an empty scratch database. Only the first comparison is made when
it finds no difference.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import NamedTuple

from common import client_tools

from restore import LoadFailed, table_of_contents
from restore.loading import Server
from restore.table_of_contents import Entry, TableOfContents

# Of the archive or of the database itself, whose name and locale differ by intention; data is compared by content.
_NOT_COMPARED = {
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "DATABASE",
    "DATABASE PROPERTIES",
    "TABLE DATA",
    "SEQUENCE SET",
    "MATERIALIZED VIEW DATA",
    "BLOBS",
    "STATISTICS DATA",
}
_LARGE_OBJECTS = ("BLOB", "LARGE OBJECT")
_LINES = 40  # of a difference

Key = tuple[str, str, str]


class _Object(NamedTuple):
    owner: str
    definition: str
    tablespace: str
    access_method: str


def of_database(server: Server, database: str, *options: str) -> TableOfContents:
    """The definitions in a database, as pg_dump finds them."""
    arguments = ["--format=custom", "--compress=0", "--schema-only", "--no-password", "--lock-wait-timeout=60s", *options]
    variables = client_tools.environment(**server.variables(database))
    with closing(client_tools.ClientProcess("pg_dump", *arguments, variables=variables)) as process:
        output = process.output(lambda failure: LoadFailed(f"The definitions of {database} cannot be read: {failure}"))
        found = table_of_contents.of_stream(output)
        for _ in output:  # until its exit status
            pass
        return found


def differences(backup: TableOfContents | None, restored: TableOfContents, scratch: Callable[[], TableOfContents]) -> list[str]:
    """Describe each object that differs, with a diff. `scratch` is called only if `backup` (an archive's) does not settle it."""
    if backup is not None and not compare(backup, restored):
        return []
    settled = scratch()
    wrong = compare(settled, restored)
    if backup is not None and _major(backup) == _major(restored):
        lost = _objects(backup).keys() - _objects(restored).keys() - _objects(settled).keys()
        wrong += [f"{_title(key)} is missing" for key in sorted(lost)]
    return wrong


def compare(wanted: TableOfContents, actual: TableOfContents) -> list[str]:
    """Describe what differs between two databases."""
    before, after = _objects(wanted), _objects(actual)
    wrong = [f"{_title(key)} is missing" for key in sorted(before.keys() - after.keys())]
    wrong += [f"{_title(key)} is not in the backup" for key in sorted(after.keys() - before.keys())]
    for key in sorted(before.keys() & after.keys()):
        if before[key] != after[key]:
            wrong.append(_difference(_title(key), before[key], after[key]))
    return wrong


def _objects(found: TableOfContents) -> dict[Key, list[_Object]]:
    """The objects by kind, schema and name; operators and others of one name are a list."""
    objects: dict[Key, list[_Object]] = defaultdict(list)
    for entry in found.entries:
        if entry.kind in _NOT_COMPARED or entry.kind.startswith(_LARGE_OBJECTS) or _of_database(entry):
            continue
        objects[entry.kind, entry.schema, entry.name].append(_Object(entry.owner, entry.definition, entry.tablespace, entry.access_method))
    return {key: sorted(group) for key, group in objects.items()}


def _of_database(entry: Entry) -> bool:
    return entry.kind in ("ACL", "COMMENT", "SECURITY LABEL") and entry.name.startswith(("DATABASE ", *_LARGE_OBJECTS))


def _major(found: TableOfContents) -> str:
    return found.server_version.split(".")[0]


def _title(key: Key) -> str:
    kind, schema, name = key
    if kind == "ACL":
        kind, name = "privileges of", name if not schema else name.replace(" ", f" {schema}.", 1)
        return f"{kind} {name}"
    return f"{kind} {schema}.{name}" if schema else f"{kind} {name}"


def _difference(title: str, wanted: Iterable[_Object], actual: Iterable[_Object]) -> str:
    lines = list(
        difflib.unified_diff(_lines(wanted), _lines(actual), fromfile="in the backup", tofile="in the restored database", lineterm="", n=1)
    )
    shown = lines[:_LINES] + ([f"… and {len(lines) - _LINES} more lines"] if len(lines) > _LINES else [])
    return "\n".join([f"{title} differs:", *shown])


def _lines(objects: Iterable[_Object]) -> list[str]:
    lines = []
    for one in objects:
        for what in ("owner", "tablespace", "access_method"):
            if value := getattr(one, what):
                lines.append(f"{what.replace('_', ' ')}: {value}")
        lines += one.definition.rstrip("\n").split("\n")
    return lines
