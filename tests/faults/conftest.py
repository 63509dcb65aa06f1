"""A terminal for Ctrl-C, a copy of the tree in a folder whose name needs quoting, and a process of another program."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.isolated_checkout import Copy, copy_of_the_tree

FOLDER = "Kärrmen's $HOME (1)"
NO_REGISTRY = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}


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


# Mounts a disk of this size for the command alone. It becomes full when the file `<disk>.full` exists.
_MOUNT = """
mount -t tmpfs -o size="$2" none "$1" || exit 99
( until test -e "$1.full"; do kill -0 $$ || exit; sleep 0.1; done
  mount -o remount,size="$(( $(df -k --output=used "$1" | tail -n 1) + 256 ))k" "$1" ) >/dev/null 2>&1 &
shift 2
exec "$@"
"""


def small_disk(copy: Copy, size: str, at: str = "disk") -> list[str]:
    """A command prefix that mounts a small disk in this folder of the copy; without root, in a user namespace."""
    disk = copy.root / at
    disk.mkdir(exist_ok=True)
    may_mount = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *may_mount, "--mount", "sh", "-c", _MOUNT, "sh", str(disk), size]
    if copy.run(*words, "true").returncode:
        pytest.skip("this user may not mount a disk on this machine, even in a user namespace")
    return words


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A copy with an installation."""
    with copy_of_the_tree(tmp_path / FOLDER / "clone of it") as copied:
        yield copied


@pytest.fixture
def bare_copy(tmp_path: Path) -> Iterator[Copy]:
    """A copy without an installation."""
    with copy_of_the_tree(tmp_path / FOLDER / "clone of it", installed=False) as copied:
        yield copied


@pytest.fixture(autouse=True)
def _bystander() -> Iterator[None]:
    """Another program's process that looks like ours must survive every fault."""
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3600)", "-m", "local.emulator.server", "--folder", "/elsewhere"]
    )
    yield
    alive = other.poll() is None
    other.kill()
    other.wait()
    assert alive, "a process of another program was ended"
