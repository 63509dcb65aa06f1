"""The objects that a load refused, each with the server's message and a remedy.

pg_restore names the entry of each error and goes on ("from TOC entry …", warn_or_exit_horribly in src/bin/pg_dump/pg_backup_archiver.c). Its
last line is the number of errors that it ignored: if that is missing or differs, the load was cut short and nothing of it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from restore.table_of_contents import Entry

_IGNORED = re.compile(r"^pg_restore: warning: errors ignored on restore: (\d+)$", re.MULTILINE)
_FAILURE = re.compile(
    r"^pg_restore: from TOC entry \d+; \d+ \d+ (?P<entry>.*)\n"
    r"pg_restore: error: (?:could not execute query|COPY failed for table \"[^\n]*\"): (?P<error>ERROR: .*?)\n?"
    r"(?=^Command was:|^pg_restore: |\Z)",
    re.MULTILINE | re.DOTALL,
)
# The server's resources, not the object: the whole load is to be repeated.
_RESOURCES = re.compile(
    r"No space left|File too large|could not (?:extend|write|fsync)|out of (?:shared )?memory|disk full|canceling statement|deadlock detected"
    r"|terminating connection|too many|lock timeout|the database system"
)
_HERE = re.compile(r"ICU is not supported|extension .* is not available|could not (?:load library|access file|open extension control file)")
_FUNCTION = re.compile(r'^(?:CONTEXT:  )?(?:PL/pgSQL|SQL) function "?(?P<name>[^\n"]+?\)|[^\n"]+)"? (?:line|statement|during)', re.MULTILINE)


class Failure(NamedTuple):
    """`entry` as pg_restore names it. `here`: this server lacks something, which says nothing about the backup."""

    entry: str
    error: str
    remedy: str
    here: bool

    def __str__(self) -> str:
        return f"{self.entry}: {self.error.splitlines()[0]}. {self.remedy}"


def of_pg_restore(messages: str) -> list[Failure] | None:
    """The failures in pg_restore's messages; None if they do not explain its exit status."""
    ignored, found = _IGNORED.search(messages), list(_FAILURE.finditer(messages))
    if not ignored or int(ignored[1]) != len(found) or any(_RESOURCES.search(match["error"]) for match in found):
        return None
    failures: list[Failure] = []
    for match in found:
        error = match["error"].removeprefix("ERROR: ").strip()
        cause = next((one for one in failures if _mentions(error, one.entry)), None)
        if cause:
            failures.append(Failure(match["entry"], error, f"It needs {cause.entry}, which failed", cause.here))
        else:
            failures.append(Failure(match["entry"], error, _remedy(error), bool(_HERE.search(error))))
    return failures


def names(failures: Iterable[Failure], entries: Iterable[Entry]) -> set[str]:
    """The names of the objects that failed, for telling what follows from them."""
    failed = {failure.entry for failure in failures}
    return {entry.name.split(" ")[0] for entry in entries if f"{entry.kind} {entry.name} {entry.owner}" in failed}


def _mentions(error: str, entry: str) -> bool:
    """Whether the message is about the object of an entry `KIND name owner`."""
    words = entry.split(" ")
    name = words[-2].split("(")[0] if len(words) > 2 else ""
    return bool(name) and bool(re.search(rf'"(?:[^"\s]*\.)?{re.escape(name)}"', error.splitlines()[0]))


def _remedy(error: str) -> str:
    if _HERE.search(error):
        return "This server lacks what the object needs: restore into one that has it"
    if "does not exist" in error and (function := _FUNCTION.search(error)):
        return (
            f"Function {function['name']} needs a search path of its own, because it is empty while a dump is loaded. In the source database: "
            f"ALTER FUNCTION {function['name']} SET search_path = public, pg_temp (the schemas it uses); then make a new backup"
        )
    if re.search(r'role "[^"]*" does not exist', error):
        return "Create the role on the server, as in the backup's roles.sql"
    if "violates" in error:
        return "The rows do not satisfy their own constraint, or it reads other tables: correct it in the source database, then make a new backup"
    return "Correct the object in the source database, then make a new backup"
