"""What other settings would save: each is really synthesized, alone, and its bill compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings.baseline import value_at
from settings.loader import SettingsError, validated
from settings.model import Settings
from settings.types import as_toml
from tools.reports.cost.bill import bill
from tools.reports.diff.assembly import Side
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


LEVERS = (
    Lever("network.nat_instances", True, "a t4g.nano in place of each gateway, ours to patch, with a minute's gap when it is replaced"),
    Lever("database.proxy", False, "nothing holds connections through a failover or bounds their number"),
    Lever("alarms.watched", False, "nobody is told that anything is wrong"),
    Lever("network.nat_gateways", 1, "a zone that is lost takes everybody's way out along"),
    Lever("database.multi_az", False, "no standby: hours without a database when its zone or machine is lost"),
    Lever("database.instance_class", "t4g.small", "half the memory, and room for half the connections"),
    Lever("database.instance_class", "t4g.micro", "1 GiB of memory, for a handful of users"),
    Lever("cache.replicas", 0, "an empty cache, and minutes without one, when its machine is lost"),
    Lever("service.min_tasks", 1, "an interruption whenever the one task goes"),
    Lever("service.cpu", 256, "pages take twice the time to render"),
    Lever("service.spot", True, "tasks go with two minutes' notice when AWS needs the machine"),
    Lever("service.container_insights", "disabled", "nobody sees memory and disk of single containers, nor missing tasks"),
    Lever("edge.all_firewall_rules", False, "no limits of their own for sign-in, API and large bodies, no buttons to block an address"),
    Lever("edge.origin_metrics", False, "nobody sees how long CloudFront waits for Carmen"),
)


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
    return bill(Side(build([settings], folder).assembly)).total(settings.name)


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
    if f"{last}_opt_out_reason" in type(section).model_fields:
        table[f"{last}_opt_out_reason"] = None if value not in (False, 0, "disabled") else REASON
    return validated(values, settings.name)
