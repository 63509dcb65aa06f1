"""The part of Redis's protocol (RESP2) that probe and rotation need, over TLS, with one deadline for all commands.

A client library would be a dependency for a few commands, and none has a total deadline: a server that sends single bytes never
reaches a read time-out.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Self

from common import tls

_LONGEST_REPLY = 1_000_000


class RedisError(Exception):
    """An error reply, or a reply that violates the protocol."""


class Redis:
    """One connection: `with Redis(host, port, seconds=5) as redis: redis.command("PING")`."""

    def __init__(self, host: str, port: int, *, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._buffer = b""
        context = tls.public_context(None)
        raw = socket.create_connection((host, port), timeout=self._left())
        try:
            raw.settimeout(self._left())
            self._socket = context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def command(self, *words: str) -> str:
        """Send a command and return the reply. Raises error replies without the command, which may contain the password."""
        encoded = [word.encode() for word in words]
        self._socket.settimeout(self._left())
        self._socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        line = self._line()
        kind, rest = line[:1], line[1:].decode(errors="replace")
        if kind == b"-":
            raise RedisError(f"{words[0]}: {rest}")
        if kind in (b"+", b":"):
            return rest
        if kind == b"$":
            return self._bytes(int(rest)).decode(errors="replace")
        raise RedisError(f"{words[0]}: a Redis reply cannot begin with {kind!r}")

    def info(self, section: str) -> dict[str, str]:
        """`INFO section` as its fields."""
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._receive()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _bytes(self, length: int) -> bytes:
        if not 0 <= length <= _LONGEST_REPLY:
            raise RedisError(f"unexpected reply of {length} bytes")
        while len(self._buffer) < length + 2:
            self._receive()
        found, self._buffer = self._buffer[:length], self._buffer[length + 2 :]
        return found

    def _receive(self) -> None:
        self._socket.settimeout(self._left())
        received = self._socket.recv(65_536)
        if not received:
            raise RedisError("the connection was closed in the middle of the reply")
        self._buffer += received
        if len(self._buffer) > _LONGEST_REPLY:
            raise RedisError("the reply is too long")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("Redis did not answer in time")
        return left
