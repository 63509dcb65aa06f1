"""Load `environments/<name>.toml` as `Settings`, and report all problems at once."""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from settings.constants import ACCOUNT_STACK, COMPARED, PREVIEW_NAME, PREVIEW_PREFIX
from settings.errors import IN_KEY, Location, describe, dotted
from settings.model import Settings
from settings.secret_detection import detect_secret, is_secret_name
from settings.types import as_toml, suggestion

FOLDER = Path(__file__).parents[1] / "environments"
# A preview is the first file merged into the second.
PREVIEW, PREVIEW_BASE = "preview", "dev"
# Tables of dev.toml that previews do not inherit: dev's pipeline must not deploy unreviewed code, and a preview of a few days saves
# little at night, when people may want to see it. Anomalies are detected once in an account.
NOT_INHERITED = ("anomaly_detection", "pipeline", "working_hours")


class SettingsError(Exception):
    """Invalid settings; each of `problems` is one line with file, key, value and what is allowed."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def environment_names(folder: Path = FOLDER) -> list[str]:
    """The environments in alphabetical order, one per TOML file; without previews."""
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem != PREVIEW)


def preview_environment(preview: str, folder: Path = FOLDER) -> str:
    """The environment of a preview: `preview-pr-123` for `pr-123`; raise SettingsError for an invalid name."""
    if not preview:
        raise SettingsError("A preview needs a name, such as pr-123.")
    if preview in environment_names(folder):
        raise SettingsError(f"{preview}: this is the name of an environment; choose another name for the preview, such as pr-123.")
    if not re.fullmatch(PREVIEW_NAME, preview):
        raise SettingsError(
            f"{preview}: a preview's name has 1 to 12 characters of a-z, 0-9 and single hyphens between them, such as pr-123. The names of "
            "stacks and buckets contain it."
        )
    return f"{PREVIEW_PREFIX}{preview}"


def selected_environments(context: Mapping[str, Any], folder: Path = FOLDER) -> list[str]:
    """The environment of `-c env=…`, or all."""
    for key, value in context.items():
        if key != "env" and difflib.get_close_matches(key.lower(), ["env", "environment"], n=1):
            raise SettingsError(f"-c {key}={value}: unknown option; select an environment with -c env={value}")
    return [str(context["env"])] if "env" in context else environment_names(folder)


def preview_ends(settings: Settings, context: Mapping[str, Any]) -> str | None:
    """The last day of a preview from `-c preview-ends=…`; None for other environments. Raise SettingsError for an invalid date.

    Only `./carmen preview up` deploys and sets a date; a synthesis that compares or checks needs none.
    """
    date = context.get("preview-ends")
    if date is None:
        return None
    if settings.preview is None:
        raise SettingsError(f"-c preview-ends={date}: {settings.name} is not a preview, so it has no last day")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(date)):
        raise SettingsError(f"-c preview-ends={date}: must be a date such as 2026-12-01; `./carmen preview up NAME --days 3` sets it")
    return str(date)


def preview_pipeline(environments: Iterable[Settings], folder: Path = FOLDER) -> Settings | None:
    """Settings that represent all previews, if preview.toml has a `[pipeline]`.

    Raise SettingsError as `load` does, and unless previews have an account that only development may share.
    """
    path = folder / f"{PREVIEW}.toml"
    if not (path.is_file() and "pipeline" in _parsed(path)):
        return None
    settings = load(f"{PREVIEW_PREFIX}any", folder)
    others = [one for one in environments if one.name != PREVIEW_BASE]
    if settings.account is None or any(one.account in (None, settings.account) for one in others):
        accounts = ", ".join(f"{one.name} {one.account or 'not set'}" for one in (settings, *others))
        raise SettingsError(
            f"{_shown(path)}: account, pipeline: a pipeline's previews run code that has not been reviewed, and their roles may change "
            f"everything in the account; give previews an account that only {PREVIEW_BASE} shares, and set the account of every other "
            f"environment. Now: {accounts.replace(f'{PREVIEW_PREFIX}any', 'previews')}"
        )
    return settings


def refuse_two_monitors(environments: Iterable[Settings], folder: Path = FOLDER) -> None:
    """Raise SettingsError if another environment of the same account detects cost anomalies too. An unset account can be any account."""
    for one in environments:
        for other in load_all(environment_names(folder), folder) if one.anomaly_detection else ():
            same = None in (one.account, other.account) or one.account == other.account
            if other.name != one.name and other.anomaly_detection and same:
                files = ", ".join(f"{_shown(folder / name)}.toml" for name in (one.name, other.name))
                raise SettingsError(
                    f"{files}: [anomaly_detection] is in both, but an account has one monitor, in the stack {ACCOUNT_STACK}; delete the "
                    "table from one of them, or set both `account`s if they differ"
                )


def load_all(names: Iterable[str], folder: Path = FOLDER) -> list[Settings]:
    """Load several environments; raise SettingsError with the problems of all of them."""
    loaded: list[Settings] = []
    problems: list[str] = []
    for name in names:
        try:
            loaded.append(load(name, folder))
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return loaded


def load(name: str, folder: Path = FOLDER) -> Settings:
    """Load `<folder>/<name>.toml`; raise SettingsError with all problems.

    Production is compared with staging, so staging's problems are reported too.
    """
    if name.startswith(PREVIEW_PREFIX):
        return _load_preview(name.removeprefix(PREVIEW_PREFIX), folder)
    values = _read(name, folder)
    problems: list[str] = []
    staging = None
    if COMPARED.get(name) in environment_names(folder):
        try:
            staging = load(COMPARED[name], folder)
        except SettingsError as error:
            problems += error.problems
    try:
        settings = validated(values, name, production_over=staging)
    except SettingsError as error:
        raise SettingsError(*(f"{_shown(folder / name)}.toml: {problem}" for problem in error.problems), *problems) from None
    if problems:
        raise SettingsError(*problems)
    return settings


def _load_preview(preview: str, folder: Path) -> Settings:
    """Merge preview.toml into dev.toml; raise SettingsError, with dev's problems first."""
    name = preview_environment(preview, folder)
    load(PREVIEW_BASE, folder)
    try:
        return validated(_preview_values(folder), name)
    except SettingsError as error:
        both = f"{_shown(folder / PREVIEW)}.toml merged into {PREVIEW_BASE}.toml"
        raise SettingsError(*(f"{both}: {problem}" for problem in error.problems)) from None


def _preview_values(folder: Path) -> dict[str, Any]:
    inherited = {key: value for key, value in _read(PREVIEW_BASE, folder).items() if key not in NOT_INHERITED}
    return merge(inherited, _parsed(folder / f"{PREVIEW}.toml"))


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`: tables are merged key by key, lists are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def validated(values: dict[str, Any], name: str, production_over: Settings | None = None) -> Settings:
    """Validate `values`; raise SettingsError with all problems, across fields too.

    Cross-field checks need valid fields. So invalid values are reported and removed, and the rest is validated again; a problem that
    depends on a removed value is ignored.
    """
    lines: list[str] = []
    removed: list[Location] = []
    if "name" in values:
        lines.append("name: must not be set; the file's name is the environment's name")
    rest = {**copy.deepcopy(values), "name": name}
    settings, errors = _attempt(rest, production_over)
    while errors:
        lines += [describe(error, values) for error in errors if not _depends_on(error, removed)]
        invalid = [_to_remove(error) for error in errors if error["type"] != "problem"]
        if not invalid:
            break
        removed += invalid
        for location in invalid:
            _remove(rest, location)
        rest.setdefault("name", "unnamed")
        _, errors = _attempt(rest, production_over)
    if settings is None or lines:
        raise SettingsError(*dict.fromkeys(lines))
    return settings


def _attempt(values: dict[str, Any], production_over: Settings | None) -> tuple[Settings | None, list[ErrorDetails]]:
    try:
        return Settings.model_validate(values, context=production_over), []
    except ValidationError as error:
        return None, [one for one in error.errors() if not _is_miscounted(one)]


def _is_miscounted(error: ErrorDetails) -> bool:
    """Whether a list is only too short because pydantic does not count its invalid entries."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _to_remove(error: ErrorDetails) -> Location:
    """What to remove for an error: the value, the list of an invalid entry, or the table of a missing key."""
    location = error["loc"][:-1] if error["type"] == "missing" else error["loc"]
    cut = next((number for number, part in enumerate(location) if isinstance(part, int) or part == IN_KEY), len(location))
    return location[:cut]


def _remove(values: dict[str, Any], location: Location) -> None:
    *tables, key = map(str, location)
    for table in tables:
        values = values.get(table, {})
    values.pop(key, None)


def _depends_on(error: ErrorDetails, removed: list[Location]) -> bool:
    """Whether an error exists only because of a removed value."""
    if error["type"] == "problem":
        return any(f"{key}.".startswith(f"{dotted(location)}.") for key in error["ctx"]["keys"] for location in removed)
    return error["loc"] in removed


def _read(name: str, folder: Path) -> dict[str, Any]:
    if name.startswith(PREVIEW_PREFIX):
        return _preview_values(folder)
    path = folder / f"{name}.toml"
    known = environment_names(folder)
    if not name.strip():
        raise SettingsError(f"No environment is selected: --env or -c env=… needs one of {', '.join(known)}.")
    if name == PREVIEW:
        raise SettingsError(
            f"{_shown(path)} is not an environment but the template of previews; create one with `./carmen preview up pr-123`."
        )
    if name not in known:
        hint = suggestion(name.lower(), known, "create this file for a new environment.")
        raise SettingsError(f"{_shown(path)} does not exist; {hint} Environments: {', '.join(known) or 'none'}.")
    return _parsed(path)


def _parsed(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raise SettingsError if that fails."""
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
    """Add the line to tomllib's message, unless it may contain a secret."""
    position, lines = re.search(r"\(at line (\d+), column \d+\)", error), text.splitlines()
    if not position or int(position[1]) > len(lines):
        return error
    line = lines[int(position[1]) - 1].strip()
    return error if detect_secret(line) or is_secret_name(line.partition("=")[0].strip()) else f"{error}: {line}"


def _shown(path: Path) -> str:
    return path.relative_to(FOLDER.parent).as_posix() if path.is_relative_to(FOLDER.parent) else str(path)


def resolved(name: str, folder: Path = FOLDER) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, source); source is the TOML file or `default`."""
    settings, values = load(name, folder), _read(name, folder)
    source = f"{PREVIEW}.toml merged into {PREVIEW_BASE}.toml" if settings.preview else _shown(folder / f"{name}.toml")

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

    return walk(settings, {**values, "name": name}, "")
