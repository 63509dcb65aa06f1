"""Logs without secrets: what is known to be one, and what looks like one, leaves no process through its log.

Known is what `common.secret_values` has read or written, and what was handed to `hide`. By its looks: the password of a connection URL,
an IAM log-in or another signed request, a password verifier, a webhook.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

HIDDEN = "[secret]"
_LEAST = 8  # letters: shorter ones stand in too much that is none
_LOOKS = (
    (re.compile(r"hooks\.slack\.com/[\w./-]+"), HIDDEN),
    (re.compile(r"(://[^\s:/@\"']*:)[^\s\"']+(?=@)"), rf"\1{HIDDEN}"),
    (re.compile(r"((?:Signature|Security-Token)=)[^\s&\"'\\]+"), rf"\1{HIDDEN}"),
    (re.compile(r"((?:Signature|Security-Token)%3D)(?:(?!%26)[^\s\"'\\])+"), rf"\1{HIDDEN}"),
    (re.compile(r"(SCRAM-SHA-256\$)[^\s\"'\\]+"), rf"\1{HIDDEN}"),
)
# What stands between the letters and digits of a secret, as it is or escaped, however often: in JSON, in URLs, as Python shows it.
_BETWEEN = r"(?:[^A-Za-z0-9]|(?<=\\)(?:u[0-9a-fA-F]{4}|x[0-9a-f]{2}|[nrtbf])|(?<=%)(?:25)*[0-9A-Fa-f]{2}){1,80}"
_known: dict[str, re.Pattern[str]] = {}


def hide(secret: str) -> None:
    """From now on `secret` is scrubbed, however it is escaped; of a URL its path too, which libraries show alone."""
    for part in {secret, urlsplit(secret).path} if secret.startswith(("https://", "http://")) else {secret}:
        if len(part) >= _LEAST and part not in _known:
            plain = re.findall("[A-Za-z0-9]+", part)
            forms = [re.escape(part), *([_BETWEEN.join(plain)] if len("".join(plain)) >= _LEAST else [])]
            _known[part] = re.compile("|".join(forms))


def scrub(text: str) -> str:
    """`text` without what is known to be secret, or looks like it."""
    for secret in sorted(_known, key=len, reverse=True):
        text = _known[secret].sub(HIDDEN, text)
    for look, instead in _LOOKS:
        text = look.sub(instead, text)
    return text


def scrub_error(error: BaseException) -> None:
    """Scrubs what `error` says in place, and what led to it: Lambda writes down what a handler raises, past every logger."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        error.args = _scrubbed(error.args)
        if isinstance(error, OSError):  # says what it keeps beside its arguments
            error.strerror = _scrubbed(error.strerror)
        error = error.__cause__ or error.__context__ or error


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_scrubbed(item) for item in value)
    return scrub(repr(value)) if isinstance(value, BaseException) else value


class ScrubbingFormatter(LambdaPowertoolsFormatter):
    """Powertools' JSON line, scrubbed whole: message, fields and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(str(super().format(record)))


class ScrubbedLogger(Logger):
    """Powertools' logger that scrubs, and with it what a handler answers or raises."""

    def inject_lambda_context(self, lambda_handler: Any = None, *arguments: Any, **options: Any) -> Any:
        """As Powertools' own, around a scrubbed handler."""
        wrapped = lambda_handler and _scrubbed_handler(lambda_handler)  # none where the decorator is given options first
        return super().inject_lambda_context(wrapped, *arguments, **options)


def _scrubbed_handler(handler: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(handler)
    def handle(*arguments: Any, **options: Any) -> Any:
        try:
            return _scrubbed(handler(*arguments, **options))
        except BaseException as error:
            scrub_error(error)
            raise

    return handle


def scrubbed_logger(**options: Any) -> ScrubbedLogger:
    """The one logger of all functions."""
    return ScrubbedLogger(logger_formatter=ScrubbingFormatter(), **options)
