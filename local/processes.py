"""Ports and processes on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

LOCALHOST = "127.0.0.1"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port


def stop_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A watcher that interrupts `pid` when this process is gone: its end of the pipe then closes.

    Not PR_SET_PDEATHSIG: that fires when the starting *thread* ends, and emulator handlers run on worker threads.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill -INT "$0"', str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def is_running(pid: int, command_contains: str) -> bool:
    """Whether `pid` is alive and still the program it was: process ids are used again."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return command_contains.encode() in command


def stop(pid: int, command_contains: str, signal_number: int, patience_seconds: float = 20) -> None:
    """Ends a process of ours by id, and waits; raises TimeoutError when it does not go."""
    deadline = time.monotonic() + patience_seconds
    if is_running(pid, command_contains):
        os.kill(pid, signal_number)
    while is_running(pid, command_contains):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} ({command_contains}) did not end within {patience_seconds:.0f} s")
        time.sleep(0.05)
