"""Error messages for TOML files: `key = value: what is wrong; what is allowed (the setting's description)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from settings.field_metadata import value_at
from settings.model import Settings
from settings.secret_detection import detect_secret, is_secret_name
from settings.types import as_toml, suggestion

Location = tuple[int | str, ...]

LONGEST_VALUE = 80
# pydantic's mark for an error in a table's key instead of its value.
IN_KEY = "[key]"
WRONG_TYPE = {
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "float_type": "must be a number, without quotes",
    "string_type": "must be text in quotes",
}


def describe(error: ErrorDetails, values: dict[str, Any]) -> str:
    """Describe one of pydantic's errors in `values` in one line."""
    kind, location, context = error["type"], error["loc"], error.get("ctx", {})
    key = dotted(location)
    if kind == "problem":
        return _describe_problem(context["keys"], context["text"], error["input"], values)
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_suggest_key(location)}"
    if kind == "missing":
        return f"{key}: required, but missing{_description(location)}"
    if location[:2] == ("application", "extra_secrets") and kind == "model_type":
        return (
            f"{key}: must declare how the secret is created, such as {{ generated = false }}, not contain its value. "
            "Replace a secret that was in a file"
        )
    if location[-1] == IN_KEY:
        return f"{key}: {context['error']}"
    hidden = isinstance(error["input"], dict) or is_secret_name(str(location[-1]))
    value = "" if hidden else f" = {format_value(error['input'])}"
    return f"{key}{value}: {_describe_error(error)}{_description(location)}"


def dotted(location: Location) -> str:
    """Format a location: `edge.redirects[1].source`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != IN_KEY]
    return "".join(parts).removeprefix(".")


def format_value(value: Any) -> str:
    """Format a value for a message: hide what looks like a secret, cut what is long."""
    text = as_toml(value)
    if kind := detect_secret(text):
        return f"<{kind}>"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _describe_problem(keys: tuple[str, ...], text: str, settings: Settings, values: dict[str, Any]) -> str:
    """Put the values beside the keys and mark defaults."""
    shown = []
    for key in keys:
        location = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        value = value_at(settings, key)
        default = "" if _is_set(values, location) else " (default)"
        shown.append(f"{dotted(location)} not set" if value is None else f"{dotted(location)} = {format_value(value)}{default}")
    return f"{', '.join(shown)}: {text}" if shown else text


def _is_set(values: Any, location: Location) -> bool:
    for part in location:
        if isinstance(values, dict) and part not in values:
            return False
        values = values[part]
    return True


def _describe_error(error: ErrorDetails) -> str:
    kind, location, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in WRONG_TYPE:
        return WRONG_TYPE[kind]
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"must be {_bounds(location, 'ge', 'le')}"
    if kind in ("string_too_short", "string_too_long"):
        return f"must have {_bounds(location, 'min_length', 'max_length')} characters"
    if kind in ("too_short", "too_long"):
        return f"must have {_bounds(location, 'min_length', 'max_length')} entries"
    if kind == "literal_error":
        return _choice(error["input"], _literals(location))
    if kind == "tuple_type":
        if _section_of(_annotation(location)):
            return f"must be a list of tables: [[{dotted(location)}]]"
        value = error["input"]
        return f"must be a list: {format_value(value.replace(',', ' ').split() if isinstance(value, str) else [value])}"
    if kind in ("model_type", "dict_type"):
        section = _section_of(_annotation(location))
        return f"must be a table: [{dotted(location)}]" + (f" with {', '.join(section.model_fields)}" if section else "")
    return error["msg"]


def _choice(value: Any, allowed: tuple[Any, ...]) -> str:
    choice = f"must be {', '.join(map(as_toml, allowed[:-1]))} or {as_toml(allowed[-1])}"
    texts = [text for text in allowed if isinstance(text, str)]
    if str(value) in texts and not isinstance(value, str):
        return f"{choice}, in quotes"
    hint = suggestion(value, texts, "") if isinstance(value, str) else ""
    return f"{choice}; {hint}" if hint else choice


def _bounds(location: Location, lower: str, upper: str) -> str:
    """`1 to 35`, `at least 1`, `at most 8`."""
    field = _field(location)
    found = {name: getattr(bound, name) for bound in (field.metadata if field else ()) for name in (lower, upper) if hasattr(bound, name)}
    if len(found) == 2:
        return f"{found[lower]} to {found[upper]}"
    return f"at least {found[lower]}" if lower in found else f"at most {found[upper]}"


def _description(location: Location) -> str:
    field = _field(location)
    return f" ({field.description})" if field and field.description else ""


def _suggest_key(location: Location) -> str:
    """Suggest the closest key of the same table, or the same key of another table."""
    word = str(location[-1])
    if is_secret_name(word):
        return (
            "its name is that of a secret, which TOML files must not contain: set SMTP_PASSWORD, SENTRY_DSN and Slack's webhook after "
            "deployment (./carmen secrets), and declare other secrets in application.extra_secrets"
        )
    if elsewhere := [key for key in _all_keys(Settings, "") if key.rpartition(".")[2] == word]:
        return f"did you mean {' or '.join(repr(key) for key in elsewhere)}?"
    section = _section_at(location[:-1])
    known = [name for name in section.model_fields if name != "name" or section is not Settings]
    return suggestion(word.lower(), known, f"known keys: {', '.join(known)}")


def _all_keys(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        if inner := _section_of(field.annotation):
            yield from _all_keys(inner, f"{prefix}{name}.")


def _field(location: Location) -> FieldInfo | None:
    """The setting at `location`, or the list or table that contains it."""
    names = [part for part in location if isinstance(part, str)]
    while names:
        if field := _section_at(tuple(names[:-1])).model_fields.get(names[-1]):
            return field
        names.pop()
    return None


def _annotation(location: Location) -> Any:
    field = _field(location)
    return field.annotation if field else None


def _literals(location: Location) -> tuple[Any, ...]:
    """The values of the Literal in the annotation at `location`."""
    return next((get_args(part) for part in _parts(_annotation(location)) if get_origin(part) is Literal), ())


def _section_at(location: Location) -> type[BaseModel]:
    section: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `Domain | None` or `tuple[Redirect, ...]`."""
    return next((part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything inside it."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
