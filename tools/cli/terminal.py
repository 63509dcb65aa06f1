"""What every command does with its terminal: progress lines, confirmation of changes, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import click

from tools import processes
from tools.environment import RefusedError

PRODUCTION = "prod"
_START = time.monotonic()


def step(text: str) -> None:
    """Print one line of progress with the seconds since the command started."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def approve(environment: str, yes: bool, change: str, undo: str, *, always: bool = False) -> None:
    """State a change and how to undo it; for production, or `always`, ask for confirmation. From then on Ctrl-C names the change.

    Raises RefusedError when it is not given, or cannot be because there is no terminal.
    """
    click.echo(f"Change of {environment}: {change}\nUndo: {undo}", err=True)
    if not yes and (always or environment == PRODUCTION):
        _confirm(environment)
    _ctrl_c.change_begins(change, undo)


def approve_by_name(environment: str, given: str | None, change: str, undo: str) -> None:
    """State a change that deletes data, and ask for the environment's name unless it is `given`. From then on Ctrl-C names the change.

    Raises RefusedError when it is another name, or cannot be asked for because there is no terminal.
    """
    click.echo(f"Change of {environment}: {change}\nUndo: {undo}", err=True)
    if given is None:
        if not sys.stdin.isatty():
            raise RefusedError(f"Nothing was changed: give the name on a terminal, or with the option --confirm {environment}.")
        try:
            given = click.prompt(f"Type {environment} to continue", default="", show_default=False, err=True)
        except click.Abort:  # end of input
            given = ""
    if given != environment:
        raise RefusedError(f"Nothing was changed: {given!r} is not {environment}.")
    _ctrl_c.change_begins(change, undo)


def _confirm(environment: str) -> None:
    if not sys.stdin.isatty():
        raise RefusedError(f"Nothing was changed: a change of {environment} needs confirmation on a terminal, or the option --yes.")
    try:
        confirmed = click.confirm("Continue?", err=True)
    except click.Abort:  # end of input
        confirmed = False
    if not confirmed:
        raise RefusedError("Nothing was changed: not confirmed.")


_NOTHING = ("Stopping. Nothing continues in AWS.", "Nothing continues in AWS.")
AGAIN = "Press Ctrl-C again to stop at once."


class _CtrlC:
    """Messages for the first and the second Ctrl-C of this process, innermost block last."""

    def __init__(self) -> None:
        self.messages = [_NOTHING]
        self.remaining: str | None = None  # set by the first Ctrl-C

    def change_begins(self, change: str, undo: str) -> None:
        """From now on, a Ctrl-C may come after the call that makes the change."""
        text = f"The change may be made already, in part or in full: {change}. Undo: {undo}"
        self.messages[0] = (f"Stopping. {text}", text)

    def reset(self) -> None:
        self.messages, self.remaining = [_NOTHING], None

    def __call__(self, end: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        if self.remaining is not None:
            processes.write_to_terminal(f"\nStopped at once. {self.remaining}\n")
            os._exit(128 + number)  # child processes end with us: each has a watcher (tools/processes.py)
        message, self.remaining = self.messages[-1]
        processes.write_to_terminal(f"\n{message}\n{AGAIN}\n")
        end(number, frame)


_ctrl_c = _CtrlC()


@contextlib.contextmanager
def on_ctrl_c(message: str, remaining: str = "") -> Iterator[None]:
    """During this block Ctrl-C prints `message`: what is cleaned up, or continues in AWS. A second one prints `remaining`."""
    _ctrl_c.messages.append((message, remaining or message.removeprefix("Stopping. ")))
    try:
        yield
    finally:
        _ctrl_c.messages.pop()


def handle_signals() -> None:
    """From now on the first signal prints its message and raises `processes.Ended`; the second ends the process at once."""
    processes.end_on_signals()
    _ctrl_c.reset()
    for number in processes.ENDINGS:
        if callable(signal.getsignal(number)):  # not ignored
            signal.signal(number, partial(_ctrl_c, processes.end_silently))
