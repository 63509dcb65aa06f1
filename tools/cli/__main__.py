"""`./carmen`, or `python -m tools.cli`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _stop(number: int, _: FrameType | None) -> None:
    """Ctrl-C while the modules load, until `main` handles it."""
    os.write(2, b"\nStopping. Nothing continues in AWS.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # `./carmen` holds it back during Python's start
    if folder := os.environ.pop("CARMEN_FOLDER", None):  # where `./carmen` was called: relative paths are meant from there
        os.chdir(folder)
    from tools.cli.cli import main

    sys.exit(main())
