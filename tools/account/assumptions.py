"""An assumption about AWS that only an account can confirm, and the answer of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from tools.environment import FailedError, describe_error

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Answer:
    """What the account says. `holds` is None when the question could not be answered: the text says why."""

    holds: bool | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Assumption(Generic[Subject]):
    """What the templates rely on.

    `check` asks the account; the first line of its docstring describes it. `if_wrong` names the setting, ADR or command that changes.
    `actions` are the IAM permissions that the check needs. `source`: where the assumption comes from.
    """

    id: str
    assumed: str
    why: str
    check: Callable[[Subject], Answer]
    if_wrong: str
    source: str
    actions: tuple[str, ...]

    @property
    def method(self) -> str:
        """The check in words."""
        return (self.check.__doc__ or "").strip().splitlines()[0]

    def answer(self, subject: Subject) -> Answer:
        """Ask the account. An error of AWS or of the network is an answer too: the question stays open."""
        try:
            return self.check(subject)
        except (ClientError, BotoCoreError, FailedError) as error:
            return Answer(None, describe_error(error))


@dataclass(frozen=True)
class Result:
    """One assumption with its answer."""

    id: str
    assumed: str
    check: str
    holds: bool | None
    answer: str
    if_wrong: str


def ask(assumptions: Iterable[Assumption[Subject]], subject: Subject, say: Callable[[str], None]) -> Iterator[Result]:
    """Ask one question after the other; `say` gets each before its check."""
    for one in assumptions:
        say(f"checking {one.id}")
        answer = one.answer(subject)
        yield Result(one.id, one.assumed, one.method, answer.holds, answer.text, one.if_wrong)


def lines(results: Iterable[Result]) -> Iterator[str]:
    """The table: assumed, answer, and what to change where the assumption is wrong."""
    for one in results:
        mark = {True: "✓", False: "✗", None: "?"}[one.holds]
        yield f"{mark} {one.id}: {one.assumed}"
        yield f"    Answer: {one.answer}"
        if one.holds is False:
            yield f"    Change: {one.if_wrong}"
