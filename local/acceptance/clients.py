"""Clients of the deployed application while something happens under it: every answer that is not well is kept."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from types import TracebackType
from typing import Self

from local.deployment import Deployment

GONE_SECONDS = 1.5  # a task that ends is on the list a little longer


class Clients:
    """`with Clients(deployment) as clients:` asks every running task for its health, over the database, again and again.

    The stand-in behaves as the application does: credentials are fixed at its start, and each query has its own connection.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers = 0
        self.failures: list[str] = []
        self.asked: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            for task in self._deployment.tasks():
                if task["url"]:
                    self._ask_one(task["arn"], task["url"])

    def _ask_one(self, arn: str, url: str) -> None:
        try:
            with urllib.request.urlopen(f"{url}/api/health", timeout=5):
                self.answers += 1
                self.asked.add(arn)
        except urllib.error.HTTPError as answer:
            self.failures.append(f"{answer.code} {answer.read().decode()}")
        except OSError as error:  # it has just been ended, or not begun to listen; or it should have answered
            if arn in self.asked:
                time.sleep(GONE_SECONDS)
                if any(task["arn"] == arn for task in self._deployment.tasks()):
                    self.failures.append(str(error))
