"""Ports, processes and signals on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

LOCALHOST = "127.0.0.1"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal that closes
PATIENCE_SECONDS = 20


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Ended(SystemExit):
    """This command was asked to end. Uncaught, it becomes the exit code that shells give: 128 + the signal's number."""


class _Endings:
    """What is done about a signal: now, or when a process that was just started is known."""

    def __init__(self) -> None:
        self._heard = float("-inf")
        self._code = 0
        self._pending = self._deferring = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._heard < PATIENCE_SECONDS:  # a second Ctrl-C changes nothing while the first is obeyed
            return
        self._heard, self._code = time.monotonic(), 128 + number
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"\nEnding ({signal.Signals(number).name}).\n".encode())
        self.end()

    def end(self, *_: object) -> None:
        if self._deferring:
            self._pending = True
        else:
            raise Ended(self._code)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            if self._pending:
                self._pending = False
                self.end()


_endings = _Endings()


def end_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise `Ended` here, once; what is ignored (nohup, a shell's `&`) stays so."""
    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _endings)
    come_again(Ended, _endings.end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)  # the Makefile holds them back until here


def come_again(ending: type[BaseException], raises_it: Callable[[int, FrameType | None], Any]) -> None:
    """Python drops what a signal raises in a finalizer, or while garbage is collected: `ending` is raised again a moment later."""
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
    """A process in a group of its own, which is ended when the block fails or we end, however that comes.

    It stays when the block ends well. Its group keeps a terminal's Ctrl-C from it: we decide the order in which things end.
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
    """`subprocess.run` for a `child`; its output is captured as text."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with child(command, text=True, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end_group(leader: subprocess.Popen[Any]) -> None:
    """SIGTERM for a child and what it started, SIGKILL for what is still there when the child has gone or does not go."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(PATIENCE_SECONDS)
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def stop_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A watcher that interrupts `pid` (a group, if negative) when this process is gone: its end of the pipe then closes.

    Not PR_SET_PDEATHSIG: that fires when the starting *thread* ends, and emulator handlers run on worker threads.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -INT "$0"', str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def is_running(pid: int, *arguments: str) -> bool:
    """Whether `pid` is alive and has these arguments on its command line: process ids are used again."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return all(argument.encode() in command for argument in arguments)


def runs_from(folder: Path) -> bool:
    """Whether a program below this folder is running."""
    for program in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):  # ended, or another user's
            if program.readlink().is_relative_to(folder.resolve()):
                return True
    return False


def stop(pid: int, *arguments: str) -> None:
    """Ends a process of ours by id: SIGTERM, and SIGKILL when it does not go. Returns when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + PATIENCE_SECONDS
        if is_running(pid, *arguments):
            os.kill(pid, number)
        while is_running(pid, *arguments) and time.monotonic() < deadline:
            time.sleep(0.05)
