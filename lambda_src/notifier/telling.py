"""What people read: a telling is one event in words, for Slack and for e-mail alike."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from common.scrubbed_logs import scrub

from notifier.events import Alarm, Event, Notice, Recovery
from notifier.incidents import Rules, Verdict

# https://docs.slack.dev/reference/block-kit/blocks: 50 blocks, 3,000 characters each. All together some 13,000, which is not
# documented (slackapi/bolt-js#2509, #2867).
MOST_BLOCKS = 45
MOST_OF_A_BLOCK = 2900
MOST_OF_A_MESSAGE = 10_000
MOST_LINKS, MOST_OF_A_LINK = 3, 500
IN_FULL = 3  # tellings of one message; more are a line each
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: 256 KB, and a subject of less than 100 ASCII characters.
MOST_OF_A_MAIL = 200_000
MOST_OF_A_SUBJECT = 99
MARKS = {"opened": "rotating_light", "flapping": "warning", "recovered": "white_check_mark", "notice": "information_source"}
WORDS = {"opened": "ALARM", "flapping": "FLAPPING", "recovered": "RECOVERED", "notice": "notice"}


@dataclass(frozen=True)
class Telling:
    """`kind` is the verdict's. A link without a URL is a path that somebody finds in the repository."""

    key: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    verbatim: str = ""
    pages: bool = False


@dataclass(frozen=True)
class Wording:
    """The same for all tellings of an environment."""

    environment: str
    runbooks_url: str
    rules: Rules

    def of(self, event: Event, verdict: Verdict) -> Telling:
        """The event in words, with nothing secret in them."""
        if isinstance(event, Notice):
            return _scrubbed(Telling(event.key, "notice", event.title, event.lines, event.links, event.verbatim))
        alarm = event.alarm if isinstance(event, Recovery) else event
        lines = {"opened": self._opened, "flapping": self._flapping, "recovered": self._recovered}[verdict.tell](alarm, verdict)
        links = (("Alarm and graph", _console(alarm)), *self._runbook(alarm), ("", alarm.name))
        pages = alarm.pages and verdict.tell == "opened"
        return _scrubbed(Telling(event.key, verdict.tell, alarm.sentence, tuple(lines), links, pages=pages))

    def _opened(self, alarm: Alarm, verdict: Verdict) -> list[str]:
        causes = [f"Because of {', '.join(alarm.children)}"] if alarm.children else []
        return [f"Since {_clock(alarm.at)}", alarm.figure, *causes]

    def _flapping(self, alarm: Alarm, verdict: Verdict) -> list[str]:
        window = _duration(self.rules.window)
        return [
            f"Opened {verdict.times} times within {window}, the last time at {_clock(alarm.at)}",
            alarm.figure,
            f"Nothing more is told of it until it has been quiet for {window}",
        ]

    def _recovered(self, alarm: Alarm, verdict: Verdict) -> list[str]:
        assert verdict.since
        assert verdict.until
        again = f", opened {verdict.times} times" if verdict.times > 1 else ""
        lasted = f"Lasted {_duration(verdict.until - verdict.since)}, from {_clock(verdict.since)} to {_clock(verdict.until)}{again}"
        return [lasted, *([alarm.figure] if alarm.state == "OK" else [])]

    def _runbook(self, alarm: Alarm) -> list[tuple[str, str]]:
        if not alarm.runbook:
            return []
        if not self.runbooks_url:
            return [("", f"Runbook: {alarm.runbook}")]
        return [("Runbook", f"{self.runbooks_url.rstrip('/')}/{quote(alarm.runbook)}")]


def _scrubbed(telling: Telling) -> Telling:
    return replace(
        telling,
        title=scrub(telling.title),
        lines=tuple(map(scrub, telling.lines)),
        links=tuple((label, scrub(url)) for label, url in telling.links),
        verbatim=scrub(telling.verbatim),
    )


# Slack


@dataclass(frozen=True)
class Post:
    """One message of Slack: what a notification shows, the text of each block, and what it tells."""

    summary: str
    blocks: tuple[str, ...]
    tellings: tuple[Telling, ...]


def posts(tellings: Sequence[Telling], environment: str) -> list[Post]:
    """All of them, in as few messages as Slack's limits allow."""
    block = _in_full if len(tellings) <= IN_FULL else _in_a_line
    folded = fold(tellings, lambda telling: len(block(telling, environment)), MOST_OF_A_MESSAGE, MOST_BLOCKS)
    return [_post(part, [block(telling, environment) for telling in part], environment) for part in folded]


def fold(tellings: Sequence[Telling], size: Callable[[Telling], int], most: int, count: int) -> list[list[Telling]]:
    """In order, in parts of no more than `count` tellings and `most` in size."""
    parts: list[list[Telling]] = []
    room = 0
    for telling in tellings:
        if not parts or room < size(telling) or len(parts[-1]) == count:
            parts.append([])
            room = most
        parts[-1].append(telling)
        room -= size(telling)
    return parts


def _post(tellings: list[Telling], blocks: list[str], environment: str) -> Post:
    short = escaped(summary(tellings, environment), 300)
    if len(tellings) > 1:
        blocks.insert(0, f"*{short}*")
    if any(telling.pages for telling in tellings):
        blocks[0] = f"<!channel> {blocks[0]}"
    return Post(short, tuple(blocks), tuple(tellings))


def _in_full(telling: Telling, environment: str) -> str:
    words = f"{environment}: {telling.title}" if telling.kind == "notice" else f"{environment}: {WORDS[telling.kind]}: {telling.title}"
    head, links = f":{MARKS[telling.kind]}: *{escaped(words, 500)}*", _links(telling)
    room = MOST_OF_A_BLOCK - len(head) - len(links) - 10
    body = escaped("\n".join(telling.lines), room // 2 if telling.verbatim else room)
    quoted = f"```{escaped(telling.verbatim, room - len(body))}```" if telling.verbatim else ""
    return "\n".join(filter(None, (head, body, quoted, links)))


def _in_a_line(telling: Telling, environment: str) -> str:
    head = f":{MARKS[telling.kind]}: *{escaped(telling.title, 300)}*"
    return " · ".join(filter(None, (head, escaped(" · ".join((*telling.lines, telling.verbatim)), 800), _links(telling))))


def _links(telling: Telling) -> str:
    return " · ".join(
        f"<{_linked(url)}|{escaped(label, 50)}>" if label and len(url) < MOST_OF_A_LINK else escaped(url, 300)
        for label, url in telling.links[:MOST_LINKS]
    )


def escaped(text: str, most: int) -> str:
    """As Slack wants it (https://docs.slack.dev/messaging/formatting-message-text#escaping), in at most `most` characters."""
    whole = html.escape(text, quote=False)
    return whole if len(whole) <= most else re.sub(r"&[a-z]{0,3}$", "", whole[: max(0, most - 1)]) + "…"


def _linked(url: str) -> str:
    return quote(url, safe="/:?#[]@!$&'()*+,;=%~").replace("&", "&amp;")


# E-mail


@dataclass(frozen=True)
class Mail:
    """One e-mail and what it tells."""

    subject: str
    text: str
    tellings: tuple[Telling, ...]


def mails(tellings: Sequence[Telling], environment: str) -> list[Mail]:
    """All of them, in as few e-mails as SNS's limits allow."""
    parts = fold(tellings, lambda telling: len(_paragraph(telling, environment).encode()) + 2, MOST_OF_A_MAIL, len(tellings))
    return [
        Mail(_subject(part, environment), "\n\n".join(_paragraph(telling, environment) for telling in part), tuple(part)) for part in parts
    ]


def _subject(tellings: Sequence[Telling], environment: str) -> str:
    text = re.sub(r"[^\x20-\x7e]", "?", f"Carmen {summary(tellings, environment)}")
    return text if len(text) <= MOST_OF_A_SUBJECT else f"{text[: MOST_OF_A_SUBJECT - 3]}..."


def _paragraph(telling: Telling, environment: str) -> str:
    links = [f"{label}: {url}" if label else url for label, url in telling.links]
    text = "\n".join(filter(None, (f"{environment}: {WORDS[telling.kind]}: {telling.title}", *telling.lines, telling.verbatim, *links)))
    whole = text.encode()
    return text if len(whole) < MOST_OF_A_MAIL else whole[: MOST_OF_A_MAIL - 10].decode(errors="ignore") + "…"


def summary(tellings: Sequence[Telling], environment: str) -> str:
    """`prod: ALARM: Nobody can sign in`, or `prod: 12 alerts: 10 ALARM, 2 RECOVERED`."""
    if len(tellings) == 1:
        return f"{environment}: {WORDS[tellings[0].kind]}: {tellings[0].title}"
    counts = {word: sum(telling.kind == kind for telling in tellings) for kind, word in WORDS.items()}
    return f"{environment}: {len(tellings)} alerts: " + ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _console(alarm: Alarm) -> str:
    return (
        f"https://{alarm.region}.console.aws.amazon.com/cloudwatch/home?region={alarm.region}#alarmsV2:alarm/{quote(alarm.name, safe='')}"
    )


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(span: timedelta) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86_400
    parts = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if value]
    return " ".join(parts[:2])
