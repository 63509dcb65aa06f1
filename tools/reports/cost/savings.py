"""What other settings would save: each is really synthesized, alone, and its bill compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import field_metadata
from settings.field_metadata import Protective, declarations, declared, value_at
from settings.loader import SettingsError, validated
from settings.model import Settings
from settings.types import as_toml
from tools.reports.assembly import Assembly
from tools.reports.cost.bill import bill
from tools.reports.synthesis import build

REASON = "To see what it would save."


@dataclass(frozen=True)
class Lever:
    """A setting, the value that costs less, and what one gives up for it."""

    key: str
    value: Any
    gives_up: str


@dataclass(frozen=True)
class Saving:
    """A lever pulled: what it would save of the bill before traffic."""

    lever: Lever
    was: str
    usd: float

    def __str__(self) -> str:
        return f"{self.lever.key} = {as_toml(self.lever.value)} (is {self.was}): {self.lever.gives_up}"


LEVERS = tuple(Lever(key, saving.value, saving.gives_up) for key, saving in declarations(Settings, field_metadata.Saving))


def savings(settings: Settings) -> list[Saving]:
    """What each lever would save, the most first; those that are pulled already, or that the settings do not allow, left out."""
    with tempfile.TemporaryDirectory() as folder:
        before = _total(settings, Path(folder) / "as-it-is")
        found = [
            Saving(lever, as_toml(value_at(settings, lever.key)), before - _total(other, Path(folder) / str(number)))
            for number, (lever, other) in enumerate(_pulled(settings))
        ]
    return sorted((one for one in found if one.usd > 0), key=lambda one: -one.usd)


def _total(settings: Settings, folder: Path) -> float:
    return bill(Assembly(build([settings], folder).assembly)).total(settings.name)


def _pulled(settings: Settings) -> Iterator[tuple[Lever, Settings]]:
    for lever in LEVERS:
        if value_at(settings, lever.key) != lever.value:
            try:
                yield lever, with_setting(settings, lever.key, lever.value)
            except SettingsError:
                continue  # it does not fit together with the rest: no lever by itself


def with_setting(settings: Settings, key: str, value: Any) -> Settings:
    """The same settings with another value, and a reason where it needs one; raises SettingsError when they do not fit together."""
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
