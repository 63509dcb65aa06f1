"""Parse and check maintenance windows and cron expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
CRON_FORM = "cron(minute hour day-of-month month day-of-week year), such as cron(30 0 * * ? *)"


@dataclass(frozen=True)
class CronField:
    """One field of a cron expression; `special` matches whole-field forms other than numbers, ranges, lists and steps."""

    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()
    special: str = r"(?!)"
    steps: bool = True

    @property
    def allowed(self) -> str:
        """`0 to 59`, `1 to 12 or JAN to DEC`."""
        return f"{self.lowest} to {self.highest}" + (f" or {self.words[0]} to {self.words[-1]}" if self.words else "")

    def accepts(self, text: str) -> bool:
        """Whether `text` is valid in this field."""
        return bool(re.fullmatch(self.special, text)) or all(self._accepts_item(item) for item in text.split(","))

    def _accepts_item(self, item: str) -> bool:
        values, slash, step = item.partition("/")
        if slash and not (self.steps and step.isdecimal() and 1 <= int(step) <= self.highest):
            return False
        return values == "*" or all(self._is_value(value) for value in values.split("-", 1))

    def _is_value(self, text: str) -> bool:
        return text in self.words or (text.isdecimal() and self.lowest <= int(text) <= self.highest)


# EventBridge Scheduler's table, which Application Auto Scaling follows:
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based
CRON_FIELDS = (
    CronField("minute", 0, 59),
    CronField("hour", 0, 23),
    CronField("day of month", 1, 31, special=r"\?|L|([1-9]|[12]\d|3[01])W"),
    CronField("month", 1, 12, words=MONTHS),
    CronField("day of week", 1, 7, words=("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), special=r"\?|[1-7]?L|[1-7]#[1-5]", steps=False),
    CronField("year", 1970, 2199),
)


def check_cron(expression: str) -> None:
    """Raise ValueError unless this is a cron expression that AWS accepts."""
    match = re.fullmatch(r"cron\((.*)\)", expression)
    if not match:
        raise ValueError(f"must be {CRON_FORM}")
    texts = match[1].split()
    if len(texts) != len(CRON_FIELDS):
        raise ValueError(f"has {len(texts)} fields instead of {len(CRON_FIELDS)}: {CRON_FORM}")
    wrong = [
        f"{field.name} '{text}' is not {field.allowed}" for field, text in zip(CRON_FIELDS, texts, strict=True) if not field.accepts(text)
    ]
    if not wrong and (texts[2] == "?") == (texts[4] == "?"):
        wrong = ["exactly one of day of month and day of week must be '?'"]
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}: {CRON_FORM}")


def fires(cron: str) -> set[tuple[int, int]]:
    """All (day of the week from Monday, minute of the day) at which a schedule can run, in its time zone."""
    minute, hour, day_of_month, _, day_of_week, _ = cron.removeprefix("cron(").removesuffix(")").split()
    minutes = {at * 60 + past for at in _expanded(hour, CRON_FIELDS[1]) for past in _expanded(minute, CRON_FIELDS[0])}
    if day_of_week == "?":  # any day of the week, except for W: the weekday nearest to a date
        days = set(range(5)) if day_of_month.endswith("W") else set(range(7))
    else:
        days = {(number - 2) % 7 for number in _expanded(re.sub(r"#.|L", "", day_of_week) or "7", CRON_FIELDS[4])}  # 1 is Sunday
    return {(day, at) for day in days for at in minutes}


def _expanded(text: str, field: CronField) -> set[int]:
    """The numbers that one field of a cron expression selects."""
    found: set[int] = set()
    for item in text.split(","):
        values, _, step = item.partition("/")
        first, _, last = values.partition("-")
        lowest = field.lowest if first == "*" else _number(first, field)
        highest = _number(last, field) if last else field.highest if first == "*" or step else lowest
        found |= set(range(lowest, highest + 1, int(step or 1)))
    return found


def _number(text: str, field: CronField) -> int:
    return field.lowest + field.words.index(text) if text in field.words else int(text)


def minute_of_day(time: str) -> int:
    """The minute of the day of `07:30`."""
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def format_time(minute: int) -> str:
    """`07:30` for a minute of the day."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def daily_cron(time: str, days: Sequence[str]) -> str:
    """`cron(30 7 ? * MON,TUE *)` for `07:30` on these days."""
    minute = minute_of_day(time)
    return f"cron({minute % 60} {minute // 60} ? * {','.join(days)} *)"


def daily_minute(cron: str) -> int | None:
    """The minute of the day at which a schedule runs, if it names exactly one."""
    minute, hour = cron.removeprefix("cron(").split()[:2]
    return int(hour) * 60 + int(minute) if minute.isdecimal() and hour.isdecimal() else None


def window_minutes(window: str) -> tuple[int, int]:
    """(start, length) in minutes: of the day for 02:00-02:30, of the week for sun:23:30-mon:00:30."""
    start, end = (_minute(part) for part in window.split("-"))
    return start, (end - start) % (7 * 1440 if window[0].isalpha() else 1440)


def _minute(moment: str) -> int:
    day, time = (DAYS.index(moment[:3]), moment[4:]) if moment[0].isalpha() else (0, moment)
    return day * 1440 + minute_of_day(time)


def overlap_daily(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (start, length) in minutes overlap on some day, also across midnight."""
    return (other[0] - one[0]) % 1440 < one[1] or (one[0] - other[0]) % 1440 < other[1]
