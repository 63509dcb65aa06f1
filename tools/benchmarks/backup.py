"""Time backups of a PostgreSQL with a gigabyte of SQL over TLS, against the fastest possible dump and the manual's procedure.

    python -m tools.benchmarks.backup [--gigabytes 1.1] [--runs 3]

The limit is `pg_dump -Fp` to /dev/null. The function's code runs in a separate process and writes to an S3 over TLS (`s3_sink`); the
manual's procedure is `pg_dump | gzip`, streamed to the same S3. All alternate; medians count. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tools.benchmarks.common import Bench
from tools.benchmarks.drill import drill_ratio

MUST = {"archive": 1.3, "sql_gz": 1.5, "archive,sql_gz": 2.0}  # times the limit
MANUAL_MUST_TAKE = 3.0  # times our .sql.gz
PEAK_MB = 200


def main(arguments: list[str] | None = None) -> int:
    """Print each run and the medians. Return 1 if one exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.1, help="of plain SQL (1.1)")
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each (3)")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-backup-")))
        folder.chmod(0o755)
        print(f"Filling a database with {options.gigabytes} GB of SQL", flush=True)
        bench = Bench(stack, folder, options.gigabytes)
        timed: dict[str, Callable[[], float]] = {
            "limit": bench.limit,
            **{formats: lambda formats=formats: bench.backup(formats) for formats in MUST},  # type: ignore[misc]  # a default binds it
            "manual": bench.manual,
        }
        bench.backup("archive,sql_gz")  # fills caches; makes the weekly and monthly copies
        times: dict[str, list[float]] = {name: [] for name in timed}
        for run in range(1, options.runs + 1):
            for name, measure in timed.items():
                times[name].append(measure())
                print(f"{name} {run}: {times[name][-1]:.2f} s", flush=True)
        further = drill_ratio(bench)
    return _report({name: statistics.median(seconds) for name, seconds in times.items()}, bench, further)


def _report(medians: dict[str, float], bench: Bench, further: dict[str, Any]) -> int:
    limit, manual = medians["limit"], medians["manual"]
    missed = [
        f"{name}: {medians[name] / limit:.2f} × the limit, allowed {most}" for name, most in MUST.items() if medians[name] > most * limit
    ]
    if manual < MANUAL_MUST_TAKE * medians["sql_gz"]:
        missed.append(f"sql_gz: the manual's procedure takes {manual / medians['sql_gz']:.2f} × as long, expected {MANUAL_MUST_TAKE}")
    if bench.peak_mb > PEAK_MB:
        missed.append(f"peak memory: {bench.peak_mb:.0f} MB, allowed {PEAK_MB}")
    for line in missed:
        print(f"Missed: {line}")
    result = {
        "limit_s": round(limit, 2),
        "archive_ratio": round(medians["archive"] / limit, 2),
        "sql_gz_ratio": round(medians["sql_gz"] / limit, 2),
        "both_ratio": round(medians["archive,sql_gz"] / limit, 2),
        "manual_ratio": round(manual / limit, 2),
        "peak_mb": round(bench.peak_mb),
        **further,
    }
    print(json.dumps(result))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
