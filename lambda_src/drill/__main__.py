"""Run a restore drill from the command line, without a time limit. The Fargate task runs this, and so can a person.

    BACKUP_BUCKET=… python -m drill [--time 2026-12-01T03:00:00Z]

Exit codes: 0 if the newest backup was restored and verified, 1 otherwise. SIGTERM, which ECS sends to stop a task, removes
everything; after SIGKILL the next drill does.
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
        failure_prefix="The restore drill failed",
    )


if __name__ == "__main__":
    sys.exit(main())
