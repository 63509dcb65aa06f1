"""A backup from the command line, with all the time it needs: the Fargate task's entry, and a person's.

    python -m backup [--time 2026-11-24T01:00:00Z]

Ends with 0 when there is a good backup of that time, 75 when the lock is held (try again later), 1 otherwise, each with a
message. SIGTERM, which is how ECS ends a task, removes what was sent so far.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType

from common.locks import Busy
from common.scrubbed_logs import scrub

from backup.handler import TIME_VARIABLE, metrics, run

TRY_AGAIN = 75  # sysexits.h: EX_TEMPFAIL


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", default=os.environ.get(TIME_VARIABLE), help="the time the backup is for, ISO 8601 (now)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    try:
        print(json.dumps(run(options.time, lambda: None), indent=1))
    except Busy as busy:
        print(busy, file=sys.stderr)
        return TRY_AGAIN
    except Exception as error:  # noqa: BLE001 (logged with its trace; a person gets the sentence)
        print(scrub(f"There is no backup: {error}"), file=sys.stderr)
        return 1
    finally:
        metrics.flush_metrics()
    return 0


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
