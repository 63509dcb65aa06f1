"""Logs without secrets.

Hides every secret that `common.secrets` reads or writes or that `hide` receives, and text that looks like a secret: the password of
a connection URL, an IAM login or another signed request, a password verifier, a webhook, and variables such as PGPASSWORD.

Each pattern takes linear time: what is logged may come from an attacker (tests/attacks/test_logs.py).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

HIDDEN = "[secret]"
_MIN_LENGTH = 8  # characters; shorter secrets would match ordinary text
_SECRET_PATTERNS = (
    (re.compile(r"hooks\.slack\.com/[\w./-]+"), HIDDEN),
    (re.compile(r"((?:Signature|Security-Token)=)[^\s&\"'\\]+"), rf"\1{HIDDEN}"),
    (re.compile(r"((?:Signature|Security-Token)%3D)(?:(?!%26)[^\s\"'\\])+"), rf"\1{HIDDEN}"),
    (re.compile(r"(SCRAM-SHA-256\$)[^\s\"'\\]+"), rf"\1{HIDDEN}"),
    # A dump of the environment, or a connection string: NAME=value, 'NAME': 'value', \"NAME\": \"value\"
    (
        re.compile(r"((?:(?i:password)|SECRET_ACCESS_KEY|(?:SESSION|AUTHORIZATION)_TOKEN)[\\\"']{0,4} ?[:=] ?[\\\"']{0,4})[^\s\"'\\,&}]+"),
        rf"\1{HIDDEN}",
    ),
)
_WORD = re.compile(r"[^\s\"']+")
_USER = re.compile(r"://[^:/@]*:")
# Matches the characters between a secret's letters and digits, plain or escaped several times: JSON, URL, Python's repr.
_SEPARATORS = r"(?:[^A-Za-z0-9]|(?<=\\)(?:u[0-9a-fA-F]{4}|x[0-9a-f]{2}|[nrtbf])|(?<=%)(?:25)*[0-9A-Fa-f]{2}){1,80}"
_known: dict[str, re.Pattern[str]] = {}


def hide(secret: str) -> None:
    """Scrub `secret` from now on, in every escaped form. Of a URL also the path, which libraries show alone."""
    for part in {secret, urlsplit(secret).path} if secret.startswith(("https://", "http://")) else {secret}:
        if len(part) >= _MIN_LENGTH and part not in _known:
            plain = re.findall("[A-Za-z0-9]+", part)
            forms = [re.escape(part), *([_SEPARATORS.join(plain)] if len("".join(plain)) >= _MIN_LENGTH else [])]
            _known[part] = re.compile("|".join(forms))


def scrub(text: str) -> str:
    """Replace known secrets, and text that looks like a secret."""
    for secret in sorted(_known, key=len, reverse=True):
        text = _known[secret].sub(HIDDEN, text)
    text = _WORD.sub(_without_password, text)
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _without_password(word: re.Match[str]) -> str:
    """A word without the password of its connection URL: from the user's colon to the last `@`."""
    text = word[0]
    end = text.rfind("@")
    user = _USER.search(text, 0, end) if end > 0 else None
    return f"{text[: user.end()]}{HIDDEN}{text[end:]}" if user and user.end() < end else text


def scrub_error(error: BaseException) -> None:
    """Scrub an error and its causes in place: Lambda logs a handler's error without the logger."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.append(one)
        one.args = _scrubbed(one.args)
        for name, value in vars(one).items():  # CalledProcessError shows `cmd`, not its args; add_note() keeps notes here
            with suppress(AttributeError):
                setattr(one, name, _scrubbed(value))
        if isinstance(one, OSError) and one.strerror is not None:  # then its message uses these, not args
            one.strerror, one.filename = _scrubbed(one.strerror), _scrubbed(one.filename)
        inner = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [other for other in (one.__cause__, one.__context__, *inner) if other]


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return scrub(value.decode("utf-8", "backslashreplace")).encode()
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_scrubbed(item) for item in value)
    return scrub(repr(value)) if isinstance(value, BaseException) else value


class ScrubbingFormatter(LambdaPowertoolsFormatter):
    """Powertools' JSON line, scrubbed: message, fields and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(str(super().format(record)))


class ScrubbedLogger(Logger):
    """Powertools' logger. Also scrubs what a handler returns or raises."""

    def inject_lambda_context(self, lambda_handler: Any = None, *arguments: Any, **options: Any) -> Any:
        """Powertools' decorator, around a scrubbed handler."""
        wrapped = lambda_handler and _scrubbed_handler(lambda_handler)  # None if the decorator has options
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
    """The logger of every function."""
    return ScrubbedLogger(logger_formatter=ScrubbingFormatter(), **options)
