"""Misbehaving servers on 127.0.0.1, with real sockets and TLS.

`Server(behave)` passes every connection, after its TLS handshake, to `behave` in a separate thread. Endless behaviours end with the
server.
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
    """`with Server(behaviour) as server`, with TLS if `context` is given. Keeps the requests, and counts the bytes sent."""

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
        self._listener.shutdown(socket.SHUT_RDWR)  # close does not end accept
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
        with contextlib.suppress(OSError), connection:  # the client may close early
            served = self._context.wrap_socket(connection, server_side=True) if self._context else connection
            with served:
                self._behave(served, self)


def request(connection: socket.socket, server: Server) -> str:
    """Read a whole request. Return its path."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError("no request")
        received += part
    server.requests.append(received.decode())
    return server.requests[-1].split(" ")[1]


def answer(body: bytes = b"ok", status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode("latin-1") + body


def answers(pages: dict[str, bytes], *, after_seconds: float = 0, slow: frozenset[str] = frozenset()) -> Behaviour:
    """Correct behaviour: each path's answer, 404 for others; the `slow` ones after twice the time."""

    def behave(connection: socket.socket, server: Server) -> None:
        path = request(connection, server).partition("?")[0]
        server.stopped.wait(2 * after_seconds if path in slow else after_seconds)
        server.send(connection, pages.get(path, answer(b"", "404 Not Found")))

    return behave


def sends(data: bytes) -> Behaviour:
    """Send the same bytes to every request, and close."""

    def behave(connection: socket.socket, server: Server) -> None:
        request(connection, server)
        server.send(connection, data)

    return behave


def resets_after(data: bytes) -> Behaviour:
    """End with a reset: without lingering, close() discards data and sends RST."""

    def behave(connection: socket.socket, server: Server) -> None:
        request(connection, server)
        server.send(connection, data)
        server.stopped.wait(0.1 if data else 0)  # lets the client read the data first
        _reset(connection)

    return behave


def sends_to_anything(data: bytes) -> Behaviour:
    """Answer any data, even if it is not HTTP."""

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
    """Read the request and send nothing."""
    request(connection, server)
    server.stopped.wait()


def sends_nothing(connection: socket.socket, server: Server) -> None:
    server.stopped.wait()


def drips(data: bytes, *, first: bytes = b"", every_seconds: float = 1) -> Behaviour:
    """Send `first`, then single bytes: no read of a client times out."""

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
    plain = socket.socket(fileno=connection.detach())  # SSLSocket.close may first send a TLS close_notify
    plain.close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections wait forever, as behind a firewall: its queue is full, and no process accepts."""
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
