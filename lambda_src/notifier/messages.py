"""Texts of Slack messages and e-mails. A notification is the text of one event."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from common.scrubbed_logs import scrub

from notifier.events import Alarm, Event, Notice, RecoveryCheck
from notifier.incidents import Decision, Rules

# https://docs.slack.dev/reference/block-kit/blocks: 50 blocks of 3,000 characters. In total about 13,000, which is undocumented
# (slackapi/bolt-js#2509, #2867).
MAX_BLOCKS = 45
MAX_BLOCK = 2900
MAX_SLACK_POST = 10_000
MAX_LINKS, MAX_LINK = 3, 500
MAX_IN_FULL = 3  # notifications per message; with more, each is one line
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: 256 KB, and a subject of less than 100 ASCII characters.
MAX_EMAIL = 200_000
MAX_SUBJECT = 99
EMOJI = {"opened": "rotating_light", "flapping": "warning", "recovered": "white_check_mark", "notice": "information_source"}
LABELS = {"opened": "ALARM", "flapping": "FLAPPING", "recovered": "RECOVERED", "notice": "notice"}


@dataclass(frozen=True)
class Notification:
    """The text of one event. `kind` is the decision's. A link without a label is plain text, for example a path in the repository."""

    key: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    verbatim: str = ""
    pages: bool = False


@dataclass(frozen=True)
class NotificationFactory:
    """Creates the notifications of an environment."""

    environment: str
    runbooks_url: str
    rules: Rules

    def create(self, event: Event, decision: Decision) -> Notification:
        """The event's notification, without secrets."""
        if isinstance(event, Notice):
            return _scrubbed(Notification(event.key, "notice", event.title, event.lines, event.links, event.verbatim))
        alarm = event.alarm if isinstance(event, RecoveryCheck) else event
        lines = {"opened": self._opened, "flapping": self._flapping, "recovered": self._recovered}[decision.kind](alarm, decision)
        links = (("Alarm and graph", _console(alarm)), *self._runbook(alarm), ("", alarm.name))
        pages = alarm.pages and decision.kind == "opened"
        return _scrubbed(Notification(event.key, decision.kind, alarm.summary, tuple(lines), links, pages=pages))

    def _opened(self, alarm: Alarm, decision: Decision) -> list[str]:
        causes = [f"Caused by {', '.join(alarm.children)}"] if alarm.children else []
        return [f"Since {_time(alarm.at)}", alarm.figure, *causes]

    def _flapping(self, alarm: Alarm, decision: Decision) -> list[str]:
        window = _duration(self.rules.window)
        return [
            f"Opened {decision.times} times within {window}, last at {_time(alarm.at)}",
            alarm.figure,
            f"No further messages until the alarm has been quiet for {window}",
        ]

    def _recovered(self, alarm: Alarm, decision: Decision) -> list[str]:
        assert decision.since
        assert decision.until
        again = f", opened {decision.times} times" if decision.times > 1 else ""
        lasted = f"Lasted {_duration(decision.until - decision.since)}, from {_time(decision.since)} to {_time(decision.until)}{again}"
        return [lasted, *([alarm.figure] if alarm.state == "OK" else [])]

    def _runbook(self, alarm: Alarm) -> list[tuple[str, str]]:
        if not alarm.runbook:
            return []
        if not self.runbooks_url:
            return [("", f"Runbook: {alarm.runbook}")]
        return [("Runbook", f"{self.runbooks_url.rstrip('/')}/{quote(alarm.runbook)}")]


def _scrubbed(notification: Notification) -> Notification:
    return replace(
        notification,
        title=scrub(notification.title),
        lines=tuple(map(scrub, notification.lines)),
        links=tuple((label, scrub(url)) for label, url in notification.links),
        verbatim=scrub(notification.verbatim),
    )


# Slack


@dataclass(frozen=True)
class SlackPost:
    """One Slack message: the summary for push notifications, and the text of each block."""

    summary: str
    blocks: tuple[str, ...]
    notifications: tuple[Notification, ...]


def slack_posts(notifications: Sequence[Notification], environment: str) -> list[SlackPost]:
    """All notifications, in as few messages as Slack's limits allow."""
    block = _in_full if len(notifications) <= MAX_IN_FULL else _in_one_line
    parts = split(notifications, lambda notification: len(block(notification, environment)), MAX_SLACK_POST, MAX_BLOCKS)
    return [_post(part, [block(notification, environment) for notification in part], environment) for part in parts]


def split(
    notifications: Sequence[Notification], size: Callable[[Notification], int], max_size: int, count: int
) -> list[list[Notification]]:
    """Split in order into parts of at most `count` notifications and total size `max_size`."""
    parts: list[list[Notification]] = []
    room = 0
    for notification in notifications:
        needed = size(notification)
        if not parts or room < needed or len(parts[-1]) == count:
            parts.append([])
            room = max_size
        parts[-1].append(notification)
        room -= needed
    return parts


def _post(notifications: list[Notification], blocks: list[str], environment: str) -> SlackPost:
    short = escape(summary(notifications, environment), 300)
    if len(notifications) > 1:
        blocks.insert(0, f"*{short}*")
    if any(notification.pages for notification in notifications):
        blocks[0] = f"<!channel> {blocks[0]}"
    return SlackPost(short, tuple(blocks), tuple(notifications))


def _in_full(notification: Notification, environment: str) -> str:
    heading = (
        f"{environment}: {notification.title}"
        if notification.kind == "notice"
        else f"{environment}: {LABELS[notification.kind]}: {notification.title}"
    )
    head, links = f":{EMOJI[notification.kind]}: *{escape(heading, 500)}*", _links(notification)
    room = MAX_BLOCK - len(head) - len(links) - 10
    body = escape("\n".join(notification.lines), room // 2 if notification.verbatim else room)
    quoted = f"```{escape(notification.verbatim, room - len(body))}```" if notification.verbatim else ""
    return "\n".join(filter(None, (head, body, quoted, links)))


def _in_one_line(notification: Notification, environment: str) -> str:
    head = f":{EMOJI[notification.kind]}: *{escape(notification.title, 300)}*"
    return " · ".join(filter(None, (head, escape(" · ".join((*notification.lines, notification.verbatim)), 800), _links(notification))))


def _links(notification: Notification) -> str:
    return " · ".join(
        f"<{_escape_url(url)}|{escape(label, 50)}>" if label and len(url) < MAX_LINK else escape(url, 300)
        for label, url in notification.links[:MAX_LINKS]
    )


def escape(text: str, limit: int) -> str:
    """Escape for Slack (https://docs.slack.dev/messaging/formatting-message-text#escaping), in at most `limit` characters."""
    whole = html.escape(text, quote=False)
    return whole if len(whole) <= limit else re.sub(r"&[a-z]{0,3}$", "", whole[: max(0, limit - 1)]) + "…"


def _escape_url(url: str) -> str:
    return quote(url, safe="/:?#[]@!$&'()*+,;=%~").replace("&", "&amp;")


# E-mail


@dataclass(frozen=True)
class Email:
    """One e-mail."""

    subject: str
    text: str
    notifications: tuple[Notification, ...]


def emails(notifications: Sequence[Notification], environment: str) -> list[Email]:
    """All notifications, in as few e-mails as SNS's limits allow."""
    parts = split(
        notifications, lambda notification: len(_paragraph(notification, environment).encode()) + 2, MAX_EMAIL, len(notifications)
    )
    return [
        Email(_subject(part, environment), "\n\n".join(_paragraph(notification, environment) for notification in part), tuple(part))
        for part in parts
    ]


def _subject(notifications: Sequence[Notification], environment: str) -> str:
    text = re.sub(r"[^\x20-\x7e]", "?", f"Carmen {summary(notifications, environment)}")
    return text if len(text) <= MAX_SUBJECT else f"{text[: MAX_SUBJECT - 3]}..."


def _paragraph(notification: Notification, environment: str) -> str:
    links = [f"{label}: {url}" if label else url for label, url in notification.links]
    text = "\n".join(
        filter(
            None, (f"{environment}: {LABELS[notification.kind]}: {notification.title}", *notification.lines, notification.verbatim, *links)
        )
    )
    whole = text.encode()
    return text if len(whole) < MAX_EMAIL else whole[: MAX_EMAIL - 10].decode(errors="ignore") + "…"


def summary(notifications: Sequence[Notification], environment: str) -> str:
    """`prod: ALARM: Sign-in fails`, or `prod: 12 alerts: 10 ALARM, 2 RECOVERED`."""
    if len(notifications) == 1:
        return f"{environment}: {LABELS[notifications[0].kind]}: {notifications[0].title}"
    counts = {label: sum(notification.kind == kind for notification in notifications) for kind, label in LABELS.items()}
    return f"{environment}: {len(notifications)} alerts: " + ", ".join(f"{count} {label}" for label, count in counts.items() if count)


def _console(alarm: Alarm) -> str:
    return (
        f"https://{alarm.region}.console.aws.amazon.com/cloudwatch/home?region={alarm.region}#alarmsV2:alarm/{quote(alarm.name, safe='')}"
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _duration(span: timedelta) -> str:
    """`45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86_400
    parts = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if value]
    return " ".join(parts[:2])
