"""Clients that query the deployed application continuously and keep every failure."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from types import TracebackType
from typing import Self

from local.deployment import Deployment

GONE_SECONDS = 1.5  # a task that has ended stays on the list for a moment


class Clients:
    """`with Clients(deployment) as clients:` requests the health path of every running task, over the database, until the block ends.

    The stand-in behaves as the application does: it reads its credentials at start; each query opens a connection.
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
        except OSError as error:  # the task has just ended or does not listen yet; otherwise this is a failure
            if arn in self.asked:
                time.sleep(GONE_SECONDS)
                if any(task["arn"] == arn for task in self._deployment.tasks()):
                    self.failures.append(str(error))
