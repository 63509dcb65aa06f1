"""Savings by cheaper settings: each is synthesized alone, and its bill compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import field_metadata
from settings.field_metadata import Protective, declarations, declared, value_at
from settings.loader import SettingsError, environment_names, load, validated
from settings.model import Settings
from settings.types import as_toml
from tools.reports.assembly import Assembly
from tools.reports.cost.bill import Bill, bill
from tools.reports.synthesis import build

REASON = "To see what it would save."


@dataclass(frozen=True)
class Option:
    """A cheaper value of a setting, and its disadvantage."""

    key: str
    value: Any
    disadvantage: str


@dataclass(frozen=True)
class Saving:
    """An option, the present value, and the saving in USD per month before traffic."""

    option: Option
    present: str
    usd: float

    def __str__(self) -> str:
        return f"{self.option.key} = {as_toml(self.option.value)} (is {self.present}): {self.option.disadvantage}"


OPTIONS = tuple(Option(key, saving.value, saving.gives_up) for key, saving in declarations(Settings, field_metadata.Saving))


def bill_of_all_environments() -> Bill:
    """The bill of all environments as this folder defines them."""
    with tempfile.TemporaryDirectory() as folder:
        return bill(Assembly(build([load(name) for name in environment_names()], Path(folder)).assembly))


def savings(settings: Settings) -> list[Saving]:
    """The saving of each option, largest first, without options that are in use already or that the settings do not allow."""
    with tempfile.TemporaryDirectory() as folder:
        before = _total(settings, Path(folder) / "present")
        found = [
            Saving(option, as_toml(value_at(settings, option.key)), before - _total(other, Path(folder) / str(number)))
            for number, (option, other) in enumerate(_alternatives(settings))
        ]
    return sorted((one for one in found if one.usd > 0), key=lambda one: -one.usd)


def _total(settings: Settings, folder: Path) -> float:
    return bill(Assembly(build([settings], folder).assembly)).total(settings.name)


def _alternatives(settings: Settings) -> Iterator[tuple[Option, Settings]]:
    for option in OPTIONS:
        if value_at(settings, option.key) != option.value:
            try:
                yield option, with_setting(settings, option.key, option.value)
            except SettingsError:
                continue  # does not fit the other settings


def with_setting(settings: Settings, key: str, value: Any) -> Settings:
    """The settings with another value, and a reason if it needs one. SettingsError if they do not fit together."""
    values = settings.model_dump(exclude_unset=True, exclude={"name"})
    *tables, last = key.split(".")
    table, section = values, settings
    for name in tables:
        table, section = table.setdefault(name, {}), getattr(section, name)
    table[last] = value
    for protective in declared(type(section).model_fields[last], Protective):
        if reason_key := protective.reason_key(last):
            table[reason_key] = REASON if protective.is_off(value) else None
    return validated(values, settings.name)
