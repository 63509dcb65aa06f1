"""`./carmen drift`: what differs between deployed stacks and their templates."""

from __future__ import annotations

from dataclasses import asdict

import click

from tools.cli.options import json_option, print_json, reads_environment
from tools.cli.terminal import on_ctrl_c
from tools.environment import Deployed, FailedError


@click.command("drift")
@json_option
@reads_environment
def command(deployed: Deployed, as_json: bool) -> None:
    """Compare deployed stacks with their templates.

    Prints Markdown. Exit code 1 when a stack differs, does not exist or cannot be read.

    \b
    Example:
      ./carmen drift --env prod
    """
    from tools.reports import drift

    with on_ctrl_c("Stopping. Comparisons that CloudFormation has started continue in AWS; they change nothing."):
        found = drift.find(deployed)
    if as_json:
        print_json([asdict(stack) for stack in found])
    else:
        print(drift.markdown(deployed.settings.name, found))
    if wrong := [stack.name for stack in found if not stack.in_sync]:
        raise FailedError(f"Stacks that do not match their templates: {', '.join(wrong)}")
