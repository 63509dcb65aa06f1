"""A drill from the command line, with all the time it needs: the Fargate task's entry, and a person's.

    BACKUP_BUCKET=… python -m drill [--time 2026-12-01T03:00:00Z]

Ends with 0 when the newest backup was restored and proved, 1 otherwise, with a message. SIGTERM, which is how ECS ends a
task, removes everything; what SIGKILL leaves, the next drill removes.
"""

from __future__ import annotations

import sys

from common.command_line import run_once

from drill.handler import TIME_VARIABLE, metrics, run


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run_once(
        arguments,
        run,
        package="drill",
        description=__doc__,
        time_variable=TIME_VARIABLE,
        flush=metrics.flush_metrics,
        failure_prefix="No backup was proved",
    )


if __name__ == "__main__":
    sys.exit(main())
