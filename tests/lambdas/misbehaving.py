"""Servers on 127.0.0.1 that do what servers should not: real sockets, real TLS, each fault as it is met outside.

`Server(behave)` hands every connection, after its TLS handshake, to `behave`, in a thread of its own; a behaviour reads the request
and does its worst. What it would do for ever ends with the server.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tools.processes import LOCALHOST

Behaviour = Callable[[socket.socket, "Server"], None]


class Server:
    """`with Server(behaviour) as server`, over TLS with a `context`. Keeps what it was asked and counts what it sent."""

    def __init__(self, behave: Behaviour, *, context: ssl.SSLContext | None = None, host: str = LOCALHOST) -> None:
        self._behave, self._context = behave, context
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self.stopped = threading.Event()
        self.requests: list[str] = []
        self.sent = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone leaves accept waiting
        self._listener.close()

    def url(self, host: str) -> str:
        return f"{'https' if self._context else 'http'}://{host}:{self.port}"

    def send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:  # whoever asked has had enough
            served = self._context.wrap_socket(connection, server_side=True) if self._context else connection
            with served:
                self._behave(served, self)


def request(connection: socket.socket, server: Server) -> str:
    """Reads a whole request; the path it asks for."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError("no request")
        received += part
    server.requests.append(received.decode())
    return server.requests[-1].split(" ")[1]


def answer(body: bytes = b"ok", status: str = "200 OK", **headers: str) -> bytes:
    given = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items()), "", ""]).encode("latin-1") + body


def answers(pages: dict[str, bytes], *, after_seconds: float = 0, slow: frozenset[str] = frozenset()) -> Behaviour:
    """As servers should: each path's own answer, 404 elsewhere; the `slow` ones after twice the time."""

    def behave(connection: socket.socket, server: Server) -> None:
        path = request(connection, server).partition("?")[0]
        server.stopped.wait(2 * after_seconds if path in slow else after_seconds)
        server.send(connection, pages.get(path, answer(b"", "404 Not Found")))

    return behave


def says(data: bytes) -> Behaviour:
    """The same bytes to whatever is asked, and closes."""

    def behave(connection: socket.socket, server: Server) -> None:
        request(connection, server)
        server.send(connection, data)

    return behave


def resets_after(data: bytes) -> Behaviour:
    """With a reset instead of an end: without lingering, close() throws away and sends RST."""

    def behave(connection: socket.socket, server: Server) -> None:
        request(connection, server)
        server.send(connection, data)
        server.stopped.wait(0.1 if data else 0)  # what was sent is to be read before
        _reset(connection)

    return behave


def says_to_anything(data: bytes) -> Behaviour:
    """Whatever comes, be it no HTTP at all."""

    def behave(connection: socket.socket, server: Server) -> None:
        connection.recv(65_536)
        server.send(connection, data)

    return behave


def resets_at_once(connection: socket.socket, server: Server) -> None:
    connection.recv(1)
    _reset(connection)


def closes(connection: socket.socket, server: Server) -> None:
    request(connection, server)


def hangs(connection: socket.socket, server: Server) -> None:
    """Takes the request and never says a word."""
    request(connection, server)
    server.stopped.wait()


def says_nothing_at_all(connection: socket.socket, server: Server) -> None:
    server.stopped.wait()


def drips(data: bytes, *, first: bytes = b"", every_seconds: float = 1) -> Behaviour:
    """`first`, then a byte every second: each read of a client succeeds in time, and none is the last."""

    def behave(connection: socket.socket, server: Server) -> None:
        request(connection, server)
        server.send(connection, first)
        for position in range(len(data)):
            server.send(connection, data[position : position + 1])
            if server.stopped.wait(every_seconds):
                return

    return behave


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain = socket.socket(fileno=connection.detach())  # an SSLSocket's own close may first say goodbye
    plain.close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that lets connections wait for ever, as a firewall that drops does: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOCALHOST, 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]
