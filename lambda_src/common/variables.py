"""What a function is told by its environment's variables, checked."""

from __future__ import annotations

from collections.abc import Mapping


def whole_number(environment: Mapping[str, str], name: str, default: int, at_least: int, at_most: int) -> int:
    """The variable's value, or `default`. Raises ValueError that names the variable, its value and what it may be."""
    text = environment.get(name, str(default))
    if not text.isdecimal() or not at_least <= int(text) <= at_most:
        raise ValueError(f"{name}={text!r}: a whole number from {at_least} to {at_most}")
    return int(text)
