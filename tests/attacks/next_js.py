"""The real Next.js with next-auth: which route answers which path. Installed and built once, in .build/nextjs/ (about a minute)."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tools.build.install import npm_ci
from tools.processes import node

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "nextjs"
PORT_WAIT_SECONDS = 60
QUIET = {"NEXT_TELEMETRY_DISABLED": "1", "NODE_ENV": "production"}


def built() -> Path:
    """The built application; installs the packages of its own lock file with npm the first time."""
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file())
    folder = ROOT / ".build" / "nextjs" / hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    if not (folder / ".built").exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(SOURCE, folder)
        subprocess.run([*map(str, npm_ci()), "--ignore-scripts"], cwd=folder, check=True, timeout=600)
        subprocess.run([*_next(folder), "build"], cwd=folder, env=os.environ | QUIET, check=True, timeout=600, stdout=subprocess.DEVNULL)
        (folder / ".built").touch()
    return folder


def _next(folder: Path) -> list[str]:
    return [str(node()), str(folder / "node_modules/next/dist/bin/next")]


class Application:
    """`next start` on a free port of 127.0.0.1."""

    def __enter__(self) -> Self:
        folder = built()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [*_next(folder), "start", "-H", "127.0.0.1", "-p", str(self._port)],
            cwd=folder,
            env=os.environ | QUIET | {"NEXTAUTH_URL": "https://carmen.example.com"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PORT_WAIT_SECONDS
        while True:
            try:
                self.route("GET", "/")
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.2)
            else:
                return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.wait()

    def route(self, method: str, target: str) -> str:
        """What answers a request: `auth`, `api`, `upload`, `page:<first folder>`, or the status of an answer by Next.js itself."""
        try:
            return self._ask(method, target)
        except http.client.RemoteDisconnected:  # Node closes a connection that was idle for five seconds
            return self._ask(method, target)

    def _ask(self, method: str, target: str) -> str:
        if not hasattr(self, "_connection"):
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            self._connection.putheader("Host", "carmen.example.com")
            if method == "POST":
                self._connection.putheader("Content-Length", "0")
            self._connection.endheaders()
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        routed = response.headers.get("x-routed-to") or str(response.status)
        return f"page:{_first_folder(body)}" if routed == "page" else routed


def _first_folder(page: bytes) -> str:
    data = re.search(rb'<script id="__NEXT_DATA__" type="application/json">(.*?)</script>', page)
    assert data
    return quote(json.loads(data[1])["props"]["pageProps"]["path"][0])
