"""Time the cold start of every function, `lambda_src/<package>/handler.py`, against one that only imports boto3.

Each start is a new interpreter that imports the handler, invokes it once and exits without cleanup, as in Lambda; RUNS times, all
alternating. The ratio is of CPU time (user and system) of the child: other work on the machine affects it least, and it limits a start
on a share of a processor. Wall time is printed too. Bytecode is cached. `python` is an interpreter that does nothing.

AWS is a stub on 127.0.0.1 that answers listings, secrets and tasks. PostgreSQL, Redis and the site are a stub that accepts
connections without TLS, which every function refuses. So a function creates and uses its clients and ends when the database would
answer. A function that contacts neither stub is an error of this benchmark. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from typing import Any

from tools.processes import LOCALHOST, end_on_signals

SOURCE = Path(__file__).parents[2] / "lambda_src"
RUNS = 15
MUST = 1.5  # times a handler that only imports boto3
EMPTY, BASELINE = "python", "boto3"  # references for the others
HANDLERS = {EMPTY: "def handler(event, context): pass", BASELINE: "import boto3\ndef handler(event, context): pass"}

EVENT = {"source": "schedule", "time": "2026-12-01T01:00:00Z"}
MESSAGE = {
    "messageId": "1",
    "receiptHandle": "1",
    "body": "A message.",
    "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1764550800000"},
    "eventSource": "aws:sqs",
}
# From CloudFormation, which does not listen: the answer is refused.
REQUEST = {"RequestType": "Create", "ResponseURL": f"http://{LOCALHOST}:1/", "ResourceProperties": {"VpcId": "vpc-1"}}
OWN_EVENTS: dict[str, dict[str, Any]] = {
    "maintenance": {"kind": "weekly"},
    "notifier": {"Records": [MESSAGE]},
    "origin_security_group": {**REQUEST, **dict.fromkeys(("StackId", "RequestId", "LogicalResourceId"), "bench")},
}
OWN_ENVIRONMENT = {
    "drill": {"DATABASE_HOST": ""},  # it must not have this variable
    "origin_security_group": {"WAIT_SECONDS": "0"},
}
INCOMPLETE = tuple(f"raised {error}" for error in ("KeyError", "TypeError", "AttributeError"))  # event or environment are incomplete
USERS = {"carmen_app_a": "secret", "carmen_app_b": "secret"}
ENDPOINTS = ("/api/health", "/dashboard", "/api/auth/session")

# All keys that functions read from secrets. Made up.
SECRET = {
    "username": "carmen_app_a",
    "password": "bench",  # pragma: allowlist secret
    "value": "bench",
    "REDISCLI_AUTH": "bench",
    "DATABASE_URL": "postgresql://carmen_app_a:bench@localhost:5432/carmen",  # pragma: allowlist secret
    "DIRECT_URL": "postgresql://carmen_app_a:bench@localhost:5432/carmen",  # pragma: allowlist secret
    "REDIS_URL": "rediss://:bench@localhost:6379",  # pragma: allowlist secret
}

ONE_START = """
{imported}
class Context:
    function_name, memory_limit_in_mb, aws_request_id = "bench", 256, "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    def get_remaining_time_in_millis(self):
        return 900_000
try:
    end = "returned " + repr(handler({event!r}, Context()))
except Exception as error:
    end = f"raised {{type(error).__name__}}: {{error}}"
print()
print(end, flush=True)
import os
os._exit(0)
"""


@dataclass
class Start:
    """Measurements of one handler in seconds, and the results of its invocations."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)

    @property
    def cpu_ms(self) -> float:
        return statistics.median(self.cpu) * 1000

    @property
    def wall_ms(self) -> float:
        return statistics.median(self.wall) * 1000


class Dependencies:
    """Counts the requests to both stubs."""

    def __init__(self) -> None:
        self.requests = 0


class Aws(BaseHTTPRequestHandler):
    """Answers the functions' first requests: the bucket is empty, no task runs, every secret is SECRET."""

    protocol_version = "HTTP/1.1"
    dependencies: Dependencies

    def do_GET(self) -> None:
        self._answer("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", "application/xml")

    def do_PUT(self) -> None:
        self._answer("", "application/xml")

    def do_POST(self) -> None:
        if "X-Amz-Target" not in self.headers:  # SNS
            return self._answer("<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>", "text/xml")
        answer = {"SecretString": json.dumps(SECRET), "VersionId": "1", "CreatedDate": time.time(), "taskArns": [], "services": []}
        return self._answer(json.dumps(answer), "application/x-amz-json-1.1")

    def _answer(self, text: str, content_type: str) -> None:
        self.dependencies.requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class WithoutTls(BaseRequestHandler):
    """Refuses TLS: PostgreSQL's answer is N; for other clients it is not valid TLS."""

    dependencies: Dependencies

    def handle(self) -> None:
        self.dependencies.requests += 1
        self.request.recv(8)
        self.request.sendall(b"N")


def main() -> int:
    """Print the measurements. Return 1 if a handler exceeds the limit."""
    end_on_signals()
    packages = sorted({path.parent.name for path in SOURCE.glob("*/handler.py")} - {"account_proof"})  # not part of an environment
    starts = {name: Start() for name in (*HANDLERS, *packages)}
    with _dependencies() as (dependencies, environment):
        for turn in range(RUNS + 1):
            for name, start in starts.items():
                requests = dependencies.requests
                cpu, wall, end = _start(name, environment)
                if name in packages and (dependencies.requests == requests or end.startswith(INCOMPLETE)):
                    print(f"{name} {end}: it did not start its work; add what it needs to {__file__}", file=sys.stderr)
                    return 1
                if turn:  # the first run fills the caches
                    start.cpu.append(cpu)
                    start.wall.append(wall)
                    start.ends.add(end)
    return _report(starts)


def _report(starts: Mapping[str, Start]) -> int:
    baseline = starts[BASELINE]
    ratios = {name: start.cpu_ms / baseline.cpu_ms for name, start in starts.items() if name not in HANDLERS}
    for name, start in starts.items():
        comparison = f", {ratios[name]:.2f} × {BASELINE}; {min(start.ends)[:150]}" if name in ratios else ""
        print(f"{name}: {start.cpu_ms:.0f} ms CPU, {start.wall_ms:.0f} ms{comparison}")
    missed = {name: ratio for name, ratio in ratios.items() if ratio > MUST}
    for name, ratio in missed.items():
        print(f"Missed: {name} takes {ratio:.2f} × a handler that only imports boto3, allowed {MUST}")
    print(json.dumps({"boto3_ms": round(baseline.cpu_ms), "handlers": {name: round(ratio, 2) for name, ratio in ratios.items()}}))
    return 1 if missed else 0


def _start(name: str, environment: Mapping[str, str]) -> tuple[float, float, str]:
    """CPU and wall seconds of one start, and its result."""
    imported = HANDLERS.get(name, f"from {name}.handler import handler")
    program = ONE_START.format(imported=imported, event=EVENT | OWN_EVENTS.get(name, {}))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], env={**environment, **OWN_ENVIRONMENT.get(name, {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed to start: {done.stderr[-3000:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start, done.stdout.splitlines()[-1]


@contextmanager
def _dependencies() -> Iterator[tuple[Dependencies, dict[str, str]]]:
    """Run the stubs; yield them with the environment for functions."""
    dependencies = Dependencies()
    aws = ThreadingHTTPServer((LOCALHOST, 0), type("Handler", (Aws,), {"dependencies": dependencies}))
    without_tls = ThreadingTCPServer((LOCALHOST, 0), type("Handler", (WithoutTls,), {"dependencies": dependencies}))
    for server in (aws, without_tls):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield dependencies, _environment(aws, without_tls)
    finally:
        for server in (aws, without_tls):
            server.shutdown()
            server.server_close()


def _environment(aws: TCPServer, without_tls: TCPServer) -> dict[str, str]:
    """Environment variables of all functions, as in the templates."""
    port = str(without_tls.server_address[1])
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "AWS_ENDPOINT_URL": f"http://{LOCALHOST}:{aws.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",  # pragma: allowlist secret (made up)
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "POWERTOOLS_METRICS_NAMESPACE": "Carmen",
        "ENVIRONMENT": "bench",
        "DATABASE_HOST": LOCALHOST,
        "PROXY_HOST": LOCALHOST,
        "DATABASE_PORT": port,
        "DATABASE_NAME": "carmen",
        "REDIS_HOST": LOCALHOST,
        "REDIS_PORT": port,
        "BACKUP_BUCKET": "backups",
        "BACKUP_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/k",
        **dict.fromkeys(
            ("MASTER_SECRET", "MIGRATION_SECRET", "WEBHOOK_SECRET", "CONNECTION_SECRET", "REDIS_SECRET", "MONITOR_PROXY_SECRET"), "secret"
        ),
        "USER_SECRETS": json.dumps(USERS),
        "APPLICATION_SECRETS": json.dumps(USERS),
        "TABLE": "alerts",
        "QUEUE_URL": f"http://{LOCALHOST}:{aws.server_address[1]}/000000000000/alerts",
        "EMAIL_TOPIC": "arn:aws:sns:us-east-1:000000000000:email",
        "RUNBOOKS_URL": "",
        "SETTLE_SECONDS": "60",
        "FLAPPING_OPENINGS": "3",
        "FLAPPING_MINUTES": "60",
        "CONNECTION_LIMIT": "20",
        "POOL_TIMEOUT_SECONDS": "20",
        "POOL_IDLE_SECONDS": "60",
        "CLUSTER": "carmen",
        "SERVICE": "carmen",
        "MIGRATION_FAMILY": "migration",
        "REPLICATION_GROUP": "carmen",
        "ROTATE_AFTER_DAYS": json.dumps({"application": 30}),
        "SITE_URL": f"https://localhost:{port}",
        "ENDPOINTS": json.dumps([{"path": path, "deadline_seconds": 5, "expected_statuses": [200]} for path in ENDPOINTS]),
    }


if __name__ == "__main__":
    sys.exit(main())
