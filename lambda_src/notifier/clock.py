"""The time, as the notifier sees it. Tests pass a clock that they move themselves."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
