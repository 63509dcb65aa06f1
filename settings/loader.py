"""From `environments/<name>.toml` to `Settings`: reading, every mistake at once, and where each value comes from.

`python -m settings.loader prod` prints what an environment resolves to (`make settings ENV=prod`).
"""

from __future__ import annotations

import copy
import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from settings.baseline import COMPARED
from settings.constants import PREVIEW_NAME, PREVIEW_PREFIX
from settings.errors import IN_KEY, Location, sentence, shown
from settings.model import Settings
from settings.secret_detection import kind_of_secret, named_like_a_secret
from settings.types import as_toml, nearest

FOLDER = Path(__file__).parents[1] / "environments"
# What every preview is made of: this file laid over that one.
PREVIEW, PREVIEW_OVER = "preview", "dev"
# What a preview does not take over: who deploys dev does not thereby deploy what nobody has reviewed; and what lasts some days
# saves little at night, when somebody may want to see it.
NOT_INHERITED = ("pipeline", "working_hours")


class SettingsError(Exception):
    """Settings that cannot be used; each of `mistakes` names file, key, value and what is allowed, in a line."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def environment_names(folder: Path = FOLDER) -> list[str]:
    """The environments there are: one a TOML file, in the order of the alphabet. Previews are none: they come and go."""
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem != PREVIEW)


def preview_environment(preview: str, folder: Path = FOLDER) -> str:
    """The environment of the preview called so: `preview-pr-123` for `pr-123`; raises SettingsError for what no preview is called."""
    if not preview:
        raise SettingsError("NAME=… is missing: a preview is called after what it shows, such as NAME=pr-123.")
    if preview in environment_names(folder):
        raise SettingsError(f"NAME={preview}: {preview} is an environment of its own, no preview; choose another name, such as pr-123.")
    if not re.fullmatch(PREVIEW_NAME, preview):
        raise SettingsError(
            f"NAME={preview}: a preview's name has 1 to 12 of a-z and 0-9, with single hyphens between them, such as pr-123. Stacks and "
            "buckets are named after it."
        )
    return f"{PREVIEW_PREFIX}{preview}"


def environments_wanted(context: Mapping[str, Any], folder: Path = FOLDER) -> list[str]:
    """Those that the command line asks for: the one of `-c env=…`, or all."""
    for key, value in context.items():
        if key != "env" and difflib.get_close_matches(key.lower(), ["env", "environment"], n=1):
            raise SettingsError(f"-c {key}={value}: there is no such option; an environment is chosen by -c env={value}")
    return [str(context["env"])] if "env" in context else environment_names(folder)


def preview_ends(settings: Settings, context: Mapping[str, Any]) -> str | None:
    """The last day of a preview, as `-c preview-ends=…` says; None of another environment. Raises SettingsError for what is no day.

    Without a day it is only looked at; `make preview` alone deploys, and says one.
    """
    given = context.get("preview-ends")
    if given is None:
        return None
    if settings.preview is None:
        raise SettingsError(f"-c preview-ends={given}: {settings.name} is no preview, and does not end")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(given)):
        raise SettingsError(f"-c preview-ends={given}: must be a day such as 2026-12-01; `make preview DAYS=3` reckons it")
    return str(given)


def preview_pipeline(environments: Iterable[Settings], folder: Path = FOLDER) -> Settings | None:
    """Settings that stand for all previews, if preview.toml has a `[pipeline]`. Raises SettingsError as `load` does, and where they
    would not have an account that is theirs, or theirs and development's."""
    path = folder / f"{PREVIEW}.toml"
    if not (path.is_file() and "pipeline" in _parsed(path)):
        return None
    settings = load(f"{PREVIEW_PREFIX}any", folder)
    others = [one for one in environments if one.name != PREVIEW_OVER]
    if settings.account is None or any(one.account in (None, settings.account) for one in others):
        accounts = ", ".join(f"{one.name} {one.account or 'not given'}" for one in (settings, *others))
        raise SettingsError(
            f"{_shown(path)}: account, pipeline: a pipeline's previews are code that nobody has reviewed yet, deployed by roles that may "
            f"deploy over anything in their account; give previews an account that only {PREVIEW_OVER} may share, and every other "
            f"environment its own. Now: {accounts.replace(f'{PREVIEW_PREFIX}any', 'previews')}"
        )
    return settings


def load_all(names: Iterable[str], folder: Path = FOLDER) -> list[Settings]:
    """All environments named; raises SettingsError with the mistakes of all of them."""
    loaded: list[Settings] = []
    mistakes: list[str] = []
    for name in names:
        try:
            loaded.append(load(name, folder))
        except SettingsError as error:
            mistakes += error.mistakes
    if mistakes:
        raise SettingsError(*dict.fromkeys(mistakes))
    return loaded


def load(name: str, folder: Path = FOLDER) -> Settings:
    """Reads `<folder>/<name>.toml`; raises SettingsError with every mistake found, not just the first.

    Production is compared with the environment it is rehearsed in, whose own mistakes are therefore told too.
    """
    if name.startswith(PREVIEW_PREFIX):
        return _load_preview(name.removeprefix(PREVIEW_PREFIX), folder)
    values = _read(name, folder)
    mistakes: list[str] = []
    rehearsal = None
    if COMPARED.get(name) in environment_names(folder):
        try:
            rehearsal = load(COMPARED[name], folder)
        except SettingsError as error:
            mistakes += error.mistakes
    try:
        settings = validated(values, name, production_over=rehearsal)
    except SettingsError as error:
        raise SettingsError(*(f"{_shown(folder / name)}.toml: {mistake}" for mistake in error.mistakes), *mistakes) from None
    if mistakes:
        raise SettingsError(*mistakes)
    return settings


def _load_preview(preview: str, folder: Path) -> Settings:
    """dev.toml with preview.toml over it; raises SettingsError, dev's own mistakes first."""
    name = preview_environment(preview, folder)
    load(PREVIEW_OVER, folder)
    try:
        return validated(_preview_values(folder), name)
    except SettingsError as error:
        both = f"{_shown(folder / PREVIEW)}.toml over {PREVIEW_OVER}.toml"
        raise SettingsError(*(f"{both}: {mistake}" for mistake in error.mistakes)) from None


def _preview_values(folder: Path) -> dict[str, Any]:
    inherited = {key: value for key, value in _read(PREVIEW_OVER, folder).items() if key not in NOT_INHERITED}
    return laid_over(inherited, _parsed(folder / f"{PREVIEW}.toml"))


def laid_over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Key by key, tables likewise; lists are replaced whole."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def validated(values: dict[str, Any], name: str, production_over: Settings | None = None) -> Settings:
    """The settings that `values` make; raises SettingsError with every mistake, those in how values fit together included.

    What fits together can be told of whole settings only. So wrong values are told and left out, and what is left is
    validated again: a complaint that rests on a value left out is no finding.
    """
    lines: list[str] = []
    left_out: list[Location] = []
    if "name" in values:
        lines.append("name: not set here; the file's own name is the environment's name")
    rest = {**copy.deepcopy(values), "name": name}
    settings, errors = _attempt(rest, production_over)
    while errors:
        lines += [sentence(error, values) for error in errors if not _rests_on(error, left_out)]
        wrong = [_holder(error) for error in errors if error["type"] != "complaint"]
        if not wrong:
            break
        left_out += wrong
        for location in wrong:
            _leave_out(rest, location)
        rest.setdefault("name", "unnamed")
        _, errors = _attempt(rest, production_over)
    if settings is None or lines:
        raise SettingsError(*dict.fromkeys(lines))
    return settings


def _attempt(values: dict[str, Any], production_over: Settings | None) -> tuple[Settings | None, list[ErrorDetails]]:
    try:
        return Settings.model_validate(values, context=production_over), []
    except ValidationError as error:
        return None, [one for one in error.errors() if not _is_counted_short(one)]


def _is_counted_short(error: ErrorDetails) -> bool:
    """pydantic counts a list's right entries only, and calls it too short for its wrong ones."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _holder(error: ErrorDetails) -> Location:
    """What to leave out for an error: the value; the whole list for an entry, the whole table for a key that it lacks."""
    location = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    cut = next((number for number, part in enumerate(location) if isinstance(part, int) or part == IN_KEY), len(location))
    return location[:cut]


def _leave_out(values: dict[str, Any], location: Location) -> None:
    *tables, key = map(str, location)
    for table in tables:
        values = values.get(table, {})
    values.pop(key, None)


def _rests_on(error: ErrorDetails, left_out: list[Location]) -> bool:
    """Whether an error is there only because of what was left out."""
    if error["type"] == "complaint":
        return any(f"{key}.".startswith(f"{shown(location)}.") for key in error["ctx"]["keys"] for location in left_out)
    return error["loc"] in left_out


def _read(name: str, folder: Path) -> dict[str, Any]:
    if name.startswith(PREVIEW_PREFIX):
        return _preview_values(folder)
    path = folder / f"{name}.toml"
    known = environment_names(folder)
    if not name.strip():
        raise SettingsError(f"No environment is named: ENV=… or -c env=… takes one of {', '.join(known)}.")
    if name == PREVIEW:
        raise SettingsError(f"{_shown(path)} is no environment, but what previews are made of: `make preview NAME=pr-123`.")
    if name not in known:
        hint = nearest(name.lower(), known, "a new one is a new file there.")
        raise SettingsError(
            f"{_shown(path)} is not there: no environment '{name}'; {hint} Environments that are: {', '.join(known) or 'none'}."
        )
    return _parsed(path)


def _parsed(path: Path) -> dict[str, Any]:
    """Raises SettingsError when there is no TOML in it."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{_shown(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{_shown(path)} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}; save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{_shown(path)} is not valid TOML: {_with_line(str(error), text)}") from None


def _with_line(error: str, text: str) -> str:
    """tomllib's message with the line it means, unless that may hold a secret."""
    place, lines = re.search(r"\(at line (\d+), column \d+\)", error), text.splitlines()
    if not place or int(place[1]) > len(lines):
        return error
    line = lines[int(place[1]) - 1].strip()
    return error if kind_of_secret(line) or named_like_a_secret(line.partition("=")[0].strip()) else f"{error}: {line}"


def _shown(path: Path) -> str:
    return path.relative_to(FOLDER.parent).as_posix() if path.is_relative_to(FOLDER.parent) else str(path)


def resolved(name: str, folder: Path = FOLDER) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, source); source is the TOML file or `default`."""
    settings, given = load(name, folder), _read(name, folder)
    source = f"{PREVIEW}.toml over {PREVIEW_OVER}.toml" if settings.preview else _shown(folder / f"{name}.toml")

    def walk(section: BaseModel, values: Any, prefix: str) -> list[tuple[str, str, str]]:
        rows: list[tuple[str, str, str]] = []
        for field in type(section).model_fields:
            value = getattr(section, field)
            inner = values.get(field) if isinstance(values, dict) else None
            if isinstance(value, BaseModel):
                rows += walk(value, inner, f"{prefix}{field}.")
            else:
                rows.append((f"{prefix}{field}", as_toml(value), source if inner is not None else "default"))
        return rows

    return walk(settings, {**given, "name": name}, "")


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
