"""A stand-in for Slack that keeps the notifier's messages."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tools.processes import LOCALHOST


class Slack:
    """`with Slack() as slack:` listens at `slack.webhook`; `messages` are the received texts, in order."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        received = self.messages

        class Webhook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                received.append("\n".join(block["text"]["text"] for block in payload.get("blocks", [])) or payload["text"])
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Log nothing: the address is a secret."""

        self._server = ThreadingHTTPServer((LOCALHOST, 0), Webhook)
        self.webhook = f"http://{LOCALHOST}:{self._server.server_port}/services/T0/B0/local"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
