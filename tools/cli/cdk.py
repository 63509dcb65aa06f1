"""The pinned CDK CLI (node_modules/aws-cdk), run by the Node inside .venv."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tools.cli.terminal import on_ctrl_c
from tools.environment import missing_credentials, refused_credentials
from tools.processes import child, node

ROOT = Path(__file__).parents[2]
CLI = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
OFFLINE = ("--no-notices", "--no-validation")
ENDED_SECONDS = 10


def environment() -> dict[str, str]:
    """This process's variables, with Node and .venv first on the path. Without PYTHONDONTWRITEBYTECODE a synth is 3 s faster."""
    path = os.pathsep.join([str(node().parent), str(ROOT / ".venv" / "bin"), os.environ.get("PATH", os.defpath)])
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PATH": path, "CDK_VALIDATION": "false", "CDK_DISABLE_CLI_TELEMETRY": "true"}


def run_cdk(arguments: Sequence[str], interrupted: str, *, shares_terminal: bool = False) -> int:
    """Run the CDK CLI in the project's folder; returns its exit code. `interrupted` is what Ctrl-C prints.

    With `shares_terminal` it can ask questions, and a Ctrl-C in the terminal reaches it directly. Otherwise it ends after our message.
    """
    command = [str(node()), str(CLI), *arguments]
    with on_ctrl_c(interrupted):
        if shares_terminal and sys.stdin.isatty():
            code = _run_in_terminal(command)
        else:
            with child(command, cwd=ROOT, env=environment()) as process:
                code = process.wait()
    if code and (advice := missing_credentials() or refused_credentials()):
        click.echo(advice, err=True)
    return code if code >= 0 else 128 - code


def _run_in_terminal(command: list[str]) -> int:
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(ENDED_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
