"""A function's work from the command line, with all the time it needs: the Fargate task's entry, and a person's.

SIGTERM, which is how ECS ends a task, ends it in good order.
"""

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
    otherwise: str,
) -> int:
    """Runs it for `--time`, without an end, and prints its answer; `flush` publishes its metrics, whatever happened.

    0 when it is done, TRY_AGAIN when somebody holds the lock, 1 after any other error, whose sentence begins with `otherwise`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time", default=os.environ.get(time_variable), help=f"the time the {package} is for, ISO 8601 (now)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    try:
        print(json.dumps(run(options.time, lambda: None), indent=1))
    except Busy as busy:
        print(busy, file=sys.stderr)
        return TRY_AGAIN
    except Exception as error:  # noqa: BLE001 (logged with its trace; a person gets the sentence)
        print(scrub(f"{otherwise}: {error}"), file=sys.stderr)
        return 1
    finally:
        flush()
    return 0


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
