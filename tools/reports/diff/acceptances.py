"""Which dangers somebody accepted, and why: a pull request those that it adds to docs/accepted-dangers.toml, a deployment all of them."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from tools.environment import FailedError
from tools.reports.diff.dangers import Danger

FILE = "docs/accepted-dangers.toml"


class AcceptanceError(FailedError):
    """An acceptance that says too little, or what is none."""


class _Acceptance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=600)]


class _Acceptances(BaseModel):
    model_config = ConfigDict(extra="forbid")

    accepted: list[_Acceptance] = []


def added(base: str, head: str) -> dict[str, str]:
    """Id → reason of what the file of `head` has and that of `base` has not. AcceptanceError for a head that cannot be read.

    An id that the base has counts when the head has it once more: the danger came again, and somebody wanted it again.
    """
    try:
        before = Counter(one.id for one in _read(base))
    except (tomllib.TOMLDecodeError, ValidationError):
        before = Counter()  # it is the head's to put right
    found: dict[str, str] = {}
    for one in _understood(head):
        before[one.id] -= 1
        if before[one.id] < 0:
            found[one.id] = one.reason
    return found


def ever(text: str, dangers: Iterable[Danger], environments: Iterable[str]) -> dict[str, str]:
    """Id → reason of the dangers that the file accepts at all, in these environments or in some of them. AcceptanceError as above.

    What was accepted for production and staging was accepted for production: one environment is deployed after the other.
    """
    reasons = {one.id: one.reason for one in _understood(text)}
    known = {danger.id: next((reasons[one] for one in danger.ids(environments) if one in reasons), None) for danger in dangers}
    return {one: reason for one, reason in known.items() if reason is not None}


def _understood(text: str) -> list[_Acceptance]:
    try:
        return _read(text)
    except tomllib.TOMLDecodeError as error:
        raise AcceptanceError(f"{FILE} is no TOML: {error}") from None
    except ValidationError as error:
        raise AcceptanceError("\n".join(f"{FILE}: {_told(one['loc'], one['msg'], one['input'])}" for one in error.errors())) from None


def _read(text: str) -> list[_Acceptance]:
    return _Acceptances.model_validate(tomllib.loads(text)).accepted


def _told(place: tuple[int | str, ...], wrong: str, given: object) -> str:
    number = f"entry {place[1] + 1}, " if len(place) > 1 and isinstance(place[1], int) else ""
    wants = "an entry is [[accepted]] with an id of the report, such as 8da5c260, and a reason of 20 to 600 characters"
    return f"{number}{place[-1]} {given!r}: {wrong[0].lower()}{wrong[1:]}; {wants}."
