"""What a setting declares besides its type, as metadata of its annotation.

    multi_az: Annotated[bool, Protective(opt_out=True), Saving(False, "no standby …")] = Field(True, description="…")

`Protective` serves validation (opt-out reasons), the comparison of production with staging, and the reasons in templates; `Saving`
serves the cost report; `Fixed` and `InOrder` serve deployments (settings/changes.py). A further kind of declaration is one more class
here, read with `declarations`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from settings.constants import EDGE_REGION

Strictness = Callable[[Any], float]
Declaration = TypeVar("Declaration")


def more(value: Any) -> float:
    """A larger number, a longer list and `true` protect more."""
    return float(len(value) if isinstance(value, tuple) else value)


def less(value: float) -> float:
    """A smaller number and `false` protect more."""
    return -float(value)


def given(value: Any) -> float:
    """Any value protects more than none."""
    return float(bool(value))


def order(*weakest_first: str) -> Strictness:
    """Choices from the weakest to the strictest."""
    return weakest_first.index


@dataclass(frozen=True)
class Protective:
    """A setting that protects: 0 of `strictness` is off.

    `opt_out=True`: switching it off requires `<key>_opt_out_reason`. A text instead names the table's key that holds the reason.
    """

    strictness: Strictness = more
    opt_out: bool | str = False

    def is_off(self, value: Any) -> bool:
        """Whether the protection is off with this value."""
        return self.strictness(value) == 0

    def reason_key(self, key: str) -> str | None:
        """The key that holds the reason for switching off `key`; None when no reason is required."""
        if isinstance(self.opt_out, str):
            return ".".join([*key.split(".")[:-1], self.opt_out])
        return f"{key}_opt_out_reason" if self.opt_out else None


@dataclass(frozen=True)
class Saving:
    """A cheaper value of a setting, and what is lost with it."""

    value: Any
    gives_up: str


@dataclass(frozen=True)
class Restriction:
    """A setting that a deployed environment cannot change freely. A setting without a restriction is changeable.

    `reason` says what AWS refuses or what would be lost, `steps` are what works instead, one sentence each. `applies` selects the
    changes by the old and the new value, as in JSON: tables are dicts, lists are lists. Default: every change.
    """

    reason: str
    steps: tuple[str, ...]
    applies: Callable[[Any, Any], bool] = operator.ne


class Fixed(Restriction):
    """A change that no deployment can make; the steps lead to the same result in another way."""


class InOrder(Restriction):
    """A change that works when people take the steps; `./carmen deploy --steps-taken KEY` is one of them."""


def switched_off(old: Any, new: Any) -> bool:
    """For `Restriction.applies`: something that existed is not wanted any more."""
    return bool(old and not new)


# What works instead of a change that would replace the network or the data.
NEW_ENVIRONMENT = (
    "Create environments/NAME.toml with the new value, and deploy it: `./carmen deploy --env NAME`.",
    "Copy the data (docs/runbooks/restore-a-backup.md) and release the application there.",
    "Move the domain: remove [domain] here, deploy, add it there, deploy; then delete this environment's stacks.",
)


def leaves_stack(stack: str) -> tuple[str, str]:
    """The steps of a change after which a stack in us-east-1 is no longer part of the app: a deployment deletes no stacks."""
    return (
        "`./carmen deploy --steps-taken {key}`.",
        f"Delete the stack that is left over: `aws cloudformation delete-stack --region {EDGE_REGION} --stack-name {stack}`.",
    )


def declared(field: FieldInfo, kind: type[Declaration]) -> list[Declaration]:
    """The declarations of one kind on a field."""
    return [one for one in field.metadata if isinstance(one, kind)]


def declarations(section: type[BaseModel], kind: type[Declaration], prefix: str = "") -> Iterator[tuple[str, Declaration]]:
    """Yield (dotted key, declaration) for all fields of a table and of the tables in it."""
    for name, field in section.model_fields.items():
        yield from ((f"{prefix}{name}", one) for one in declared(field, kind))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from declarations(field.annotation, kind, f"{prefix}{name}.")


def value_at(settings: Any, key: str) -> Any:
    """The value at a dotted key; a part that is a number indexes a list."""
    for part in key.split("."):
        settings = settings[int(part)] if isinstance(settings, tuple) else getattr(settings, part)
    return settings
