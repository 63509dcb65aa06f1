"""A copy of the tree in a folder whose name needs quoting, and a process of another program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolated_checkout import Copy, copy_of_the_tree

FOLDER = "Kärrmen's $HOME (1)"
NO_REGISTRY = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}


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
