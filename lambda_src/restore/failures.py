"""The objects that a load refused, each with the server's message and a remedy.

pg_restore goes on after an error, prints the first 128 characters of the refused statement (pg_backup_db.c, DB_MAX_ERR_STMT), and says at
the end that it ignored errors. Without this line, or with an error of another kind, the load was cut short and nothing of it counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from restore.table_of_contents import Entry

_IGNORED = re.compile(r"^pg_restore: warning: errors ignored on restore: \d+$", re.MULTILINE)
_FAILURE = re.compile(
    r'^pg_restore: error: (?:COPY failed for table "(?P<table>[^\n]*)"|could not execute query): ERROR: +(?P<error>.*?)'
    r"(?:\nCommand was: (?P<command>.*?))?(?=\n+pg_restore: |\Z)",
    re.MULTILINE | re.DOTALL,
)
# The server's resources, not the object: the whole load is to be repeated.
_RESOURCES = re.compile(
    r"No space left|File too large|could not (?:extend|write|fsync)|out of (?:shared )?memory|disk full|deadlock detected"
    r"|canceling statement|terminating connection|too many|lock timeout|the database system"
)
_HERE = re.compile(r"ICU is not supported|extension .* is not available|could not (?:load library|access file|open extension control file)")
_FUNCTION = re.compile(
    r'^(?:CONTEXT:  )?(?:PL/pgSQL|SQL) function "?(?P<name>[^\n"]+?\)|[^\n"]+)"? (?:line|statement|during)', re.MULTILINE
)


class Failure(NamedTuple):
    """`name` is empty if the statement is no object's own. `here`: this server lacks something, which says nothing about the backup."""

    title: str
    name: str
    error: str
    remedy: str
    here: bool

    def __str__(self) -> str:
        return f"{self.title}: {self.error.splitlines()[0]}. {self.remedy}"


def is_complete(messages: str) -> bool:
    """Whether pg_restore tried every entry, and each of its errors is about one object."""
    found = list(_FAILURE.finditer(messages))
    explained = len(found) == len(re.findall(r"^pg_restore: error: ", messages, re.MULTILINE))
    return explained and _IGNORED.search(messages) is not None and not any(_RESOURCES.search(match["error"]) for match in found)


def of_pg_restore(messages: Iterable[str], entries: Collection[Entry]) -> list[Failure]:
    """The failures in the messages of complete runs of pg_restore; `entries` are the archive's."""
    found: list[Failure] = []
    for match in (match for text in messages for match in _FAILURE.finditer(text)):
        title, name = _object(match, entries)
        error = match["error"].strip()
        cause = next((one for one in found if one.name and one.name != name and _mentions(error, one.name)), None)
        remedy = f"It needs {cause.title}, which failed" if cause else _remedy(error)
        found.append(Failure(title, name, error, remedy, cause.here if cause else bool(_HERE.search(error))))
    return found


def unexplained(differences: Iterable[str], failures: Iterable[Failure]) -> list[str]:
    """The differences that are no consequence of a failure: their first line names none of the failed objects."""
    words = {word for failure in failures for word in _words(failure.name)}
    return [line for line in differences if not words & set(_words(line.splitlines()[0]))]


def _object(match: re.Match[str], entries: Iterable[Entry]) -> tuple[str, str]:
    """Title and name of the object that pg_restore was about."""
    command = (match["command"] or "").strip().removesuffix("...")
    for entry in entries:
        if match["table"] and (entry.kind, entry.name) == ("TABLE DATA", match["table"]):
            return entry.title, entry.name
        if command and command in entry.definition:
            return entry.title, entry.name.split("(")[0]
    return (
        (f"rows of table {match['table']}", match["table"])
        if match["table"]
        else (command.splitlines()[0] if command else "a statement", "")
    )


def _mentions(error: str, name: str) -> bool:
    """Whether the first line of the message is about the object: `relation "public.people" does not exist`."""
    quoted = re.findall(r'"([^"]*)"', error.splitlines()[0])
    return any(text.split(".")[-1] == name.split(" ")[0] for text in quoted)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w$]+", text)


def _remedy(error: str) -> str:
    if _HERE.search(error):
        return "This server lacks what the object needs: restore into one that has it"
    if "does not exist" in error and (function := _FUNCTION.search(error)):
        return (
            f"Function {function['name']} needs a search path of its own: it is empty while a dump is loaded. In the source database: "
            f"ALTER FUNCTION {function['name']} SET search_path = public, pg_temp (the schemas it uses); then make a new backup"
        )
    if re.search(r'role "[^"]*" does not exist', error):
        return "Create the role on the server, as in the backup's roles.sql"
    if "violates" in error:
        return (
            "The rows do not satisfy this constraint, or it reads other tables: correct it in the source database, then make a new backup"
        )
    return "Correct the object in the source database, then make a new backup"
