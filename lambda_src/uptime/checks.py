"""What makes an endpoint up, and all endpoints asked at once.

Nothing is tried again within a run: what failed once is told, and alarms ask for several runs of several. A second try would
hide every other failure, and would take its time from the deadline that users are promised.
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
# What constructs_lib/placeholder.js answers until the first release.
PLACEHOLDER = (503, b"awaiting first image")
_GRACE_SECONDS = 0.3  # a check ends by its own deadline; this is for one that, against all intent, does not
_LONGEST_VALUE = 80


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One of environments/schema.py's, which says what the fields mean."""

    path: str
    deadline_seconds: float
    expected_statuses: tuple[int, ...] = (200,)
    follow_redirects: int = 0
    redirects_to: str | None = None
    body_contains: str = ""
    json_fields: dict[str, str] = field(default_factory=dict)

    @classmethod
    def all_in(cls, text: str) -> list[Self]:
        """Those of a JSON list; raises ValueError when it is none of endpoints, or holds none: nothing asked would be nothing down."""
        try:
            found = [cls(**{**values, "expected_statuses": tuple(values["expected_statuses"])}) for values in json.loads(text)]
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"ENDPOINTS is no list of endpoints ({error!r}); constructs_lib/uptime.py writes it from [uptime]") from error
        if not found:
            raise ValueError("ENDPOINTS is an empty list; constructs_lib/uptime.py writes it from [uptime]")
        return found


@dataclass
class Result:
    """What one check found; up without a `reason`."""

    endpoint: str
    reason: str | None
    step: str | None = None
    status: int | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    certificate_days: float | None = None
    request_id: str = ""
    awaits_image: bool = False


def check_all(endpoints: Sequence[Endpoint], site: Site) -> list[Result]:
    """All at once, in their order; takes no longer than the longest deadline."""
    found: dict[int, Result] = {}

    def run(number: int, endpoint: Endpoint) -> None:
        found[number] = check(endpoint, site)

    start = time.monotonic()
    # Daemons, so that none keeps the process.
    threads = [threading.Thread(target=run, args=each, name=each[1].path, daemon=True) for each in enumerate(endpoints)]
    for thread in threads:
        thread.start()
    for thread, endpoint in zip(threads, endpoints, strict=True):
        thread.join(max(0, start + endpoint.deadline_seconds + _GRACE_SECONDS - time.monotonic()))
    unended = {number: Result(endpoint.path, "the check itself did not end") for number, endpoint in enumerate(endpoints)}
    return list((unended | found).values())


def check(endpoint: Endpoint, site: Site) -> Result:
    """One endpoint, now; whatever goes wrong is its finding."""
    watch = Watch(endpoint.deadline_seconds)
    result = Result(endpoint.path, None, request_id=uuid.uuid4().hex)
    try:
        _judge(_final_answer(endpoint, site, result, watch), endpoint, site, result)
    except CheckFailed as failed:
        result.reason, result.step = str(failed), failed.step
    except Exception as error:  # noqa: BLE001 (a fault of ours must not hide the other endpoints)
        result.reason = f"the check itself failed: {type(error).__name__}: {error}"
    result.milliseconds = {**watch.milliseconds, "total": round(1000 * watch.passed(), 1)}
    result.certificate_days = watch.certificate_days
    return result


def _final_answer(endpoint: Endpoint, site: Site, result: Result, watch: Watch) -> Answer:
    """The first answer that is expected, or is no redirect that may be followed. No cookie is kept on the way."""
    way = [endpoint.path]
    while True:
        answer = exchange(site, way[-1], result.request_id, watch)
        result.status = answer.status
        if answer.status in endpoint.expected_statuses or answer.status not in REDIRECTS or not endpoint.follow_redirects:
            return answer
        target = _target(answer, site)
        if target in way:
            raise CheckFailed("answer", f"redirect loop: {_shown([*way, target])}")
        if len(way) > endpoint.follow_redirects:
            raise CheckFailed("answer", f"more than {endpoint.follow_redirects} redirects: {_shown([*way, target])}")
        way.append(target)


def _target(answer: Answer, site: Site) -> str:
    if answer.location is None:
        raise CheckFailed("answer", f"status {answer.status}, a redirect that says not where to (no Location)")
    return site.target(answer.location, seen_from=answer.target)


def _shown(targets: Sequence[str]) -> str:
    """Without queries, which may hold what is nobody's business."""
    return " → ".join(target.partition("?")[0] for target in targets)


def _judge(answer: Answer, endpoint: Endpoint, site: Site, result: Result) -> None:
    """Raises CheckFailed with the first thing that is not as expected."""
    if (answer.status, answer.body) == PLACEHOLDER:
        result.awaits_image = True
        raise CheckFailed("answer", "the placeholder answers: no image was released yet")
    if answer.status not in endpoint.expected_statuses:
        raise CheckFailed("answer", f"status {answer.status} instead of {' or '.join(map(str, endpoint.expected_statuses))}")
    if endpoint.redirects_to is not None:
        target = _shown([_target(answer, site)])
        if target != endpoint.redirects_to:
            raise CheckFailed("answer", f"redirects to {target} instead of {endpoint.redirects_to}")
    if endpoint.body_contains and endpoint.body_contains not in answer.body.decode(errors="replace"):
        part = "body" if answer.whole else f"first {BODY_LIMIT // 1024} KiB of the body"
        raise CheckFailed("answer", f"the {part} lacks {endpoint.body_contains!r}")
    if endpoint.json_fields:
        _judge_json(answer, endpoint.json_fields)


def _judge_json(answer: Answer, wanted: dict[str, str]) -> None:
    if not answer.whole:
        raise CheckFailed("answer", f"the body is longer than {BODY_LIMIT // 1024} KiB, and so is not read as JSON")
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise CheckFailed("answer", "the body is no JSON") from None
    for name, value in wanted.items():
        given = _field(found, name)
        if given != value:
            raise CheckFailed("answer", f"the body's {name} is {given[:_LONGEST_VALUE]!r} instead of {value!r}")


def _field(found: Any, name: str) -> str:
    """The field at a dotted name, texts as they are and all else as JSON; raises CheckFailed when it is not there."""
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            raise CheckFailed("answer", f"the body lacks the field {name}")
        found = found[part]
    return found if isinstance(found, str) else json.dumps(found)
