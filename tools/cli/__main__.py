"""`./carmen`, or `python -m tools.cli`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    if folder := os.environ.pop("CARMEN_FOLDER", None):  # where `./carmen` was called: relative paths are meant from there
        os.chdir(folder)
    from tools.cli.cli import main

    sys.exit(main())
