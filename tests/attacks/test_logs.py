"""A writer of log lines against the scrubber: hostile text costs linear time, and planted secrets are found in every place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from common import scrubbed_logs

PASSWORD = "Pl4nted-s3cret/of&the-database"
URL = f"postgresql://carmen_app_a:{quote(PASSWORD, safe='')}@database.example.com:5432/carmen"
TOKEN = "IQoJb3JpZ2luX2VjEPlanted//////////wEaCXVzLWVhc3QtMSJHMEUCIQD"
SIZE = 256 * 1024
HOSTILE = ("://:", "://a:", "://a:b@", "://", ":@", "Signature=", "Signature%3D", "Signature%3D%2", "SCRAM-SHA-256$", "hooks.slack.com/",
           "PASSWORD=", "PASSWORD", "PASSWORD\\", "SESSION_TOKEN': ", "Pl4nted-", "Pl4nted-s3cret", "Pl4nted%25", "%25", "\\u0020", "-", "a")  # fmt: skip


@pytest.fixture(autouse=True)
def known() -> Any:
    """The password, as if a function had read it."""
    before = dict(scrubbed_logs._known)
    scrubbed_logs.hide(PASSWORD)
    yield
    scrubbed_logs._known.clear()
    scrubbed_logs._known.update(before)


def _seconds(text: str) -> float:
    start = time.process_time()
    scrubbed_logs.scrub(text)
    return time.process_time() - start


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_text_takes_linear_time(part: str) -> None:
    """256 KB take at most 24 times as long as 32 KB: quadratic time would be 64 times."""
    small, large = (min(_seconds(part * (size // len(part))) for _ in range(2)) for size in (SIZE // 8, SIZE))
    assert large < max(0.1, 24 * small)


def test_line_of_november_2026_takes_no_time() -> None:
    assert _seconds("://:" * 20_000) < 0.5  # was 7.6 s


def _subprocess() -> None:
    subprocess.run([sys.executable, "-c", "raise SystemExit(1)", URL], check=True, capture_output=True)


def _timeout() -> None:
    raise subprocess.TimeoutExpired(["psql", URL], 1, output=URL.encode(), stderr=PASSWORD.encode())


def _context() -> None:
    try:
        raise ValueError(URL)
    except ValueError as error:
        try:
            raise KeyError(PASSWORD)
        except KeyError:
            raise RuntimeError("both a cause and a context") from error


def _group() -> None:
    raise ExceptionGroup("two", [ValueError(URL), OSError(5, PASSWORD, f"/tmp/{PASSWORD}")])


def _note() -> None:
    error = ValueError("see the note")
    error.add_note(f"connected to {URL}")
    raise error


@pytest.mark.parametrize("fail", [_subprocess, _timeout, _context, _group, _note])
def test_planted_secret_is_hidden_in_errors(fail: Callable[[], None]) -> None:
    """Lambda prints a handler's error itself, with causes, contexts and notes."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        fail()
    scrubbed_logs.scrub_error(raised.value)
    printed = "".join(traceback.format_exception(raised.value, chain=True)) + repr(vars(raised.value))
    shown = [line for line in printed.splitlines() if "Pl4nted" in line and not line.strip().startswith(("raise", "subprocess.run"))]
    assert shown == []


DUMPS: tuple[Callable[[dict[str, str]], str], ...] = (
    str,
    json.dumps,
    lambda variables: json.dumps({"message": json.dumps(variables)}),
    lambda variables: "\n".join(f"{name}={value}" for name, value in variables.items()),
    lambda variables: " ".join(f"export {name}='{value}';" for name, value in variables.items()),
)


@pytest.mark.parametrize("dump", DUMPS)
def test_dump_of_the_environment_shows_no_secret(dump: Callable[[dict[str, str]], str]) -> None:
    """No function reads these as secrets: the scrubber knows them by the names of their variables."""
    variables = {
        "AWS_SECRET_ACCESS_KEY": TOKEN,
        "AWS_SESSION_TOKEN": TOKEN,
        "PGPASSWORD": TOKEN,
        "DIRECT_URL": f"postgresql://a:{TOKEN}@h/d",
    }
    shown = scrubbed_logs.scrub(dump(variables | {"AWS_REGION": "us-east-1"}))
    assert "IQoJ" not in shown
    assert "us-east-1" in shown


def test_ordinary_text_stays() -> None:
    for text in ("password authentication failed for user a", "see https://example.com/a:b and mail me@example.com", "Token expired"):
        assert scrubbed_logs.scrub(text) == text
