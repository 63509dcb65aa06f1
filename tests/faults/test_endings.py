"""Ctrl-C, kill and a closed terminal at any moment: one message, no process left, and the next run works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.conftest import ROOT
from tests.isolated_checkout import Copy
from tests.terminal import Terminal
from tools.processes import is_running

RESTART = "Stopping, together with the embedded AWS. Run `make local` to start again."


def ctrl_c_again_and_again(run: Terminal) -> None:
    for _ in range(5):
        run.press_ctrl_c()
        time.sleep(0.05)


@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.4, 0.8])
def test_ctrl_c_in_the_first_moments_ends_everything(copy: Copy, seconds: float) -> None:
    """Python itself may show a traceback: it starts in the first 0.1 s.

    GNU make 4.3 loses Ctrl-C while it starts a program: the program does not get it, and make waits for the program (5 of 3,000 runs
    of a recipe that only sleeps). A person then presses it again. Or the program gets it and make does not: then make reports its code,
    or fails itself because its child is gone.
    """
    run = Terminal(copy, "make", "local")
    time.sleep(seconds)
    run.press_ctrl_c()
    try:
        code = run.exit_code(10)
    except subprocess.TimeoutExpired:
        run.press_ctrl_c()
        code = run.exit_code()
    by_make = code == 2 and ("Error 130" in run.shown or "make: *** wait: No child processes" in run.shown)
    assert code == 130 or by_make, (code, run.shown)
    assert copy.nothing_runs()


@pytest.mark.parametrize("command", ["./carmen synth", "./carmen cost", "make bench-synth"])
def test_ctrl_c_ends_a_tool_without_a_traceback(copy: Copy, command: str) -> None:
    run = Terminal(copy, *command.split())
    time.sleep(1.2)
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert "Traceback" not in run.shown
    assert copy.nothing_runs()


def test_ended_update_keeps_the_deployment(copy: Copy) -> None:
    with copy.deployment.alone():
        copy.deployment.start()
    pid = copy.deployment.server()
    run = Terminal(copy, "make", "local-update")
    run.wait_for("synthesizing")
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert "Stopping. The deployed resources still run" in run.shown
    assert copy.deployment.server() == pid
    copy.deployment.stop()
    assert copy.nothing_runs()


@pytest.mark.long
def test_killed_server_is_reported_at_once(copy: Copy) -> None:
    run = Terminal(copy, "make", "local")
    run.wait_for("bootstrapping")
    time.sleep(1)
    pid = copy.deployment.server()
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert run.exit_code(20) == 2
    assert "The embedded AWS stopped during `cdk bootstrap`" in run.shown
    assert copy.nothing_runs()


Ending = Callable[[Terminal], None]
MOMENTS: list[tuple[str, float, Ending, int]] = [
    ("starting", 0.5, Terminal.terminate, 143),
    ("synthesizing", 1, Terminal.press_ctrl_c, 130),
    ("synthesizing", 2, Terminal.close, 129),
    ("bootstrapping", 1, ctrl_c_again_and_again, 130),
    ("bootstrapping", 3, Terminal.terminate, 143),
    ("cdk deploy", 0, Terminal.press_ctrl_c, 130),
    ("cdk deploy", 4, Terminal.close, 129),
    ("cdk deploy", 12, ctrl_c_again_and_again, 130),
]


def end_runs_at(moments: list[tuple[str, float, Ending, int]], copy: Copy) -> None:
    """Each run starts with the remains of the previous one."""
    for stage, seconds, end, code in moments:
        run = Terminal(copy, "make", "local")
        run.wait_for(stage)
        time.sleep(seconds)
        end(run)
        given = run.exit_code()
        assert "Traceback" not in run.shown
        if end is Terminal.close:  # it may notice the closed terminal first
            assert given in (code, 2), stage
        else:
            assert given == code, (stage, run.shown)
            assert run.shown.count(RESTART) == 1, (stage, run.shown)
        assert copy.nothing_runs(), (stage, copy.running())


@pytest.mark.long
def test_deployment_ends_at_any_moment(copy: Copy) -> None:
    """Late moments are in test_local.py. After kill -9 the CDK ends too, and the next run ends the remaining server."""
    end_runs_at(MOMENTS, copy)
    run = Terminal(copy, "make", "local")
    run.wait_for("cdk deploy")
    time.sleep(3)
    (pid,) = [pid for pid, command in copy.running().items() if "-m local.main" in command]
    os.kill(pid, signal.SIGKILL)
    assert run.exit_code() == 2
    time.sleep(1)
    assert not [command for command in copy.running().values() if "aws-cdk" in command]
    left = copy.deployment.server()
    assert left
    end_runs_at([("synthesizing", 0, Terminal.press_ctrl_c, 130)], copy)
    assert not is_running(left, "local.emulator.server")


@pytest.mark.long
@pytest.mark.parametrize(
    ("seconds", "end"), [(3, Terminal.press_ctrl_c), (16, Terminal.press_ctrl_c), (12, Terminal.terminate), (14, Terminal.close)]
)
def test_test_run_ends_at_any_moment(copy: Copy, seconds: float, end: Ending) -> None:
    """Also during its deployment. The first lines may be a traceback: execnet's workers show one for Ctrl-C at their start."""
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):  # its tests copy the files of git
        assert copy.run(*command).returncode == 0
    (temporary := copy.root.parent / "tmp").mkdir()
    copy.environment |= {"PYTEST_ADDOPTS": "tests/local/test_deployment.py tests/lambdas", "TMPDIR": str(temporary)}
    codes: dict[Ending, tuple[int, ...]] = {Terminal.press_ctrl_c: (130,), Terminal.terminate: (143,), Terminal.close: (129, 2)}
    run = Terminal(copy, "make", "test")
    time.sleep(seconds)
    end(run)
    assert run.exit_code() in codes[end], run.shown
    assert copy.nothing_runs(60), copy.running()  # workers notice it at the end of their test


DROPPED = {
    "finalizer": "weakref.finalize(Finalized(), signal.raise_signal, signal.SIGINT)",
    "garbage collection": """
def callback(phase, _):  # as hypothesis has: the first Python code that runs
    gc.callbacks.remove(callback)
    signal.raise_signal(signal.SIGINT)
gc.callbacks.append(callback)
gc.collect()""",
}


@pytest.mark.parametrize("where", DROPPED)
def test_command_ends_after_ctrl_c_that_python_drops(where: str) -> None:
    program = f"""
import gc, signal, time, weakref
from tools.processes import end_on_signals
end_on_signals("Stopping.")
class Finalized: pass
{DROPPED[where]}
time.sleep(5)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "\nStopping.\n")
