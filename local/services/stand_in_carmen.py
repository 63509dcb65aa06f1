"""A stand-in for the Next.js application: same port, environment contract and health paths.

It checks that the container's environment is complete and that its credentials reach the database.
"""

import hashlib
import json
import os
import ssl
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000.native import Connection, DatabaseError, InterfaceError

# The manual's "Environment Configuration", in its order, plus REDIS_URL, without AWS keys (the task role replaces them).
CONTRACT = (
    "NODE_ENV", "NEXT_PUBLIC_APP_URL", "DATABASE_URL", "DIRECT_URL", "REDIS_URL", "NEXTAUTH_URL", "NEXTAUTH_SECRET", "JWT_SECRET",
    "EMAIL_FROM", "SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURE", "UPLOAD_STORAGE", "AWS_S3_BUCKET", "AWS_REGION",
    "WEBHOOK_SECRET", "API_RATE_LIMIT", "SENTRY_DSN", "ENABLE_ANALYTICS", "LOG_LEVEL", "ENABLE_ADVANCED_ANALYTICS",
    "ENABLE_EXPERIMENTAL_FEATURES",
)  # fmt: skip
# Operator-supplied: must be set, and may be empty at first.
MAY_BE_EMPTY = frozenset({"EMAIL_FROM", "SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURE", "SENTRY_DSN"})


def build_id(image: str) -> str:
    """The build id: one per image."""
    return hashlib.sha256(image.encode()).hexdigest()[:12]


def static_files(image: str) -> dict[str, bytes]:
    """Files like those of .next/static: names with a hash, and the folder names of the router."""
    build = build_id(image)
    return {
        f"{build}/_buildManifest.js": b"self.__BUILD_MANIFEST={}",
        f"chunks/app/(erp)/orders/[id]/page-{build}.js": b"// a page of %s" % build.encode(),
        f"css/{build}.css": b"body{}",
        f"media/{build}.woff2": b"wOF2",
    }


def missing(environment: dict[str, str]) -> list[str]:
    return [name for name in CONTRACT if not environment.get(name) and not (name in MAY_BE_EMPTY and name in environment)]


def connect(url: str, authorities: str | None = None) -> Connection:
    """Connect with a Prisma URL: `sslaccept=strict` verifies the server against the CA in `sslcert`.

    `authorities` replaces `sslcert`, which names a file inside an image.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    context = None
    if options.get("sslmode", "prefer") != "disable":
        context = ssl.create_default_context(cafile=authorities or options.get("sslcert"))
        if options.get("sslaccept") != "strict":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Connection(
        unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=parts.hostname or "localhost",
        port=parts.port or 5432,
        database=unquote(parts.path.lstrip("/")),
        ssl_context=context,
        timeout=float(options.get("connect_timeout", 5)),
    )


def database_error(url: str) -> str | None:
    """Why the database does not answer, without the credentials of the URL; None when it answers."""
    try:
        connection = connect(url)
        try:
            connection.run("SELECT 1")
        finally:
            connection.close()
    except DatabaseError as error:  # carries a dictionary
        return str(error.args[0]["M"])
    except (InterfaceError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


class Application(BaseHTTPRequestHandler):
    database_url: str
    files: dict[str, bytes]  # of this build only

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if (file := self.files.get(unquote(path).removeprefix("/_next/static/"))) is not None:
            self._send(file, "application/octet-stream")
            return
        match path:
            case "/api/health" | "/api/health/ready":
                error = database_error(self.database_url)
                if error:
                    self._json({"status": "unhealthy", "database": error}, HTTPStatus.SERVICE_UNAVAILABLE)
                else:
                    self._json({"status": "healthy", "database": "connected"})
            case "/api/health/live":
                self._json({"status": "alive"})
            case "/api/auth/session":
                self._json({})
            case "/dashboard":
                self._send(b"<!doctype html><title>Carmen</title><h1>Carmen (stand-in)</h1>", "text/html; charset=utf-8")
            case _:
                self._json({"error": "not found"}, HTTPStatus.NOT_FOUND)

    def _json(self, body: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(body).encode(), "application/json", status)

    def _send(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def migrate(url: str) -> int:
    """A small migration; it fails where the table `must_fail` exists."""
    connection = connect(url)
    try:
        if connection.run("SELECT to_regclass('public.must_fail')")[0][0]:
            print("Migration failed: public.must_fail exists", file=sys.stderr)
            return 1
        connection.run("CREATE TABLE IF NOT EXISTS public.migrations (applied_at timestamptz NOT NULL)")
        connection.run("INSERT INTO public.migrations VALUES (now())")
    finally:
        connection.close()
    return 0


def copy_static_files(image: str, folder: Path) -> int:
    """Copy the image's static files, like `cp`."""
    for name, content in static_files(image).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return 0


def main(image: str, command: list[str]) -> int:
    environment = dict(os.environ)
    if "migrate" in command:  # the deployed migration command
        return migrate(environment["DIRECT_URL"])
    if command[:1] == ["cp"]:  # the deployed task that publishes static files
        return copy_static_files(image, Path(command[-1]))
    absent = missing(environment)
    if absent:
        print(f"Carmen cannot start, missing variables: {', '.join(absent)}", file=sys.stderr)
        return 1
    Application.files = static_files(image)
    Application.database_url = environment["DATABASE_URL"]  # read at start, as in the real application
    address = (environment.get("HOSTNAME", "127.0.0.1"), int(environment.get("PORT", "3006")))
    with ThreadingHTTPServer(address, Application) as server:
        print(f"Carmen (stand-in) listens on http://{address[0]}:{address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
