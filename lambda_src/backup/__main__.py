"""A backup from the command line, with all the time it needs: the Fargate task's entry, and a person's.

    python -m backup [--time 2026-11-24T01:00:00Z]

Ends with 0 when there is a good backup of that time, 75 when the lock is held (try again later), 1 otherwise, each with a
message. SIGTERM, which is how ECS ends a task, removes what was sent so far.
"""

from __future__ import annotations

import sys

from common.command_line import run_once

from backup.handler import TIME_VARIABLE, metrics, run


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run_once(
        arguments,
        run,
        package="backup",
        description=__doc__,
        time_variable=TIME_VARIABLE,
        flush=metrics.flush_metrics,
        failure_prefix="There is no backup",
    )


if __name__ == "__main__":
    sys.exit(main())
