"""A drill from the command line, with all the time it needs: the Fargate task's entry, and a person's.

    BACKUP_BUCKET=… python -m drill [--time 2026-12-01T03:00:00Z]

Ends with 0 when the newest backup was restored and proved, 1 otherwise, with a message. SIGTERM, which is how ECS ends a
task, removes everything; what SIGKILL leaves, the next drill removes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from types import FrameType

from common.scrubbed_logs import scrub

from drill.handler import TIME_VARIABLE, metrics, run


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", default=os.environ.get(TIME_VARIABLE), help="the time the drill is for, ISO 8601 (now)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    try:
        print(json.dumps(run(options.time, lambda: None), indent=1))
    except Exception as error:  # noqa: BLE001 (logged with its trace; a person gets the sentence)
        print(scrub(f"No backup was proved: {error}"), file=sys.stderr)
        return 1
    finally:
        metrics.flush_metrics()
    return 0


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
