"""The pinned CDK CLI without `./carmen`, as a CDK user runs it: it works, and prints nothing else.

`diff`, `deploy`, `drift` and `destroy` ask AWS first; the embedded AWS runs them (local/deployment.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from settings.loader import load
from tests.cli.conftest import NO_CREDENTIALS
from tests.conftest import ROOT
from tools.cli.cdk import CLI
from tools.processes import node
from tools.reports.synthesis import build

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cdk(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The CLI in the project's folder, with a synthesized app, so that each run takes a second."""
    folder = tmp_path_factory.mktemp("assembly")
    build([load("dev")], folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CARMEN_", "CDK_"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(node()), str(CLI), *arguments, "--app", str(folder)]
        return subprocess.run(command, cwd=ROOT, env={**inherited, **NO_CREDENTIALS}, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_list_prints_stacks_only(cdk: Run) -> None:
    done = cdk("list")
    assert done.returncode == 0
    assert all(line.startswith("CarmenDev") for line in done.stdout.splitlines())
    assert {"CarmenDevNetwork", "CarmenDev", "CarmenDevBudget"} <= set(done.stdout.splitlines())
    assert done.stderr == ""


@pytest.mark.slow
def test_synth_prints_one_template(cdk: Run) -> None:
    done = cdk("synth", "CarmenDev", "--exclusively")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Description: ")


@pytest.mark.slow
def test_watch_is_refused_with_the_reason(cdk: Run) -> None:
    """It would deploy without confirmation; cdk.json has no `watch`."""
    done = cdk("watch", "CarmenDev")
    assert done.returncode == 1
    assert done.stdout + done.stderr == (
        "Cannot use the 'watch' command without specifying at least one directory to monitor. "
        'Make sure to add a "watch" key to your cdk.json\n'
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["diff", "deploy", "drift", "destroy --force"])
def test_command_that_needs_aws_says_so(command: str, cdk: Run) -> None:
    done = cdk(*command.split(), "CarmenDev")
    assert done.returncode == 1
    assert "Unable to resolve AWS account to use" in done.stderr
    assert "Traceback" not in done.stderr
    assert "telemetry" not in (done.stdout + done.stderr).lower()
    assert "NOTICES" not in done.stdout + done.stderr
