"""`./carmen`, or `python -m tools.cli`."""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` handles it, Ctrl-C ends this without a traceback
    if folder := os.environ.pop("CARMEN_FOLDER", None):  # where `./carmen` was called: relative paths are meant from there
        os.chdir(folder)
    from tools.cli.cli import main

    sys.exit(main())
