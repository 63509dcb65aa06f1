"""Slack's incoming webhook: one message per second, a secret URL, and retries after every failure."""

from __future__ import annotations

import json
import queue
import ssl
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from common import secrets
from common.scrubbed_logs import hide, scrub

from notifier.clock import Clock
from notifier.messages import SlackPost
from notifier.store import AlertStore

TIMEOUT_SECONDS = 10.0  # in total: a server that sends single bytes never reaches a socket's own time-out
SECRET_CACHED = timedelta(minutes=5)  # a new webhook is used after this time
RESERVE_SECONDS = 5.0  # to record what was delivered
SEE_SECRETS = "`./carmen secrets` prints the command that sets it."


class NotDelivered(Exception):
    """Slack did not take the message. `retry_after` is the number of seconds that Slack asks for."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(scrub(reason))
        self.retry_after = retry_after


class _Answer(NamedTuple):
    status: int
    retry_after: str
    text: str


class Webhook:
    """`secret` contains `{"value": "https://hooks.slack.com/…"}`. An empty value switches Slack off."""

    def __init__(self, secret: str, client: Any, store: AlertStore, clock: Clock) -> None:
        self._secret, self._client, self._store, self._clock = secret, client, store, clock
        self._url = ""
        self._read_at: datetime | None = None

    def send(self, post: SlackPost, seconds_left: Callable[[], float]) -> bool:
        """Send `post`. Return False without a webhook. Raises NotDelivered."""
        url = self._current_url()
        if not url:
            return False
        sections = [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in post.blocks]
        answer = self._send_in_slot(url, {"text": post.summary, "blocks": sections}, seconds_left)
        if answer.status == 400:  # Slack refuses the blocks: send plain text
            answer = self._send_in_slot(url, {"text": "\n".join(post.blocks)}, seconds_left)
        if answer.status == 200:
            return True
        retry_after = float(answer.retry_after) if answer.retry_after.isdecimal() else 0.0
        if answer.status == 429:
            self._store.block("slack", self._clock.now(), max(1.0, retry_after))
        if 400 <= answer.status < 429:
            self._read_at = None  # the webhook may have been replaced
        raise NotDelivered(f"Slack answered {answer.status}: {answer.text[:200]}", retry_after)

    def _send_in_slot(self, url: str, payload: dict[str, object], seconds_left: Callable[[], float]) -> _Answer:
        max_wait = seconds_left() - TIMEOUT_SECONDS - RESERVE_SECONDS
        if max_wait < 0:
            raise NotDelivered("too little time is left for a request to Slack")
        self._clock.sleep(self._store.reserve_slot("slack", self._clock.now(), max_wait))
        return _post_within(TIMEOUT_SECONDS, url, payload)

    def _current_url(self) -> str:
        if self._read_at is None or self._clock.now() - self._read_at > SECRET_CACHED:
            try:
                self._url = secrets.read(self._secret, self._client).get("value", "").strip()
            except (AttributeError, ValueError):
                raise NotDelivered(f'The webhook\'s secret is not {{"value": "https://…"}}. {SEE_SECRETS}') from None
            if self._url:
                hide(self._url)
                parts = urlsplit(self._url)
                if parts.scheme != "https" and parts.hostname != "127.0.0.1":
                    raise NotDelivered(f"The webhook is not an https:// URL. {SEE_SECRETS}")
            self._read_at = self._clock.now()
        return self._url


def _post_within(seconds: float, url: str, payload: dict[str, object]) -> _Answer:
    """Post in a thread, and abandon it after `seconds`."""
    answers: queue.SimpleQueue[_Answer | Exception] = queue.SimpleQueue()

    def request() -> None:
        try:
            answers.put(_post(url, payload, seconds))
        except Exception as error:  # noqa: BLE001 (raised below)
            answers.put(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise NotDelivered(f"Slack did not answer within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise NotDelivered(f"Slack cannot be reached: {type(answer).__name__}: {answer}") from None
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
