"""Command line of a function's package, for Fargate tasks and people: no time limit. SIGTERM, which ECS sends, ends it cleanly."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from common.locks import Busy
from common.scrubbed_logs import scrub

TRY_AGAIN = 75  # sysexits.h: EX_TEMPFAIL


def run_once(
    arguments: list[str] | None,
    run: Callable[[str | None, Callable[[], None]], dict[str, Any]],
    *,
    package: str,
    description: str | None,
    time_variable: str,
    flush: Callable[[], object],
    failure_prefix: str,
) -> int:
    """Run for `--time`, without a deadline, and print the result. `flush` always publishes the metrics.

    Returns 0 after success, TRY_AGAIN when another session holds the lock, 1 after any other error.
    The error message begins with `failure_prefix`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time", default=os.environ.get(time_variable), help=f"time of the {package}, ISO 8601 (default: now)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _exit)
    try:
        print(json.dumps(run(options.time, lambda: None), indent=1))
    except Busy as busy:
        print(busy, file=sys.stderr)
        return TRY_AGAIN
    except Exception as error:  # noqa: BLE001 (the log has the traceback; people get one sentence)
        print(scrub(f"{failure_prefix}: {error}"), file=sys.stderr)
        return 1
    finally:
        flush()
    return 0


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
