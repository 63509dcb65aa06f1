"""Accepted dangers and their reasons: for a pull request the entries it adds to docs/accepted-dangers.toml, for a deployment all."""

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
    """An invalid entry in the file, or an invalid file."""


class _Acceptance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=600)]


class _Acceptances(BaseModel):
    model_config = ConfigDict(extra="forbid")

    accepted: list[_Acceptance] = []


def added(base: str, head: str) -> dict[str, str]:
    """Id → reason of the entries in `head` that `base` does not have. AcceptanceError if `head` is invalid.

    An id that the base already has counts only if the head has it once more: the same danger was accepted again.
    """
    try:
        before = Counter(one.id for one in _read(base))
    except (tomllib.TOMLDecodeError, ValidationError):
        before = Counter()  # the head may correct the file
    found: dict[str, str] = {}
    for one in _parse(head):
        before[one.id] -= 1
        if before[one.id] < 0:
            found[one.id] = one.reason
    return found


def ever(text: str, dangers: Iterable[Danger], environments: Iterable[str]) -> dict[str, str]:
    """Id → reason of the dangers that any entry accepts, also one for more environments. AcceptanceError if the file is invalid.

    An acceptance for production and staging is one for production: environments are deployed one after the other.
    """
    reasons = {one.id: one.reason for one in _parse(text)}
    known = {danger.id: next((reasons[one] for one in danger.ids(environments) if one in reasons), None) for danger in dangers}
    return {one: reason for one, reason in known.items() if reason is not None}


def _parse(text: str) -> list[_Acceptance]:
    try:
        return _read(text)
    except tomllib.TOMLDecodeError as error:
        raise AcceptanceError(f"{FILE} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise AcceptanceError(
            "\n".join(f"{FILE}: {_describe_error(one['loc'], one['msg'], one['input'])}" for one in error.errors())
        ) from None


def _read(text: str) -> list[_Acceptance]:
    return _Acceptances.model_validate(tomllib.loads(text)).accepted


def _describe_error(place: tuple[int | str, ...], problem: str, value: object) -> str:
    number = f"entry {place[1] + 1}, " if len(place) > 1 and isinstance(place[1], int) else ""
    expected = "an entry is [[accepted]] with an id from the report, such as 8da5c260, and a reason of 20 to 600 characters"
    return f"{number}{place[-1]} {value!r}: {problem[0].lower()}{problem[1:]}; {expected}."
