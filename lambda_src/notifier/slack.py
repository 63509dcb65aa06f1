"""Slack's incoming webhook: one message a second, the URL a secret, and every failure a reason to come again."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from common import secrets
from common.scrubbed_logs import hide, scrub

from notifier.ledger import Ledger
from notifier.telling import Post

ANSWERS_WITHIN = 10.0  # seconds in all: a server that drips keeps a socket's own time-out from ever ending
SECRET_KEPT = 300.0  # seconds: so soon a new webhook is used
RESERVE = 5.0  # seconds to write down what was told


class Undelivered(Exception):
    """Not told now; `after` is how many seconds Slack asked to wait."""

    def __init__(self, reason: str, after: float = 0) -> None:
        super().__init__(scrub(reason))
        self.after = after


class _Answer(NamedTuple):
    status: int
    retry_after: str
    text: str


class Webhook:
    """`secret` holds `{"value": "https://hooks.slack.com/…"}`, or an empty value: then there is no Slack."""

    def __init__(self, secret: str, client: Any, ledger: Ledger) -> None:
        self._secret, self._client, self._ledger = secret, client, ledger
        self._url, self._read_at = "", -SECRET_KEPT

    def send(self, post: Post, seconds_left: Callable[[], float]) -> bool:
        """False when there is no webhook. Raises Undelivered."""
        url = self._current_url()
        if not url:
            return False
        sections = [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in post.blocks]
        answer = self._in_turn(url, {"text": post.summary, "blocks": sections}, seconds_left)
        if answer.status == 400:  # something in the blocks that Slack does not take: the words alone
            answer = self._in_turn(url, {"text": "\n".join(post.blocks)}, seconds_left)
        if answer.status == 200:
            return True
        after = float(answer.retry_after) if answer.retry_after.isdecimal() else 0.0
        if answer.status == 429:
            self._ledger.hold("slack", datetime.now(UTC), max(1.0, after))
        if 400 <= answer.status < 429:
            self._read_at = -SECRET_KEPT  # perhaps it was replaced
        raise Undelivered(f"Slack answered {answer.status}: {answer.text[:200]}", after)

    def _in_turn(self, url: str, payload: dict[str, object], seconds_left: Callable[[], float]) -> _Answer:
        patience = seconds_left() - ANSWERS_WITHIN - RESERVE
        if patience < 0:
            raise Undelivered("no time is left to ask Slack")
        time.sleep(self._ledger.slot("slack", datetime.now(UTC), patience))
        return _within(ANSWERS_WITHIN, url, payload)

    def _current_url(self) -> str:
        if time.monotonic() - self._read_at > SECRET_KEPT:
            try:
                self._url = secrets.read(self._secret, self._client).get("value", "").strip()
            except (AttributeError, ValueError):
                raise Undelivered('the webhook\'s secret is not {"value": "https://…"}: `make secrets` prints the command') from None
            if self._url:
                hide(self._url)
                parts = urlsplit(self._url)
                if parts.scheme != "https" and parts.hostname != "127.0.0.1":
                    raise Undelivered("the webhook given is no https:// URL: `make secrets` prints the command that gives another one")
            self._read_at = time.monotonic()
        return self._url


def _within(seconds: float, url: str, payload: dict[str, object]) -> _Answer:
    """In a thread, which is left to itself when the time is over."""
    answers: queue.SimpleQueue[_Answer | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_post(url, payload, seconds))
        except Exception as error:  # noqa: BLE001 (the caller's to raise)
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise Undelivered(f"Slack has not answered within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise Undelivered(f"Slack cannot be reached: {type(answer).__name__}: {answer}") from None
    return answer


def _post(url: str, payload: dict[str, object], seconds: float) -> _Answer:
    parts = urlsplit(url)
    assert parts.hostname
    connection = (
        HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=ssl.create_default_context())
        if parts.scheme == "https"
        else HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    )
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, json.dumps(payload).encode(), {"Content-Type": "application/json; charset=utf-8"})
        answer = connection.getresponse()
        return _Answer(answer.status, answer.getheader("Retry-After", ""), answer.read(1000).decode(errors="replace"))
    finally:
        connection.close()
