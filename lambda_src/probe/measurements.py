"""The parts of a probe. Each runs in its own thread, so that one that hangs does not affect the others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from common import database
from common.redis import Redis

from probe.metric import Metric
from probe.postgresql import statistics


@dataclass
class Part:
    """`measure` appends to `metrics`. Measurements before a failure are kept."""

    name: str
    measure: Callable[[list[Metric]], None]
    metrics: list[Metric] = field(default_factory=list)
    error: str | None = "did not end in time"


class Counters:
    """Growth of counters since the last probe of this process; None for the first, 0 after a reset."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def grown(self, name: str, value: int) -> int | None:
        last = self._last.get(name)
        self._last[name] = value
        return None if last is None else max(0, value - last)


def run(parts: Iterable[Part], seconds: float) -> list[Part]:
    """Run all parts concurrently. Return after at most `seconds`, with the measurements until then."""
    end = time.monotonic() + seconds
    parts = list(parts)
    threads = [threading.Thread(target=_run, args=(part,), name=part.name, daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return [Part(part.name, part.measure, list(part.metrics), part.error) for part in parts]  # copies: threads may continue


def _run(part: Part) -> None:
    try:
        part.measure(part.metrics)
    except Exception as error:  # noqa: BLE001 (reported as this part's error)
        part.error = f"{type(error).__name__}: {_message(error)}"
    else:
        part.error = None


def _message(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    return str(first.get("M", first)) if isinstance(first, dict) else str(error)


def proxy(secret: Callable[[], dict[str, str]], seconds: float) -> Callable[[list[Metric]], None]:
    """`SELECT 1` through the proxy, like the application."""

    def measure(metrics: list[Metric]) -> None:
        login = secret()
        start = time.monotonic()
        with closing(
            database.connect(
                host=os.environ["PROXY_HOST"],
                port=int(os.environ["DATABASE_PORT"]),
                database=os.environ["DATABASE_NAME"],
                user=login["username"],
                password=login["password"],
                timeout_seconds=seconds,
                application_name="carmen-probe",
                proxy=True,
            )
        ) as connection:
            metrics.append(Metric("ProxyConnectTime", "Milliseconds", _milliseconds(start)))
            _select_one(connection, "Proxy", metrics)

    return measure


def instance(counters: Counters, seconds: float) -> Callable[[list[Metric]], None]:
    """`SELECT 1` on the instance, and its statistics."""

    def measure(metrics: list[Metric]) -> None:
        start = time.monotonic()
        with closing(database.connect_as("carmen_monitor", timeout_seconds=seconds, application_name="carmen-probe")) as connection:
            metrics.append(Metric("DatabaseConnectTime", "Milliseconds", _milliseconds(start)))
            _select_one(connection, "Database", metrics)
            connection.run(f"SET statement_timeout = {int(seconds * 1000)}")
            found, deadlocks = statistics(connection)
        metrics += [*found, *_counter(counters, "DatabaseDeadlocks", deadlocks)]

    return measure


def redis(secret: Callable[[], dict[str, str]], counters: Counters, seconds: float) -> Callable[[list[Metric]], None]:
    """PING over TLS with AUTH, memory and evictions."""

    def measure(metrics: list[Metric]) -> None:
        token = secret()["value"]
        start = time.monotonic()
        with Redis(os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"]), seconds=seconds) as connection:
            connection.command("AUTH", token)
            metrics.append(Metric("RedisConnectTime", "Milliseconds", _milliseconds(start)))
            start = time.monotonic()
            if (answer := connection.command("PING")) != "PONG":
                raise ValueError(f"Redis answered PING with {answer[:40]!r}")
            metrics.append(Metric("RedisPingTime", "Milliseconds", _milliseconds(start)))
            memory, stats, clients = (connection.info(section) for section in ("memory", "stats", "clients"))
        used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
        metrics.append(Metric("RedisMemoryUsed", "Bytes", used))
        if most:  # 0 means unlimited
            metrics += [Metric("RedisMemoryMaximum", "Bytes", most), Metric("RedisMemoryUsedPercent", "Percent", 100 * used / most)]
        metrics.append(Metric("RedisConnections", "Count", int(clients["connected_clients"])))
        metrics += _counter(counters, "RedisEvictions", int(stats["evicted_keys"]))

    return measure


def _select_one(connection: Any, prefix: str, metrics: list[Metric]) -> None:
    start = time.monotonic()
    if (answer := connection.run("SELECT 1")) != [[1]]:
        raise ValueError(f"SELECT 1 was answered with {answer!r}")
    metrics.append(Metric(f"{prefix}SelectTime", "Milliseconds", _milliseconds(start)))


def _counter(counters: Counters, name: str, value: int) -> list[Metric]:
    """The counter, and its growth, which is unknown in the first probe of a process."""
    grown = counters.grown(name, value)
    return [Metric(f"{name}Total", "Count", value), *([] if grown is None else [Metric(name, "Count", grown)])]


def _milliseconds(start: float) -> float:
    return round(1000 * (time.monotonic() - start), 3)
