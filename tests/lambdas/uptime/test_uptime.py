"""Uptime as deployed, with servers that misbehave over real TLS. Each fault is described, and in time."""

from __future__ import annotations

import errno
import io
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
import trustme
from aws_lambda_powertools.utilities.typing import LambdaContext
from uptime.checks import Endpoint, Result, check_all
from uptime.exchange import BODY_LIMIT, Address, Resolver, Site
from uptime.handler import handler, logger

from constructs_lib.compute.python_function import LIBRARIES, SOURCE
from constructs_lib.edge.waf import WebFirewall
from constructs_lib.foundation.inline_code import inline_code
from constructs_lib.monitoring.uptime import endpoints_as_json
from local.emulator.launcher import REGION
from settings.model import Settings
from tests.conftest import only
from tests.constructs.conftest import settings as constructs_settings
from tests.constructs.conftest import stack, template
from tests.lambdas import misbehaving as bad
from tests.lambdas.maintenance.test_maintenance import Context
from tests.lambdas.misbehaving import Server, answer
from tests.models.edge import waf
from tools.processes import LOCALHOST, free_port, node

HOST = "carmen.test"
DEADLINE = 0.8
LATE = 0.5  # how much later than its deadline a check may end
CA = trustme.CA()


def context(ca: trustme.CA = CA, *names: str, starts_in_days: float = -1, ends_in_days: float = 30.5) -> ssl.SSLContext:
    """A server's TLS context with a certificate for `names`, by default HOST."""
    made, now = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), datetime.now(UTC)
    begins, ends = now + timedelta(days=starts_in_days), now + timedelta(days=ends_in_days)
    ca.issue_cert(*(names or (HOST,)), not_before=begins, not_after=ends).configure_cert(made)
    return made


def self_signed(folder: Path) -> ssl.SSLContext:
    made, itself = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), trustme.CA()
    itself.cert_pem.write_to_path(folder / "certificate.pem")
    itself.private_key_pem.write_to_path(folder / "key.pem")
    made.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return made


TRUSTED = context()


@pytest.fixture
def ca_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The trusted authority's file, which OpenSSL finds by SSL_CERT_FILE."""
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return str(path)


def at(*addresses: tuple[str, int]) -> Resolver:
    """A resolver with these addresses for every name."""

    def resolve(host: str, port: int) -> Sequence[Address]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in address], socket.SOCK_STREAM, 0, "", (address, number)) for address, number in addresses]

    return resolve


@dataclass
class Ask:
    """Checks a site's endpoints, and asserts that they end in time."""

    seconds: float = 0

    def __call__(self, url: str, *endpoints: Endpoint, resolver: Resolver | None = None) -> list[Result]:
        port = int(url.rpartition(":")[2])
        site = Site.at(url, "carmen-uptime (environment test)", resolver=resolver or at((LOCALHOST, port)))
        start = time.monotonic()
        results = check_all(endpoints, site)
        self.seconds = time.monotonic() - start
        assert self.seconds <= max(endpoint.deadline_seconds for endpoint in endpoints) + LATE
        return results

    def one(self, url: str, endpoint: Endpoint | None = None, resolver: Resolver | None = None) -> Result:
        (result,) = self(url, endpoint or page(), resolver=resolver)
        return result


@pytest.fixture
def ask(ca_file: str) -> Ask:
    return Ask()


def page(path: str = "/", deadline_seconds: float = DEADLINE, **rules: Any) -> Endpoint:
    return Endpoint(path=path, deadline_seconds=deadline_seconds, **rules)


def https(server: Server) -> str:
    """The server's https:// address, even if it does not use TLS."""
    return f"https://{HOST}:{server.port}"


# Connections that fail


@dataclass
class Fault:
    """A server's behaviour, and the expected step and description (a pattern)."""

    behave: bad.Behaviour
    step: str
    words: str
    tls: ssl.SSLContext | None = field(default_factory=lambda: TRUSTED)
    scheme: str = "https"
    to_the_end: bool = False  # until the deadline


# Before python/cpython#115627, as in the first releases of 3.11 and 3.12, ssl shows a reset as an end.
RESET_WITHIN_TLS = "the connection was (reset before an answer came|closed without an answer)"
FAULTS = {
    "resets before TLS": Fault(bad.resets_at_once, "tls", "the connection was reset in the TLS handshake", tls=None),
    "speaks no TLS": Fault(
        bad.sends_to_anything(answer(b"", "400 Bad Request")), "tls", "TLS failed in the TLS handshake: wrong version number", tls=None
    ),
    "hangs in TLS": Fault(bad.sends_nothing, "tls", r"no TLS handshake within 0.8 s: connected after 0.\d\d s", tls=None, to_the_end=True),
    "resets before an answer": Fault(bad.resets_after(b""), "first_byte", "the connection was reset before an answer came", None, "http"),
    "resets within TLS": Fault(bad.resets_after(b""), "first_byte", RESET_WITHIN_TLS),
    "closes without an answer": Fault(bad.closes, "first_byte", "the connection was closed without an answer"),
    "hangs before the headers": Fault(
        bad.hangs, "first_byte", r"no answer within 0.8 s: TLS handshake after 0.\d\d s, then no data", to_the_end=True
    ),
    "resets in the headers": Fault(
        bad.resets_after(b"HTTP/1.1 200 OK\r\n"), "last_byte", "the connection was reset in the middle of the answer", None, "http"
    ),
    "resets in the body": Fault(
        bad.resets_after(answer(b"x" * 90, Content_Length="100")),
        "last_byte",
        "the connection was reset in the middle of the answer",
        None,
        "http",
    ),
    "closes in the headers": Fault(
        bad.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"), "last_byte", "the connection was closed in the middle of the headers"
    ),
    "closes in the body": Fault(
        bad.sends(answer(b"x" * 10, Content_Length="100")), "last_byte", "the connection was closed 90 bytes before the end of the body"
    ),
    "closes in a chunk": Fault(
        bad.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nnot so much"),
        "last_byte",
        "the connection was closed in the middle of the body",
    ),
    "drips the headers": Fault(
        bad.drips(answer(), every_seconds=0.2), "last_byte", r"the answer did not end within 0.8 s: \d bytes received", to_the_end=True
    ),
    "drips a byte a second": Fault(
        bad.drips(b"x" * 100, first=answer(Content_Length="200")),
        "last_byte",
        r"the answer did not end within 0.8 s: \d\d bytes received",
        to_the_end=True,
    ),
    "headers without end": Fault(bad.sends(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000), "last_byte", "the answer is not HTTP: .*"),
    "a line without end": Fault(bad.sends(b"HTTP/1.1 200 " + b"x" * 100_000), "last_byte", "the answer is not HTTP: LineTooLong"),
    "a chunk of less than nothing": Fault(
        bad.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + b"x" * 10_000_000),
        "last_byte",
        "the answer is not HTTP: more than 4 MiB without an end",
    ),
    "a chunk of much less": Fault(
        bad.sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-9\r\n"), "last_byte", "the answer is not HTTP: ValueError"
    ),
    "speaks something else": Fault(bad.sends(b"220 mail.example.com ESMTP\r\n"), "last_byte", "the answer is not HTTP: BadStatusLine"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_failed_connection_is_described_in_time(ask: Ask, name: str) -> None:
    fault = FAULTS[name]
    with Server(fault.behave, context=fault.tls) as server:
        result = ask.one(f"{fault.scheme}://{HOST}:{server.port}")
    assert result.reason is not None
    assert re.fullmatch(fault.words, result.reason), result.reason
    assert result.step == fault.step
    assert (ask.seconds > DEADLINE - 0.05) is fault.to_the_end
    assert list(result.milliseconds)[-2:] == [fault.step, "total"]
    assert (result.certificate_days is None) is (fault.tls is None or fault.step == "tls")


def test_refused_connection(ask: Ask) -> None:
    result = ask.one(f"https://{HOST}:{free_port()}")
    assert (result.reason, result.step) == ("no connection: 127.0.0.1 refused it", "connect")
    assert ask.seconds < 0.3


def test_silent_port(ask: Ask) -> None:
    with bad.silent_port() as port:
        result = ask.one(f"https://{HOST}:{port}")
    assert (result.reason, result.step) == (f"no connection within {DEADLINE} s: 127.0.0.1 did not answer", "connect")


def test_addresses_are_tried_in_order_within_the_deadline(ask: Ask) -> None:
    with bad.silent_port() as silent, Server(bad.sends(answer()), context=TRUSTED) as server:
        addresses = at((LOCALHOST, free_port()), (LOCALHOST, silent), ("127.0.0.2", silent), (LOCALHOST, server.port))
        result = ask.one(https(server), resolver=addresses)
        assert result.reason is None
        assert 1000 * DEADLINE / 4 < result.milliseconds["connect"] < 1000 * DEADLINE


# Names


def test_slow_name_server_ends_at_the_deadline(ask: Ask) -> None:
    ended = threading.Event()

    def hangs(host: str, port: int) -> Sequence[Address]:
        ended.wait(60)
        return []

    result = ask.one(f"https://{HOST}:1", resolver=hangs)
    ended.set()
    assert (result.reason, result.step) == (f"the name {HOST} was not resolved within {DEADLINE} s", "dns")


def test_name_resolution_is_measured(ask: Ask) -> None:
    with Server(bad.sends(answer()), context=TRUSTED) as server:

        def slow(host: str, port: int) -> Sequence[Address]:
            time.sleep(0.25)
            return at((LOCALHOST, server.port))(host, port)

        result = ask.one(https(server), resolver=slow)
    assert result.reason is None
    assert 250 <= result.milliseconds["dns"] < 500


def test_hanging_name_server_does_not_keep_the_process_alive() -> None:
    program = (
        "import time; from uptime.checks import Endpoint, check_all; from uptime.exchange import Site\n"
        "site = Site.at('https://carmen.test', 'test', resolver=lambda host, port: time.sleep(60))\n"
        "print(check_all([Endpoint(path='/', deadline_seconds=0.3)], site)[0].reason)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == "the name carmen.test was not resolved within 0.3 s\n"


def test_unknown_name(ask: Ask) -> None:
    def unknown(host: str, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    result = ask.one(f"https://{HOST}:1", resolver=unknown)
    assert (result.reason, result.step) == (f"the name {HOST} cannot be resolved: Name or service not known", "dns")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_only_name(ask: Ask) -> None:
    with Server(bad.sends(answer()), context=TRUSTED, host="::1") as server:
        assert ask.one(https(server), resolver=at(("::1", server.port))).reason is None


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EADDRNOTAVAIL])
def test_ipv6_only_name_without_ipv6_is_described(ask: Ask, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """As on machines without IPv6: some refuse the socket, others the connection."""

    class WithoutIpv6(socket.socket):
        def __init__(self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> None:
            if family == socket.AF_INET6 and error == errno.EAFNOSUPPORT:
                raise OSError(error, "no such family")
            super().__init__(family, kind, protocol, fileno)

        def connect(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(error, "unreachable")
            super().connect(address)

    with Server(bad.sends(answer()), context=TRUSTED) as server:
        monkeypatch.setattr(socket, "socket", WithoutIpv6)
        result = ask.one(https(server), resolver=at(("2001:db8::1", 443), ("2001:db8::2", 443)))
        assert result.reason == "the name has IPv6 addresses only (2001:db8::1, 2001:db8::2), and this machine has no IPv6"
        both = at(("2001:db8::1", 443), (LOCALHOST, server.port))
        assert ask.one(https(server), resolver=both).reason is None


# Certificates


def certificates(folder: Path) -> dict[str, tuple[ssl.SSLContext, str, float | None]]:
    return {
        "expired": (context(starts_in_days=-9, ends_in_days=-1), "the certificate has expired", 0),
        "not valid yet": (context(starts_in_days=1), "the certificate is not valid yet", None),
        "self-signed": (self_signed(folder), "the certificate is self-signed", None),
        "wrong host": (context(CA, "other.test"), "the certificate is for another host than carmen.test", None),
        "unknown authority": (context(trustme.CA()), "the certificate's authority is unknown", None),
    }


@pytest.mark.parametrize("kind", ["expired", "not valid yet", "self-signed", "wrong host", "unknown authority"])
def test_invalid_certificate(ask: Ask, tmp_path: Path, kind: str) -> None:
    made, words, days = certificates(tmp_path)[kind]
    with Server(bad.sends(answer()), context=made) as server:
        result = ask.one(https(server))
    assert (result.reason, result.step, result.certificate_days) == (words, "tls", days)
    assert server.requests == []  # no request to an untrusted server
    assert ask.seconds < LATE


def test_certificate_days_are_known_after_a_wrong_answer(ask: Ask) -> None:
    with Server(bad.sends(answer(b"", "500 Internal Server Error")), context=context(ends_in_days=12.25)) as server:
        assert ask.one(https(server)).certificate_days == pytest.approx(12.25, abs=0.02)


# Answers

HTML = answer("<h1>Grüß Gott, Carmen</h1>".encode(), Content_Type="text/html")
HEALTH = answer(json.dumps({"status": "healthy", "database": {"state": "up", "lag": 0}, "ready": True}).encode())
LARGE = answer(b"x" * 10_000_000 + b"the end")


def redirect(to: str, status: str = "307 Temporary Redirect") -> bytes:
    return answer(b"", status, Location=to)


ANSWERS: dict[str, tuple[bytes, dict[str, Any], str | None]] = {
    "status 500": (answer(b"", "500 Internal Server Error"), {}, "status 500 instead of 200"),
    "one of several statuses": (answer(b"", "204 No Content"), {"expected_statuses": (200, 204)}, None),
    "none of several statuses": (answer(b"", "404 Not Found"), {"expected_statuses": (200, 204)}, "status 404 instead of 200 or 204"),
    "a redirect that is not followed": (redirect("/login"), {}, "status 307 instead of 200"),
    "the right body": (HTML, {"body_contains": "Grüß Gott"}, None),
    "200 with the wrong body": (HTML, {"body_contains": "Dashboard"}, "the body lacks 'Dashboard'"),
    "the right fields": (HEALTH, {"json_fields": {"status": "healthy", "database.state": "up", "database.lag": "0", "ready": "true"}}, None),
    "a wrong field": (HEALTH, {"json_fields": {"database.state": "down"}}, "the body's database.state is 'up' instead of 'down'"),
    "a table as a field": (HEALTH, {"json_fields": {"database": "up"}}, r"the body's database is '\{.*\}' instead of 'up'"),
    "no such field": (HEALTH, {"json_fields": {"database.replica": "up"}}, "the body lacks the field database.replica"),
    "no such table": (HEALTH, {"json_fields": {"status.text": "up"}}, "the body lacks the field status.text"),
    "no JSON": (HTML, {"json_fields": {"status": "healthy"}}, "the body is not JSON"),
    "JSON that is deep": (answer(b"[" * 200_000), {"json_fields": {"status": "healthy"}}, "the body is not JSON"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nCa\r\n4\r\nrmen\r\n0\r\n\r\n", {"body_contains": "Carmen"}, None),
    "no length": (b"HTTP/1.0 200 OK\r\n\r\nCarmen", {"body_contains": "Carmen"}, None),
    "as long as is read": (answer(b"[" + b" " * (BODY_LIMIT - 2) + b"]"), {"json_fields": {"status": "healthy"}}, "the body lacks the field status"),
    "ten megabytes": (LARGE, {}, None),
    "ten megabytes, then the text": (LARGE, {"body_contains": "the end"}, "the first 256 KiB of the body lacks 'the end'"),
    "ten megabytes of JSON": (LARGE, {"json_fields": {"a": "b"}}, "the body is longer than 256 KiB, too long to read as JSON"),
    "the right redirect": (redirect("/login?back=%2F"), {"expected_statuses": (307,), "redirects_to": "/login"}, None),
    "a redirect with its host": (redirect("https://carmen.test:{port}/login"), {"expected_statuses": (307,), "redirects_to": "/login"}, None),
    "a wrong redirect": (
        redirect("/setup?token=4711"), {"expected_statuses": (307,), "redirects_to": "/login"}, "redirects to /setup instead of /login"
    ),
    "a page instead of a redirect": (HTML, {"expected_statuses": (307,), "redirects_to": "/login"}, "status 200 instead of 307"),
    "a redirect to nowhere": (
        answer(b"", "302 Found"), {"follow_redirects": 3}, r"status 302, a redirect without Location"
    ),
    "a redirect to another host": (
        redirect("https://evil.example/login?token=4711"), {"follow_redirects": 3}, "redirects to another host, https://evil.example/login"
    ),
    "a redirect to another port": (redirect("https://carmen.test:1/a"), {"follow_redirects": 3}, "redirects to another host, https://carmen.test/a"),
    "a redirect out of TLS": (
        redirect("http://carmen.test/"), {"follow_redirects": 3}, "redirects to http://carmen.test/, without encryption"
    ),
    "a redirect to no address": (redirect("https://[carmen/"), {"follow_redirects": 3}, "redirects to an invalid address"),
    "a redirect to itself": (redirect("?"), {"follow_redirects": 3}, "redirect loop: / → /"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_verified(ask: Ask, name: str) -> None:
    body, rules, words = ANSWERS[name]

    def behave(connection: socket.socket, server: Server) -> None:
        bad.sends(body.replace(b"{port}", str(server.port).encode()))(connection, server)

    with Server(behave, context=TRUSTED) as server:
        result = ask.one(https(server), page(**rules))
    assert re.fullmatch(words or "None", str(result.reason)), result.reason
    assert result.step == (words and "answer")
    assert result.status == int(body.split(b" ")[1])
    assert ask.seconds < LATE


def test_only_part_of_a_large_body_is_read(ask: Ask) -> None:
    sent: list[int] = []

    def behave(connection: socket.socket, server: Server) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        bad.request(connection, server)
        for start in range(0, len(LARGE), 16_384):
            server.send(connection, LARGE[start : start + 16_384])
            sent.append(start)

    with Server(behave) as server:
        assert ask.one(server.url(HOST)).reason is None
        assert BODY_LIMIT <= server.sent < len(LARGE) * 0.8  # only what the two kernels buffer


REDIRECTS: dict[str, tuple[dict[str, str], int, str | None]] = {
    "one": ({"/": "/login"}, 1, None),
    "relative, with a query and a part": ({"/": "a/b?x=1#part", "/a/b": "../login"}, 3, None),
    "with what must be escaped": ({"/": "/sign in\u00e9".encode().decode("latin-1"), "/sign%20in%C3%A9": "/login"}, 3, None),
    "as many as may be": ({"/": "/1", "/1": "/2", "/2": "/login"}, 3, None),
    "one more than may be": ({"/": "/1", "/1": "/2", "/2": "/login"}, 2, "more than 2 redirects: / → /1 → /2 → /login"),
    "in a loop": ({"/": "/a?token=4711", "/a": "/b", "/b": "/a?token=4711"}, 10, "redirect loop: / → /a → /b → /a"),
    "in a loop that begins late": ({"/": "/a?1", "/a": "/?1"}, 10, "redirect loop: / → /a → / → /a"),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirects_are_followed_on_the_same_host(ask: Ask, name: str) -> None:
    ways, follow, words = REDIRECTS[name]
    pages = {path: redirect(to) for path, to in ways.items()} | {"/login": HTML}
    with Server(bad.answers(pages), context=TRUSTED) as server:
        result = ask.one(https(server), page(follow_redirects=follow, body_contains="Carmen"))
    assert result.reason == words
    assert len({re.search("X-Request-Id: (.*)\r", request, re.IGNORECASE)[1] for request in server.requests}) == 1  # type: ignore[index]


def test_redirects_share_one_deadline(ask: Ask) -> None:
    pages = {f"/{n}": redirect(f"/{n + 1}") for n in range(9)}
    with Server(bad.answers(pages, after_seconds=0.3), context=TRUSTED) as server:
        result = ask.one(https(server), page("/0", follow_redirects=9))
    assert result.step == "first_byte"
    assert ask.seconds > DEADLINE - 0.05
    assert 600 < result.milliseconds["first_byte"] < 1000 * (DEADLINE + LATE)


def test_request_headers(ask: Ask) -> None:
    with Server(bad.sends(answer()), context=TRUSTED) as server:
        result = ask.one(https(server), page("/api/health"))
    (request,) = server.requests
    assert request.split("\r\n") == [
        "GET /api/health HTTP/1.1", f"Host: carmen.test:{server.port}", "User-Agent: carmen-uptime (environment test)", "Accept: */*",
        "Accept-Encoding: identity", f"X-Request-Id: {result.request_id}", "Connection: close", "", "",
    ]  # fmt: skip


def test_steps_add_up_to_the_total(ask: Ask) -> None:
    with Server(bad.answers({"/": answer()}, after_seconds=0.2), context=TRUSTED) as server:
        took = ask.one(https(server)).milliseconds
    assert list(took) == ["dns", "connect", "tls", "first_byte", "last_byte", "total"]
    assert 200 <= took["first_byte"] < 400
    assert 0 < took["tls"] < 200
    assert sum(value for name, value in took.items() if name != "total") == pytest.approx(took["total"], abs=30)


# Several at once


def test_hanging_endpoints_are_checked_concurrently(ask: Ask) -> None:
    with Server(bad.hangs, context=TRUSTED) as server:
        results = ask(https(server), page("/a", 0.8), page("/b", 0.4), page("/c", 0.6))
    assert [result.endpoint for result in results] == ["/a", "/b", "/c"]
    for result, deadline in zip(results, (0.8, 0.4, 0.6), strict=True):
        assert str(result.reason).startswith(f"no answer within {deadline} s")
        assert 1000 * deadline - 50 < result.milliseconds["total"] < 1000 * (deadline + LATE)


def test_healthy_endpoints_are_checked_concurrently(ask: Ask) -> None:
    pages = dict.fromkeys(("/slow", "/a", "/b"), answer())
    with Server(bad.answers(pages, after_seconds=0.15, slow=frozenset({"/slow"})), context=TRUSTED) as server:

        def seconds(*paths: str) -> float:
            assert [result.reason for result in ask(https(server), *map(page, paths))] == [None] * len(paths)
            return ask.seconds

        alone = min(seconds("/slow") for _ in range(3))
        together = min(seconds("/slow", "/a", "/b") for _ in range(3))
    assert 0.3 <= alone < 0.4
    assert together - alone <= 0.05


def test_error_of_a_check_does_not_hide_others(ask: Ask) -> None:
    with Server(bad.sends(answer()), context=TRUSTED) as server:
        known = at((LOCALHOST, server.port))
        resolvers = iter([known, None])
        lock = threading.Lock()

        def resolve(host: str, port: int) -> Sequence[Address]:
            with lock:
                resolver = next(resolvers)
            if resolver is None:
                raise LookupError("a fault")
            return resolver(host, port)

        reasons = [result.reason for result in ask(https(server), page("/a"), page("/b"), resolver=resolve)]
    assert sorted(map(str, reasons)) == ["None", "the check failed: LookupError: a fault"]


# The function


PRODUCTION = [
    {"path": one.path, "deadline_seconds": one.deadline_seconds} for one in Settings.model_validate({"name": "prod"}).uptime.endpoints
]


@dataclass
class Run:
    """One invocation: its answer, metrics by endpoint (None: of all), log lines, and fields beside metrics."""

    answer: dict[str, Any]
    metrics: dict[str | None, dict[str, float]]
    lines: list[dict[str, Any]]
    beside: dict[str, dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ca_file: str) -> Callable[..., Run]:
    def invoke(url: str, *endpoints: dict[str, Any]) -> Run:
        unused = {"path": "/api/unused"}  # the settings require one below /api/
        settings = Settings.model_validate({"name": "prod", "uptime": {"endpoints": (*endpoints, unused)}}).uptime
        checked = settings.model_copy(update={"endpoints": settings.endpoints[:-1]})
        for name, value in {
            "SITE_URL": url, "ENDPOINTS": endpoints_as_json(checked), "ENVIRONMENT": "prod"
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for log in logger.handlers:
            monkeypatch.setattr(log, "stream", sys.stdout)  # capsys's current stream
        answer = handler({"source": "schedule"}, cast(LambdaContext, Context(40)))
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        metrics: dict[str | None, dict[str, float]] = {}
        for line in lines:
            for published in line["_aws"]["CloudWatchMetrics"] if "_aws" in line else ():
                assert (published["Namespace"], line["service"], line["Environment"]) == ("Carmen", "uptime", "prod")
                dimensions = {"service", "Environment", *({"Endpoint"} & line.keys())}
                assert set(published["Dimensions"][0]) == dimensions
                metrics[line.get("Endpoint")] = {metric["Name"]: line[metric["Name"]][0] for metric in published["Metrics"]}
        beside = {line["Endpoint"]: line for line in lines if "Endpoint" in line}
        return Run(cast(dict[str, Any], answer), metrics, [line for line in lines if "_aws" not in line], beside)

    return invoke


def test_metrics_and_logs_of_up_and_down_endpoints(run: Callable[..., Run]) -> None:
    pages = {"/api/health": HEALTH, "/dashboard": redirect("/login"), "/login": HTML, "/api/auth/session": answer(b"", "500 Oops")}
    with Server(bad.answers(pages, after_seconds=0.05), context=context(CA, "localhost", ends_in_days=20.5)) as server:
        done = run(
            server.url("localhost"),
            {"path": "/api/health", "json_fields": {"status": "healthy"}},
            {"path": "/dashboard", "deadline_seconds": 10},
            {"path": "/api/auth/session"},
        )
    assert done.answer == {"/api/auth/session": "status 500 instead of 200"}
    assert done.metrics[None] == {"EndpointsDown": 1, "EndpointsAwaitingImage": 0, "CertificateDays": pytest.approx(20.5, abs=0.02)}
    assert {path: values["EndpointUp"] for path, values in done.metrics.items() if path} == {
        "/api/health": 1, "/dashboard": 1, "/api/auth/session": 0,
    }  # fmt: skip
    assert 50 <= done.metrics["/api/health"]["EndpointMilliseconds"] < 500
    assert 100 <= done.metrics["/dashboard"]["EndpointMilliseconds"] < 700
    assert "EndpointMilliseconds" not in done.metrics["/api/auth/session"]
    (line,) = done.lines
    assert (line["level"], line["message"], line["endpoint"], line["status"]) == ("ERROR", "endpoint is not up", "/api/auth/session", 500)
    assert line["reason"] == "status 500 instead of 200"
    assert line["request_id"] in "".join(server.requests)
    for path, fields in done.beside.items():
        assert set(fields["milliseconds"]) == {"dns", "connect", "tls", "first_byte", "last_byte", "total"}, path
        assert fields["request_id"] in "".join(server.requests)


def test_secrets_in_answers_are_not_logged(run: Callable[..., Run]) -> None:
    pages = {
        "/a": answer(b"password=hunter2", "500 Oops", Set_Cookie="session=hunter2"),
        "/b": redirect("/b?token=hunter2"),
        "/c": redirect("https://other.example/?token=hunter2"),
        "/d": redirect("https://carmen:hunter2@other.example/"),
    }
    with Server(bad.answers(pages), context=context(CA, "localhost")) as server:
        done = run(server.url("localhost"), *({"path": path} for path in pages))
    assert done.metrics[None]["EndpointsDown"] == 4
    assert "hunter2" not in json.dumps([done.answer, done.lines, done.beside])


def test_placeholder_is_not_up_but_not_down(run: Callable[..., Run]) -> None:
    """The real placeholder, which tasks run until the first release."""
    port = free_port()
    command = [str(node()), "-e", inline_code("placeholder.js", HEALTH_PATH="/api/health/live")]
    with subprocess.Popen(command, env={"PORT": str(port), "HOSTNAME": LOCALHOST}) as process:
        try:
            _wait_for(port)
            done = run(f"http://localhost:{port}", {"path": "/api/health"}, {"path": "/dashboard"}, {"path": "/api/health/live"})
        finally:
            process.terminate()
    awaiting = "the placeholder answers: no image has been released yet"
    assert done.answer == {"/api/health": awaiting, "/dashboard": awaiting}
    assert done.metrics[None] == {"EndpointsDown": 0, "EndpointsAwaitingImage": 2}
    assert [done.metrics[path]["EndpointUp"] for path in ("/api/health", "/dashboard", "/api/health/live")] == [0, 0, 1]
    assert [line["level"] for line in done.lines] == ["INFO", "INFO"]


def test_503_of_the_application_is_down(run: Callable[..., Run]) -> None:
    with Server(bad.sends(answer(b"awaiting the database", "503 Service Unavailable")), context=context(CA, "localhost")) as server:
        done = run(server.url("localhost"), {"path": "/api/health"})
    assert done.answer == {"/api/health": "status 503 instead of 200"}
    assert (done.metrics[None]["EndpointsDown"], done.metrics[None]["EndpointsAwaitingImage"]) == (1, 0)


def behind_firewall(acl: dict[str, Any], pages: dict[str, bytes]) -> bad.Behaviour:
    """The site behind the web ACL in attack mode. WAF answers a challenge as its Developer Guide says, without asking the site."""

    def behave(connection: socket.socket, server: Server) -> None:
        path = bad.request(connection, server)
        seen = waf.Request(path, headers={"host": "carmen.example.com", "user-agent": "carmen-uptime"}, sets=frozenset({"AttackMode"}))
        verdict = waf.evaluate(acl, seen)
        assert verdict.action in ("Allow", "Challenge")
        challenge = answer(b"", "202 Accepted", **{"x-amzn-waf-action": "challenge"})
        server.send(connection, pages[path] if verdict.action == "Allow" else challenge)

    return behave


@pytest.fixture(scope="module")
def web_acl() -> dict[str, Any]:
    small = stack()
    WebFirewall(small, "WebFirewall", settings=constructs_settings().edge, prefix="CarmenProd")
    return only(template(small).resources("AWS::WAFv2::WebACL"))


def test_attack_mode_does_not_report_pages_as_down(run: Callable[..., Run], web_acl: dict[str, Any]) -> None:
    pages = {"/api/health": HEALTH, "/dashboard": HTML, "/api/auth/session": answer(b"{}")}
    with Server(behind_firewall(web_acl, pages), context=context(CA, "localhost")) as server:
        done = run(server.url("localhost"), *PRODUCTION)
    assert (done.metrics[None]["EndpointsDown"], done.metrics[None]["EndpointsChallenged"]) == (0, 1)
    assert "EndpointUp" not in done.metrics.get("/dashboard", {})  # unknown
    assert list(done.answer) == ["/dashboard"]
    (line,) = done.lines
    assert (line["level"], line["endpoint"], line["status"]) == ("INFO", "/dashboard", 202)
    assert "attack mode is on" in line["reason"]


def test_outage_in_attack_mode_is_reported_as_down(run: Callable[..., Run], web_acl: dict[str, Any]) -> None:
    down = dict.fromkeys(("/api/health", "/dashboard", "/api/auth/session"), answer(b"", "503 Service Unavailable"))
    with Server(behind_firewall(web_acl, down), context=context(CA, "localhost")) as server:
        done = run(server.url("localhost"), *PRODUCTION)
    assert (done.metrics[None]["EndpointsDown"], done.metrics[None]["EndpointsChallenged"]) == (2, 1)  # the alarm opens at 1


@pytest.mark.parametrize("found", [answer(b"", "202 Accepted"), answer(b"", "405 Method Not Allowed", **{"x-amzn-waf-action": "captcha"})])
def test_other_answers_are_no_challenge(run: Callable[..., Run], found: bytes) -> None:
    with Server(bad.sends(found), context=context(CA, "localhost")) as server:
        done = run(server.url("localhost"), {"path": "/dashboard"})
    assert done.metrics[None]["EndpointsDown"] == 1
    assert "EndpointsChallenged" not in done.metrics[None]


def test_earliest_certificate_expiry_counts(run: Callable[..., Run]) -> None:
    """During a renewal some edge servers still have the old certificate."""
    made = context(CA, "localhost")
    served = iter([context(CA, "localhost", ends_in_days=days) for days in (90.5, 3.5, 30.5)])
    made.sni_callback = lambda connection, name, given: setattr(connection, "context", next(served))
    with Server(bad.sends(answer()), context=made) as server:
        done = run(server.url("localhost"), {"path": "/a"}, {"path": "/b"}, {"path": "/c"})
    assert done.metrics[None] == {"EndpointsDown": 0, "EndpointsAwaitingImage": 0, "CertificateDays": pytest.approx(3.5, abs=0.02)}


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while socket.socket().connect_ex((LOCALHOST, port)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("url", ["carmen.example.com", "ftp://carmen.example.com", "https://", "https://carmen.example.com/app", ""])
def test_invalid_address_is_reported(url: str) -> None:
    with pytest.raises(ValueError, match="is not a site's address: use https:// and a host without a path, like the output Url"):
        Site.at(url, "test")


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"path": "/"}]', '[{"paths": "/", "expected_statuses": []}]', "[1]"])
def test_invalid_endpoints_are_reported(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"ENDPOINTS is (not a list of endpoints .*|an empty list)\. Its source is \[uptime\] of the settings"
    ):
        Endpoint.parse_list(text)


@pytest.fixture
def deployed(aws: str, ca_file: str) -> Iterator[Any]:
    """Deploys the function's code and layer to the embedded AWS, which runs it as a process. Yields a function that invokes it."""
    client, iam = (boto3.client(service, endpoint_url=aws, region_name=REGION) for service in ("lambda", "iam"))
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="uptime", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        for path in [*(SOURCE / "uptime").glob("*.py"), *(SOURCE / "common").glob("*.py")]:
            archive.write(path, path.relative_to(SOURCE))
    layer = client.publish_layer_version(LayerName="libraries", Content={"ZipFile": LIBRARIES.read_bytes()})
    made = {
        "Runtime": "python3.14",
        "Role": role,
        "Handler": "uptime.handler.handler",
        "Code": {"ZipFile": code.getvalue()},
        "Layers": [layer["LayerVersionArn"]],
        "Timeout": 20,
    }

    def invoke(url: str, endpoints: str) -> Any:
        variables = {"SITE_URL": url, "ENDPOINTS": endpoints, "ENVIRONMENT": "prod", "SSL_CERT_FILE": ca_file}
        client.create_function(FunctionName="uptime", Environment={"Variables": variables}, **made)
        return json.loads(client.invoke(FunctionName="uptime", Payload=b'{"source": "schedule"}')["Payload"].read())

    yield invoke
    client.delete_function(FunctionName="uptime")
    iam.delete_role(RoleName="uptime")


def test_function_runs_in_the_embedded_aws(deployed: Any) -> None:
    settings = Settings.model_validate({"name": "prod"}).uptime
    with Server(bad.answers({"/api/health": HEALTH, "/dashboard": HTML}), context=context(CA, "localhost")) as server:
        assert deployed(server.url("localhost"), endpoints_as_json(settings)) == {"/api/auth/session": "status 404 instead of 200"}
