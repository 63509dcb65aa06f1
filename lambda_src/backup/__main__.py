"""Make a backup from the command line, without a time limit. The Fargate task runs this, and so can a person.

    python -m backup [--time 2026-11-24T01:00:00Z]

Exit codes: 0 if the backup of that time is complete, 75 if another run holds the lock (try again later), 1 otherwise. SIGTERM,
which ECS sends to stop a task, removes what was uploaded so far.
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
        failure_prefix="The backup failed",
    )


if __name__ == "__main__":
    sys.exit(main())
