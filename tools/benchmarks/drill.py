"""Time a restore drill with all its checks against a plain `pg_restore -j2`; part of `make bench-backup`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local.services.postgres import LocalRds
from tools.benchmarks.common import BUCKET, TABLES, Bench

RUNS = 3
MUST = 1.5  # times a plain pg_restore -j2
MEMORY_MB = 3008

# Indexes as in an ERP; they take most of a restore's time. A dump takes the same time with or without them.
INDEXES = """
CREATE INDEX ON {table} (customer, ordered);
CREATE INDEX ON {table} (state, ordered);
CREATE INDEX ON {table} (reference);
"""

ONE_RUN = """
import json, sys, time
from drill.handler import run
start = time.perf_counter()
answer = run(sys.argv[1], lambda: None)
assert answer["outcome"] == "passed", answer
print(json.dumps({"seconds": time.perf_counter() - start, "report": answer["report"]}))
"""


def drill_ratio(bench: Bench) -> dict[str, Any]:
    """Alternate both, with the newest backup's archive and two jobs.

    The plain restore reads the archive from disk and writes, like a real restore, to a durable server over TLS.
    """
    with tempfile.TemporaryDirectory(prefix="bench-drill-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        archive = folder / "archive.dump"
        for table in TABLES:
            bench.server.as_rdsadmin(INDEXES.format(table=table), bench.server.database)
        bench.backup("archive,sql_gz")
        bench.s3.download_file(BUCKET, bench.manifest["files"]["archive"]["key"], str(archive))
        target = stack.enter_context(
            LocalRds(
                bench.installation,
                folder / "target",
                master="carmen_master",
                password="bench",  # noqa: S106 (on 127.0.0.1, for minutes)  # pragma: allowlist secret (made up)
                database="plain",
                parameters={"shared_buffers": "65536", "max_wal_size": "2048"},
            )
        )
        plain, drills = [], []
        for number in range(1, RUNS + 1):
            plain.append(_plain_restore(bench, target, archive))
            drills.append(_drill(bench, folder / "drill", number))
            print(f"pg_restore -j2 {number}: {plain[-1]:.2f} s, drill {number}: {drills[-1]:.2f} s", flush=True)
    ratio = statistics.median(drills) / statistics.median(plain)
    if ratio > MUST:
        print(f"Missed: the drill takes {ratio:.2f} × a plain pg_restore -j2, allowed {MUST}")
    return {"drill_ratio": round(ratio, 2)}


def _plain_restore(bench: Bench, target: LocalRds, archive: Path) -> float:
    """Seconds of a restore into an empty database, as its master."""
    command = [str(bench.installation / "bin" / "pg_restore"), "--jobs=2", "--no-owner", "--no-acl", "--no-comments", "--dbname=plain"]
    variables = bench.libpq() | {
        "PGPORT": str(target.port),
        "PGUSER": target.master,
        "PGPASSWORD": target.password,
        "PGSSLROOTCERT": str(target.ca_file),
    }
    start = time.perf_counter()
    subprocess.run([*command, str(archive)], env=variables, check=True)
    seconds = time.perf_counter() - start
    target.as_rdsadmin("DROP DATABASE plain")
    target.as_rdsadmin(f"CREATE DATABASE plain OWNER {target.master}")
    return seconds


def _drill(bench: Bench, folder: Path, number: int) -> float:
    variables = {name: value for name, value in bench.variables.items() if not name.startswith("DATABASE_")}
    variables |= {
        "POSTGRESQL_SERVER_HOME": str(bench.installation),
        "DRILL_FOLDER": str(folder),
        "DRILL_MEMORY_MB": str(MEMORY_MB),
        "POWERTOOLS_METRICS_NAMESPACE": "Carmen",
    }
    command = [sys.executable, "-c", ONE_RUN, f"2026-12-01T00:0{number}:00Z"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the drill failed: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    report = json.loads(bench.s3.get_object(Bucket=BUCKET, Key=result["report"])["Body"].read())
    print(f"  steps of the drill: {report['steps']}")
    return float(result["seconds"])
