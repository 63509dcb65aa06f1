"""A terminal of its own for a command, with a Ctrl-C key."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """Where a command runs, with these variables."""

    root: Path
    environment: dict[str, str]


class Terminal:
    """A command in a separate terminal."""

    def __init__(self, place: Place, *command: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=place.root,
            env=place.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def wait_for(self, text: str, patience_seconds: float = 600) -> None:
        """Wait until the command has shown the text."""
        deadline = time.monotonic() + patience_seconds
        while text not in self.shown:
            assert self._read(deadline), f"{text!r} was not shown:\n{self.shown}"

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def terminate(self) -> None:
        """make passes SIGTERM on."""
        self.process.terminate()

    def close(self) -> None:
        """Close the terminal: its reader is gone, and the shell sends SIGHUP to the job."""
        os.close(self._ours)
        self._ours = -1
        os.killpg(self.process.pid, signal.SIGHUP)

    def exit_code(self, patience_seconds: float = 120) -> int:
        """Wait for the command's end; the exit code as in a shell."""
        deadline = time.monotonic() + patience_seconds
        while self._ours >= 0 and self._read(deadline):
            pass
        code = self.process.wait(max(1.0, deadline - time.monotonic()))
        return code if code >= 0 else 128 - code

    def _read(self, deadline: float) -> bool:
        """Read the available output; False at the end of the command or at the deadline."""
        if not select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            self.shown += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # Linux: the other end is closed
            return False
        return True
