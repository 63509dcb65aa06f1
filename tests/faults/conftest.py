"""A terminal to press Ctrl-C in, a copy of the tree in a folder that is hard on quoting, and somebody else's process."""

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

import pytest

from tests.isolated_checkout import Copy, copy_of_the_tree

FOLDER = "Kärrmen's $HOME (1)"
NO_REGISTRY = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}


class Terminal:
    """A command of a copy, in a terminal of its own."""

    def __init__(self, copy: Copy, *command: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=copy.root,
            env=copy.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def wait_for(self, text: str, patience_seconds: float = 120) -> None:
        """Returns when the command has shown the text."""
        deadline = time.monotonic() + patience_seconds
        while text not in self.shown:
            assert self._read(deadline), f"{text!r} was not shown:\n{self.shown}"

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def terminate(self) -> None:
        """Make hands SIGTERM on."""
        self.process.terminate()

    def close(self) -> None:
        """As when its window is closed: nobody reads any more, and the shell hands SIGHUP to its job."""
        os.close(self._ours)
        self._ours = -1
        os.killpg(self.process.pid, signal.SIGHUP)

    def exit_code(self, patience_seconds: float = 120) -> int:
        """Waits for the command's end; its exit code as a shell says it."""
        deadline = time.monotonic() + patience_seconds
        while self._ours >= 0 and self._read(deadline):
            pass
        code = self.process.wait(max(1.0, deadline - time.monotonic()))
        return code if code >= 0 else 128 - code

    def _read(self, deadline: float) -> bool:
        """Takes what is there; False at the end of the command or of patience."""
        if not select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            self.shown += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # how Linux tells that nobody has the other end open any more
            return False
        return True


# Mounts a disk of that size for the command alone; it is as good as full as soon as a file `<disk>.full` is there.
_MOUNT = """
mount -t tmpfs -o size="$2" none "$1" || exit 99
( until test -e "$1.full"; do kill -0 $$ || exit; sleep 0.1; done
  mount -o remount,size="$(( $(df -k --output=used "$1" | tail -n 1) + 256 ))k" "$1" ) >/dev/null 2>&1 &
shift 2
exec "$@"
"""


def small_disk(copy: Copy, size: str, at: str = "disk") -> list[str]:
    """Words that have what follows run with a small disk in this folder of the copy. Without root, in a user namespace."""
    disk = copy.root / at
    disk.mkdir(exist_ok=True)
    may_mount = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *may_mount, "--mount", "sh", "-c", _MOUNT, "sh", str(disk), size]
    if copy.run(*words, "true").returncode:
        pytest.skip("this machine lets this user mount nothing, not even in a namespace of its own")
    return words


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """Installed."""
    with copy_of_the_tree(tmp_path / FOLDER / "clone of it") as copied:
        yield copied


@pytest.fixture
def bare_copy(tmp_path: Path) -> Iterator[Copy]:
    """Nothing is installed in it yet."""
    with copy_of_the_tree(tmp_path / FOLDER / "clone of it", installed=False) as copied:
        yield copied


@pytest.fixture(autouse=True)
def _bystander() -> Iterator[None]:
    """Somebody else's process, which looks like one of ours: no fault is a reason to touch it."""
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3600)", "-m", "local.emulator.server", "--folder", "/elsewhere"]
    )
    yield
    alive = other.poll() is None
    other.kill()
    other.wait()
    assert alive, "a process that is not ours was ended"
