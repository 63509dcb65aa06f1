"""A minimal S3 over TLS for benchmarks: like AWS's, it uses almost none of this machine's CPU time.

    python -m tools.benchmarks.s3_sink FOLDER PORT

It stores objects as files of parts and supports the functions' calls: multipart uploads, conditional writes, listings, HEAD and
ranges. It does not verify checksums; tests against the embedded AWS do.
"""

from __future__ import annotations

import io
import os
import re
import ssl
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

CHECKSUM = "x-amz-checksum-crc32"


@dataclass
class Stored:
    """An object, or an unfinished upload."""

    parts: dict[int, Path] = field(default_factory=dict)
    checksum: str = ""

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.parts.values())


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    objects: ClassVar[dict[str, Stored]] = {}
    uploads: ClassVar[dict[str, Stored]] = {}

    def do_POST(self) -> None:
        self._receive(None)
        if "uploads" in self._query:
            upload = uuid.uuid4().hex
            self.uploads[upload] = Stored()
            return self._answer(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        if self._exists():
            return self._answer(412, "<Error><Code>PreconditionFailed</Code></Error>")
        stored = self.uploads.pop(self._query["uploadId"][0])
        stored.checksum = self.headers.get(CHECKSUM, "")
        self.objects[self._key] = stored
        return self._answer(200, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")

    def do_PUT(self) -> None:
        if "tagging" in self._query or self._key.count("/") < 1:
            self._receive(None)
            return self._answer(200)
        path = self.folder / uuid.uuid4().hex
        if source := self.headers.get("x-amz-copy-source"):
            self._receive(None)
            path.write_bytes(b"".join(part.read_bytes() for _, part in sorted(self.objects[unquote(source)].parts.items())))
            self.uploads[self._query["uploadId"][0]].parts[int(self._query["partNumber"][0])] = path
            return self._answer(200, "<CopyPartResult><ETag>e</ETag></CopyPartResult>")
        if self._exists():
            self._receive(None)
            return self._answer(412, "<Error><Code>PreconditionFailed</Code></Error>")
        self._receive(path)
        if "uploadId" in self._query:
            self.uploads[self._query["uploadId"][0]].parts[int(self._query["partNumber"][0])] = path
        else:
            self.objects[self._key] = Stored({1: path}, self.headers.get(CHECKSUM, ""))
        return self._answer(200, ETag="e")

    def do_DELETE(self) -> None:
        stored = self.objects.pop(self._key, None) or self.uploads.pop(self._query.get("uploadId", [""])[0], None)
        for part in stored.parts.values() if stored else ():
            part.unlink()
        self._answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "list-type" in self._query:
            prefix = f"{self._key}/{self._query.get('prefix', [''])[0]}"
            keys = sorted(key.split("/", 1)[1] for key in list(self.objects) if key.startswith(prefix))
            sizes = {key: self.objects[f"{self._key}/{key}"].bytes for key in keys}
            entries = "".join(f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>" for key, size in sizes.items())
            return self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>")
        stored = self.objects.get(self._key)
        if stored is None:
            return self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")
        size = stored.bytes
        first, last = 0, size - 1
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if requested:
            first, last = int(requested[1]), min(int(requested[2] or size - 1), size - 1)
        self.send_response(206 if requested else 200)
        headers = {"Content-Length": str(last - first + 1), "ETag": '"e"'}
        if stored.checksum and not requested:
            headers |= {CHECKSUM: stored.checksum, "x-amz-checksum-type": "FULL_OBJECT"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        start = 0
        for _, part in sorted(stored.parts.items()):
            length = part.stat().st_size
            if start + length > first and start <= last:
                with part.open("rb") as file:
                    file.seek(max(0, first - start))
                    left = min(length, last - start + 1) - max(0, first - start)
                    while left and (chunk := file.read(min(left, 2**20))):
                        self.wfile.write(chunk)
                        left -= len(chunk)
            start += length
        return None

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _exists(self) -> bool:
        return self.headers.get("If-None-Match") == "*" and self._key in self.objects

    def _receive(self, path: Path | None) -> None:
        """Write the body to a file, without HTTP's and the SDK's chunk headers."""
        with (path or Path(os.devnull)).open("wb") as file:
            if "x-amz-trailer" in self.headers:
                file.write(b"".join(_chunks(io.BytesIO(b"".join(_chunks(self.rfile))))))
                return
            left = int(self.headers.get("Content-Length", 0))
            while left:
                chunk = self.rfile.read(min(left, 2**20))
                file.write(chunk)
                left -= len(chunk)

    def _answer(self, status: int, text: str = "", **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/xml", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _chunks(stream: io.BufferedIOBase) -> Iterator[bytes]:
    while size := int(stream.readline().split(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():  # trailers
        pass


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    Sink.folder = folder / "objects"
    Sink.folder.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem")
    server = ThreadingHTTPServer(("127.0.0.1", port), Sink)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
