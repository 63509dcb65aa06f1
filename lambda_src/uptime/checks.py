"""Checks of all endpoints, concurrently.

A run does not retry: alarms need failures in several runs. A retry would hide every second failure and use up the deadline that users
are promised.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from uptime.exchange import BODY_LIMIT, Answer, CheckFailed, Site, Watch, exchange

REDIRECTS = (301, 302, 303, 307, 308)
# The response of constructs_lib/service/placeholder.js until the first release.
PLACEHOLDER = (503, b"awaiting first image")
_GRACE_SECONDS = 0.3  # for a check that misses its own deadline
_MAX_VALUE = 80  # characters of a value in a message


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint of [uptime]; settings/sections documents the fields."""

    path: str
    deadline_seconds: float
    expected_statuses: tuple[int, ...] = (200,)
    follow_redirects: int = 0
    redirects_to: str | None = None
    body_contains: str = ""
    json_fields: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse_list(cls, text: str) -> list[Self]:
        """Parse a JSON list. Raises ValueError for anything else, and for an empty list, which would report nothing down."""
        try:
            found = [cls(**{**values, "expected_statuses": tuple(values["expected_statuses"])}) for values in json.loads(text)]
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"ENDPOINTS is not a list of endpoints ({error!r}). Its source is [uptime] of the settings.") from error
        if not found:
            raise ValueError("ENDPOINTS is an empty list. Its source is [uptime] of the settings.")
        return found


@dataclass
class Result:
    """The result of a check. Without a `reason` the endpoint is up."""

    endpoint: str
    reason: str | None
    step: str | None = None
    status: int | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    certificate_days: float | None = None
    request_id: str = ""
    awaits_image: bool = False
    challenged: bool = False


def check_all(endpoints: Sequence[Endpoint], site: Site) -> list[Result]:
    """Check all endpoints concurrently, within the longest deadline. The results have the endpoints' order."""
    found: dict[int, Result] = {}

    def run(number: int, endpoint: Endpoint) -> None:
        found[number] = check(endpoint, site)

    start = time.monotonic()
    # Daemon threads, which do not keep the process alive.
    threads = [threading.Thread(target=run, args=each, name=each[1].path, daemon=True) for each in enumerate(endpoints)]
    for thread in threads:
        thread.start()
    for thread, endpoint in zip(threads, endpoints, strict=True):
        thread.join(max(0, start + endpoint.deadline_seconds + _GRACE_SECONDS - time.monotonic()))
    unfinished = {number: Result(endpoint.path, "the check did not end") for number, endpoint in enumerate(endpoints)}
    return list((unfinished | found).values())


def check(endpoint: Endpoint, site: Site) -> Result:
    """Check one endpoint. Every error becomes the result's reason."""
    watch = Watch(endpoint.deadline_seconds)
    result = Result(endpoint.path, None, request_id=uuid.uuid4().hex)
    try:
        _verify(_final_answer(endpoint, site, result, watch), endpoint, site, result)
    except CheckFailed as failed:
        result.reason, result.step = str(failed), failed.step
    except Exception as error:  # noqa: BLE001 (an error of the check must not hide the other endpoints)
        result.reason = f"the check failed: {type(error).__name__}: {error}"
    result.milliseconds = {**watch.milliseconds, "total": round(1000 * watch.elapsed(), 1)}
    result.certificate_days = watch.certificate_days
    return result


def _final_answer(endpoint: Endpoint, site: Site, result: Result, watch: Watch) -> Answer:
    """Follow redirects until an expected answer, another answer, or the limit. Keeps no cookies."""
    path = [endpoint.path]
    while True:
        answer = exchange(site, path[-1], result.request_id, watch)
        result.status = answer.status
        if answer.status in endpoint.expected_statuses or answer.status not in REDIRECTS or not endpoint.follow_redirects:
            return answer
        target = _target(answer, site)
        if target in path:
            raise CheckFailed("answer", f"redirect loop: {_without_queries([*path, target])}")
        if len(path) > endpoint.follow_redirects:
            raise CheckFailed("answer", f"more than {endpoint.follow_redirects} redirects: {_without_queries([*path, target])}")
        path.append(target)


def _target(answer: Answer, site: Site) -> str:
    if answer.location is None:
        raise CheckFailed("answer", f"status {answer.status}, a redirect without Location")
    return site.target(answer.location, seen_from=answer.target)


def _without_queries(targets: Sequence[str]) -> str:
    """The paths without queries, which may contain secrets."""
    return " → ".join(target.partition("?")[0] for target in targets)


def _verify(answer: Answer, endpoint: Endpoint, site: Site, result: Result) -> None:
    """Raise CheckFailed for the first difference from what is expected."""
    if (answer.status, answer.body) == PLACEHOLDER:
        result.awaits_image = True
        raise CheckFailed("answer", "the placeholder answers: no image has been released yet")
    if answer.challenged:
        result.challenged = True
        raise CheckFailed("answer", "the firewall challenges browsers here, because attack mode is on: not known whether it is up")
    if answer.status not in endpoint.expected_statuses:
        raise CheckFailed("answer", f"status {answer.status} instead of {' or '.join(map(str, endpoint.expected_statuses))}")
    if endpoint.redirects_to is not None:
        target = _without_queries([_target(answer, site)])
        if target != endpoint.redirects_to:
            raise CheckFailed("answer", f"redirects to {target} instead of {endpoint.redirects_to}")
    if endpoint.body_contains and endpoint.body_contains not in answer.body.decode(errors="replace"):
        part = "body" if answer.whole else f"first {BODY_LIMIT // 1024} KiB of the body"
        raise CheckFailed("answer", f"the {part} lacks {endpoint.body_contains!r}")
    if endpoint.json_fields:
        _verify_json(answer, endpoint.json_fields)


def _verify_json(answer: Answer, expected: dict[str, str]) -> None:
    if not answer.whole:
        raise CheckFailed("answer", f"the body is longer than {BODY_LIMIT // 1024} KiB, too long to read as JSON")
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise CheckFailed("answer", "the body is not JSON") from None
    for name, value in expected.items():
        actual = _field(found, name)
        if actual != value:
            raise CheckFailed("answer", f"the body's {name} is {actual[:_MAX_VALUE]!r} instead of {value!r}")


def _field(found: Any, name: str) -> str:
    """The field at a dotted name, strings unchanged and other values as JSON. Raises CheckFailed if it is missing."""
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            raise CheckFailed("answer", f"the body lacks the field {name}")
        found = found[part]
    return found if isinstance(found, str) else json.dumps(found)
