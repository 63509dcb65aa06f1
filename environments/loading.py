"""From `environments/<name>.toml` to `Settings`: reading, errors that teach, and where each value comes from.

`python -m environments.loading prod` prints what an environment resolves to (`make settings ENV=prod`).
"""

from __future__ import annotations

import difflib
import sys
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from environments.schema import Settings

FOLDER = Path(__file__).parent


class SettingsError(Exception):
    """Settings that cannot be used; its text names file, key, value and what is allowed, one line a mistake."""


def environment_names(folder: Path = FOLDER) -> list[str]:
    """The environments there are: one a TOML file, in the order of the alphabet."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(name: str, folder: Path = FOLDER) -> Settings:
    """Reads `<folder>/<name>.toml`; raises SettingsError with every mistake found, not just the first."""
    path = folder / f"{name}.toml"
    values = _read(path)
    try:
        return Settings.model_validate({**values, "name": name})
    except ValidationError as error:
        lines = [f"{_shown(path)}: {_sentence(detail)}" for detail in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(environment_names(path.parent)) or "none"
        raise SettingsError(f"{_shown(path)} is not there. Environments that are: {known}.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{_shown(path)} is not valid TOML: {error}") from None
    if "name" in values:
        raise SettingsError(f"{_shown(path)}: name: not set here; the file's own name is the environment's name")
    return values


def _shown(path: Path) -> str:
    return path.relative_to(FOLDER.parent).as_posix() if path.is_relative_to(FOLDER.parent) else str(path)


def _sentence(detail: ErrorDetails) -> str:
    """One mistake as `key = value: what is wrong, what is allowed`."""
    key = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{key}: required, but not given"
    if isinstance(detail["input"], dict | BaseModel):
        return f"{key}: {message}" if key else message
    return f"{key} = {detail['input']!r}: {message}{_meaning_of(detail['loc'])}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `location` knows."""
    section = _section_at(location)
    return [name for name in section.model_fields if name != "name" or section is not Settings]


def _meaning_of(location: tuple[int | str, ...]) -> str:
    """The description of the setting at `location`, to be put behind a message."""
    names = [part for part in location if isinstance(part, str)]
    field = _section_at(tuple(names[:-1])).model_fields.get(names[-1]) if names else None
    return f" ({field.description})" if field and field.description else ""


def _section_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation) or section
    return section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `Domain | None` or `tuple[Redirect, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple, dict):
        return next((found for part in get_args(annotation) if (found := _section_of(part))), None)
    return None


def resolved(name: str, folder: Path = FOLDER) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, source); source is the TOML file or `default`."""
    given = _read(folder / f"{name}.toml")
    source = _shown(folder / f"{name}.toml")

    def walk(section: BaseModel, values: Any, prefix: str) -> list[tuple[str, str, str]]:
        rows: list[tuple[str, str, str]] = []
        for field in type(section).model_fields:
            value = getattr(section, field)
            inner = values.get(field) if isinstance(values, dict) else None
            if isinstance(value, BaseModel):
                rows += walk(value, inner, f"{prefix}{field}.")
            else:
                rows.append((f"{prefix}{field}", _printed(value), source if inner is not None else "default"))
        return rows

    return walk(load(name, folder), {**given, "name": name}, "")


def _printed(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_printed(item) for item in value) + "]"
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{key} = {_printed(item)}" for key, item in value) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def main(arguments: list[str]) -> int:
    """Prints the settings of the environment named; 1 with a message when they cannot be used."""
    try:
        rows = resolved(arguments[0] if arguments else "prod")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, source in rows:
        print(f"{key:<{widths[0]}}  {value:<{min(widths[1], 60)}}  {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
