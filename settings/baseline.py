"""Compare how much two environments protect: production must protect at least as much as staging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from settings.field_metadata import Protective, declarations, value_at
from settings.sections import Tables

COMPARED = {"prod": "staging"}


def weaker(settings: Tables, other: Tables) -> Iterator[tuple[str, Any]]:
    """Yield each key at which `settings` protects less than `other`, with the other's value."""
    for key, protective in declarations(Tables, Protective):
        theirs = value_at(other, key)
        if protective.strictness(value_at(settings, key)) < protective.strictness(theirs):
            yield key, theirs
