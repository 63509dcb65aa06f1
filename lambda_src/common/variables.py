"""Environment variables with validation."""

from __future__ import annotations

from collections.abc import Mapping


def whole_number(environment: Mapping[str, str], name: str, default: int, at_least: int, at_most: int) -> int:
    """The variable's value, or `default`. Raises ValueError with the variable, its value and the permitted range."""
    text = environment.get(name, str(default))
    if not text.isdecimal() or not at_least <= int(text) <= at_most:
        raise ValueError(f"{name}={text!r} must be a whole number from {at_least} to {at_most}")
    return int(text)
