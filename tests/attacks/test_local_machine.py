"""A web page or another user of a developer's machine against the embedded AWS."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local.emulator.launcher import HOST, refusal
from tests.conftest import ROOT
from tools.processes import child, node

# What Chromium sends for a page of another origin: fetch and forms with POST, an image, and a name that is rebound to 127.0.0.1.
PAGES: dict[str, tuple[str, str, dict[str, str]]] = {
    "fetch": ("POST", "/", {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
    "form": ("POST", "/2015-03-31/functions", {"Origin": "null", "Sec-Fetch-Site": "cross-site"}),
    "preflight": ("OPTIONS", "/", {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}),
    "image": ("GET", "/bucket/key", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    "page of another port": ("GET", "/", {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"}),
    "rebound name": ("GET", "/", {"Host": "evil.example:{port}"}),
    "rebound name without port": ("GET", "/", {"Host": "evil.example"}),
    "reset": ("POST", "/_ministack/reset", {}),
    "configuration": ("POST", "/_ministack/config", {}),
    "reset in another spelling": ("POST", "/_ministack/./reset", {}),
    "localstack's": ("POST", "/_localstack/state/reset", {}),
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Its port and its folder."""
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    state = tmp_path_factory.mktemp("attacked")
    state.chmod(0o755)
    command = [sys.executable, "-m", "local.emulator.launcher", f"--port={port}", f"--state={state}"]
    with child(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while _asked(port, "GET", "/_ministack/health", {})[0] != 200:
            assert process.poll() is None
        yield port, state
        process.terminate()
        process.wait()


def _asked(port: int, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value.format(port=port))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError:
        return 0, ""
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_web_page_is_refused(emulator: tuple[int, Path], name: str) -> None:
    """A page could create a function, which runs as the developer, and reset everything."""
    port, _ = emulator
    method, path, headers = PAGES[name]
    status, text = _asked(port, method, path, headers)
    assert (status, text.partition(":")[0]) == (403, "Refused")


@pytest.mark.slow
def test_fetch_of_a_real_client_with_an_origin_is_refused(emulator: tuple[int, Path]) -> None:
    """Node's fetch, as a page uses it: the answer has no CORS header, so that a browser shows the page nothing."""
    port, _ = emulator
    script = f"fetch('http://{HOST}:{port}/', {{method: 'POST', headers: {{Origin: 'https://evil.example'}}}})"
    script += ".then(a => console.log(JSON.stringify([a.status, a.headers.get('access-control-allow-origin')])))"
    done = subprocess.run([str(node()), "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [403, None]


@pytest.mark.slow
def test_sdk_still_works(emulator: tuple[int, Path]) -> None:
    port, _ = emulator
    session = boto3.Session(aws_access_key_id="000000000000", aws_secret_access_key="local", region_name="us-east-1")
    client = session.client("s3", endpoint_url=f"http://{HOST}:{port}")
    client.create_bucket(Bucket="of-the-developer")
    assert [one["Name"] for one in client.list_buckets()["Buckets"]] == ["of-the-developer"]


@pytest.mark.slow
def test_other_users_cannot_enter_its_folder(emulator: tuple[int, Path]) -> None:
    _, state = emulator
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    if os.getuid() == 0:  # try it as another user
        done = subprocess.run(["setpriv", "--reuid=nobody", "--clear-groups", "ls", str(state / "s3")], capture_output=True, check=False)
        assert done.returncode != 0


@pytest.mark.slow
def test_emulator_listens_on_this_machine_only(emulator: tuple[int, Path]) -> None:
    port, _ = emulator
    for family, address in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.2")):
        with socket.socket(family) as other:
            other.settimeout(2)
            assert other.connect_ex((address, port)) != 0


def test_what_our_own_clients_send_is_accepted() -> None:
    own = {b"host": b"127.0.0.1:4566"}
    for path in ("/", "/bucket/key", "/_ministack/health", "/_ministack/cfn-response/token", "/_ministack/lambda-code/x"):
        assert refusal(path, own, 4566) == ""
