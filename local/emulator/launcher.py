"""Run the embedded AWS: ministack, with our additional handlers, in one process on 127.0.0.1.

    python -m local.emulator.launcher --port 4566 --state .local/emulator

Everything it and its functions write is below the state folder. SIGTERM or SIGINT stops it
together with the functions' processes; finally it sends SIGKILL to its own process group (exit code 137).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tools.processes import node

HOST = "127.0.0.1"
REGION = "us-east-1"
Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI
STOP_SECONDS = 10  # then SIGKILL


def environment(port: int, state: Path, node_modules: Path) -> dict[str, str]:
    """The complete environment of the emulator, which its functions inherit."""
    return {
        "PATH": os.pathsep.join(map(str, [node().parent, Path(sys.executable).parent, os.environ.get("PATH", os.defpath)])),
        "LANG": "C.UTF-8",
        "HOME": str(state / "home"),
        "TMPDIR": str(state / "tmp"),
        "STATE_DIR": str(state / "ministack"),
        "S3_DATA_DIR": str(state / "s3"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,  # the default is every interface
        "MINISTACK_HOST": HOST,
        "MINISTACK_REGION": REGION,
        "AUTH": "true",  # IAM is enforced, from the first call on
        "IOT_MTLS_ENABLED": "0",  # would open port 8883
        "SFTP_ENABLED": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NODE_PATH": str(node_modules),  # CDK's own functions need the AWS SDK for JavaScript
    }


def listen(port: int = 0) -> socket.socket:
    """Bind the port (0: any free port) before anything that needs it starts."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise SystemExit(f"Cannot bind port {port} of {HOST} ({error.strerror}). Choose another port, or 0 for any free port.") from None
    listener.listen()
    return listener


# ministack's administration: callbacks and code of its own functions, and its health. The others reset or reconfigure it.
ADMINISTRATION = ("/_ministack/", "/_localstack/")
OWN_CALLS = ("health", "ready", "cfn-response/", "cfn-signal/", "lambda-code/", "lambda-layers/", "rds/iam-auth")


def refusal(path: str, headers: Mapping[bytes, bytes], port: int) -> str:
    """Why a request is refused, or an empty string.

    A web page of another origin reaches 127.0.0.1: browsers send its Origin with POST and fetch, and Sec-Fetch-Site with each request (Fetch
    Standard, "Origin header"; W3C, "Fetch Metadata"). A page whose name is rebound to 127.0.0.1 sends its own Host. SDKs send none of
    these, and the address as Host.
    """
    if headers.get(b"host", b"").decode("latin-1") not in (f"{HOST}:{port}", f"localhost:{port}"):
        return "Host is not this server's address"
    if b"origin" in headers or headers.get(b"sec-fetch-site", b"none") != b"none":
        return "requests of web pages are refused"
    if path.startswith(ADMINISTRATION) and not path.partition("stack/")[2].startswith(OWN_CALLS):
        return "ministack's administration is switched off"
    return ""


def guarded(app: Application, port: int) -> Application:
    """Refuse what no client of ours sends (`refusal`)."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        reason = refusal(scope["path"], dict(scope["headers"]), port)
        if not reason:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": f"Refused: {reason} (local/emulator/launcher.py).".encode()})

    return wrapped


async def serve(listener: socket.socket, ending: threading.Event) -> None:
    """Serve until SIGTERM or SIGINT; set `ending` first, for threads that still call the emulator."""
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config
    from ministack.app import app

    stop = asyncio.Event()

    def end() -> None:
        if not stop.is_set():
            ending.set()
            stop.set()
            os.killpg(0, signal.SIGTERM)  # the functions and their children; otherwise the server waits for running ones
            signal.signal(signal.SIGALRM, lambda *_: end_group())
            signal.alarm(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)

    config = Config()
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1  # clients keep connections open
    await serve_asgi(guarded(over_tls(app), port), config, shutdown_trigger=stop.wait)


def over_tls(app: Application) -> Application:
    """Treat loopback as TLS: bucket and queue policies refuse plain HTTP."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await app(scope, receive, send)

    return wrapped


def run(listener: socket.socket, state: Path, node_modules: Path, prepare: Callable[[threading.Event], None] | None = None) -> None:
    """Become the emulator. `prepare` runs before it serves and gets an event that is set when the server stops."""
    values = environment(listener.getsockname()[1], state.resolve(), node_modules.resolve())
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)  # other users of this machine see nothing below it
    for name in ("HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"):
        Path(values[name]).mkdir(parents=True, exist_ok=True)
    os.environ.clear()
    os.environ.update(values)
    tempfile.tempdir = values["TMPDIR"]
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # a separate process group, which the functions join

    from local.emulator import handlers

    handlers.register()
    ending = threading.Event()
    if prepare is not None:
        prepare(ending)
    try:
        # Not asyncio.run: it also waits for running deployments, which wait for functions.
        asyncio.new_event_loop().run_until_complete(serve(listener, ending))
    finally:
        ending.set()  # also when it could not serve: a thread waiting for this event would keep the process alive
        shutil.rmtree(values["TMPDIR"], ignore_errors=True)  # the functions' unpacked code


def end_group() -> None:
    """Kill this process and its group: a function that failed during the stop may have been retried in a new process."""
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="0: any free port")
    parser.add_argument("--state", type=Path, required=True, help="folder for all files")
    parser.add_argument("--node-modules", type=Path, default=Path("node_modules"))
    options = parser.parse_args()
    run(listen(options.port), options.state, options.node_modules)
    end_group()


if __name__ == "__main__":
    main()
