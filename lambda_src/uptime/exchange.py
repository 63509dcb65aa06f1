"""One HTTP request within a total deadline. Measures every step, and describes every failure.

http.client parses the answer from a reader with a total deadline. The time-outs of urllib, http.client and sockets restart with every
read, so a server that sends a byte per second never reaches them.
"""

from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

BODY_LIMIT = 256 * 1024  # bytes read at most; a check's text must be within
ANSWER_LIMIT = 4 * 2**20  # bytes in total; http.client limits headers and chunks less strictly
PORTS = {"http": 80, "https": 443}
# A result of getaddrinfo: family, kind, protocol, canonical name, address.
Address = tuple[int, int, int, str, tuple[Any, ...]]
Resolver = Callable[[str, int], Sequence[Address]]

# X509_V_ERR_… of OpenSSL's x509_vfy.h
_EXPIRED = 10
_BAD_CERTIFICATE = {
    9: "the certificate is not valid yet",
    _EXPIRED: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's authority is unknown",
    20: "the certificate's authority is unknown",
    21: "the certificate's authority is unknown",
    62: "the certificate is for another host than {host}",
    64: "the certificate is for another host than {host}",
}
_WHERE = {
    "dns": "while the name was resolved",
    "connect": "while connecting",
    "tls": "in the TLS handshake",
    "first_byte": "before an answer came",
    "last_byte": "in the middle of the answer",
}


class CheckFailed(Exception):
    """The description of a failure. `step`: dns, connect, tls, first_byte, last_byte or answer."""

    def __init__(self, step: str, description: str) -> None:
        super().__init__(description)
        self.step = step


@dataclass
class Watch:
    """Deadline and measurements of one check. Redirects add to the same steps."""

    seconds: float
    milliseconds: dict[str, float] = field(default_factory=dict)
    bytes_received: int = 0
    certificate_days: float | None = None
    _start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds left, always positive. Raises TimeoutError after the deadline."""
        left = self.seconds - self.elapsed()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        return left

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        before = self.elapsed()
        try:
            yield
        finally:
            self.milliseconds[name] = round(self.milliseconds.get(name, 0) + 1000 * (self.elapsed() - before), 1)


def system_resolver(host: str, port: int) -> Sequence[Address]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True)
class Site:
    """Carmen's address, and how to connect to it."""

    scheme: str
    host: str
    port: int
    user_agent: str
    context: ssl.SSLContext
    resolver: Resolver = system_resolver

    @classmethod
    def at(cls, url: str, user_agent: str, *, resolver: Resolver = system_resolver) -> Site:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"{url!r} is not a site's address: use https:// and a host without a path, like the output Url.")
        context = ssl.create_default_context()
        return cls(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], user_agent, context, resolver)

    @property
    def authority(self) -> str:
        """Host, and port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def target(self, location: str, seen_from: str) -> str:
        """Path and query of a redirect. Raises CheckFailed if it leaves this site."""
        try:
            to = urlsplit(urljoin(f"{self.scheme}://{self.authority}{seen_from}", location))
            where = (to.scheme, to.hostname, to.port or PORTS.get(to.scheme))
        except ValueError:
            raise CheckFailed("answer", "redirects to an invalid address") from None
        if to.scheme == "http" and self.scheme == "https":
            raise CheckFailed("answer", f"redirects to http://{to.hostname}{to.path}, without encryption")
        if where != (self.scheme, self.host, self.port):
            raise CheckFailed("answer", f"redirects to another host, {to.scheme}://{to.hostname}{to.path}")
        # http.client decodes headers as latin-1; the original bytes must be escaped.
        return quote((to.path or "/") + (f"?{to.query}" if to.query else ""), safe="/?#[]@!$&'()*+,;=:%~", encoding="latin-1")


@dataclass(frozen=True)
class Answer:
    """The answer for `target`. `body`: the first BODY_LIMIT bytes; `whole`: whether that is all.

    `challenged`: AWS WAF answered instead of the site, with a challenge for browsers: status 202 and `x-amzn-waf-action: challenge`.
    Source: AWS WAF Developer Guide, "How the AWS WAF CAPTCHA and Challenge actions work"; API Reference, ChallengeAction.
    """

    target: str
    status: int
    location: str | None
    body: bytes
    whole: bool
    challenged: bool = False


def exchange(site: Site, target: str, request_id: str, watch: Watch) -> Answer:
    """Request `target` (path and query) on a new connection."""
    with ExitStack() as stack:
        with _step("dns", site, watch):
            addresses = _resolve(site, watch)
        with _step("connect", site, watch):
            connection = stack.enter_context(_connect(addresses, watch))
        if site.scheme == "https":
            with _step("tls", site, watch):
                connection = stack.enter_context(_secure(connection, site, watch))
        reader = _Reader(connection, watch)
        with _step("first_byte", site, watch):
            connection.settimeout(watch.left())
            connection.sendall(_request(site, target, request_id))
            if not reader.buffered.peek(1):
                raise CheckFailed("first_byte", "the connection was closed without an answer")
        with _step("last_byte", site, watch):
            return _read(reader, target)


def _resolve(site: Site, watch: Watch) -> Sequence[Address]:
    """Resolve in a daemon thread: getaddrinfo has no deadline, and must not keep the process alive."""
    found: Future[Sequence[Address]] = Future()

    def look_up() -> None:
        try:
            found.set_result(site.resolver(site.host, site.port))
        except Exception as error:  # noqa: BLE001 (raised by `result`)
            found.set_exception(error)

    threading.Thread(target=look_up, name=f"resolve {site.host}", daemon=True).start()
    return found.result(watch.left())


def _connect(addresses: Sequence[Address], watch: Watch) -> socket.socket:
    """Connect to the first address that answers. Each gets a share of the time left, so a silent address leaves time for the others."""
    failed: dict[str, OSError] = {}
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            failed[address[0]] = error
            continue
        try:
            connection.settimeout(watch.left() / (len(addresses) - number))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            failed[address[0]] = error
    raise CheckFailed("connect", _no_connection(addresses, failed, watch.seconds))


def _no_connection(addresses: Sequence[Address], failed: dict[str, OSError], seconds: float) -> str:
    unreachable = (errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
    if all(one[0] == socket.AF_INET6 for one in addresses) and all(error.errno in unreachable for error in failed.values()):
        return f"the name has IPv6 addresses only ({', '.join(failed)}), and this machine has no IPv6"

    def describe(error: OSError) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "refused it"
        return "did not answer" if isinstance(error, TimeoutError) else f"failed: {error.strerror}"

    limit = f" within {seconds:g} s" if any(isinstance(error, TimeoutError) for error in failed.values()) else ""
    return f"no connection{limit}: " + ", ".join(f"{address} {describe(error)}" for address, error in failed.items())


def _secure(connection: socket.socket, site: Site, watch: Watch) -> ssl.SSLSocket:
    connection.settimeout(watch.left())
    try:
        secured = site.context.wrap_socket(connection, server_hostname=site.host)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            watch.certificate_days = 0
        raise
    certificate = secured.getpeercert() or {}
    expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    watch.certificate_days = round((expires - time.time()) / 86_400, 2)
    return secured


def _request(site: Site, target: str, request_id: str) -> bytes:
    headers = {
        "Host": site.authority,
        "User-Agent": site.user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "X-Request-Id": request_id,
        "Connection": "close",
    }
    return "\r\n".join([f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("ascii")


class _Reader(io.RawIOBase):
    """A connection's bytes, read within the total deadline. http.client calls `makefile`."""

    def __init__(self, connection: socket.socket, watch: Watch) -> None:
        self._connection, self._watch = connection, watch
        self.ended, self._received = False, 0
        self.buffered = io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._watch.left())
        count = self._connection.recv_into(buffer)
        self.ended = not count
        self._watch.bytes_received += count
        self._received += count
        if self._received > ANSWER_LIMIT:
            raise CheckFailed("last_byte", f"the answer is not HTTP: more than {ANSWER_LIMIT // 2**20} MiB without an end")
        return count

    def makefile(self, mode: str) -> io.BufferedReader[Any]:
        return self.buffered


def _read(reader: _Reader, target: str) -> Answer:
    response = http.client.HTTPResponse(reader)  # type: ignore[arg-type]
    response.begin()
    if reader.ended:  # http.client mistakes it for the end of the headers
        raise CheckFailed("last_byte", "the connection was closed in the middle of the headers")
    body = response.read(BODY_LIMIT)
    missing = response.length or 0
    if missing and len(body) < BODY_LIMIT:
        raise CheckFailed("last_byte", f"the connection was closed {missing:,} bytes before the end of the body")
    whole = len(body) < BODY_LIMIT or not (missing or response.read(1))
    challenged = response.status == 202 and response.headers["x-amzn-waf-action"] == "challenge"
    return Answer(target, response.status, response.headers["Location"], body, whole, challenged)


@contextmanager
def _step(name: str, site: Site, watch: Watch) -> Iterator[None]:
    """Measure a step, and describe its errors."""
    try:
        with watch.step(name):
            yield
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CheckFailed(name, _describe_error(error, name, site, watch)) from error


def _describe_error(error: Exception, step: str, site: Site, watch: Watch) -> str:
    match error:
        case TimeoutError():
            return _describe_timeout(step, site, watch)
        case socket.gaierror():
            return f"the name {site.host} cannot be resolved: {error.strerror}"
        case ssl.SSLCertVerificationError():
            return _BAD_CERTIFICATE.get(error.verify_code, f"the certificate is refused: {error.verify_message}").replace(
                "{host}", site.host
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | BrokenPipeError():
            return f"the connection was closed {_WHERE[step]}"
        case ssl.SSLError():
            return f"TLS failed {_WHERE[step]}: {(error.reason or str(error)).replace('_', ' ').lower()}"
        case ConnectionResetError():
            return f"the connection was reset {_WHERE[step]}"
        case http.client.IncompleteRead():
            return "the connection was closed in the middle of the body"
        case http.client.HTTPException() | ValueError() if step == "last_byte":
            return f"the answer is not HTTP: {type(error).__name__}"
    return f"failed {_WHERE[step]}: {error}"


def _describe_timeout(step: str, site: Site, watch: Watch) -> str:
    limit = f"within {watch.seconds:g} s"
    before = sum(value for name, value in watch.milliseconds.items() if name != step) / 1000
    match step:
        case "dns":
            return f"the name {site.host} was not resolved {limit}"
        case "tls":
            return f"no TLS handshake {limit}: connected after {before:.2f} s"
        case "first_byte":
            return f"no answer {limit}: {'TLS handshake' if site.scheme == 'https' else 'connected'} after {before:.2f} s, then no data"
    return f"the answer did not end {limit}: {watch.bytes_received:,} bytes received"
