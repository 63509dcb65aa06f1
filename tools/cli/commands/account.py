"""`./carmen account check`: does this AWS account behave as the templates assume? (docs/assumptions.md)"""

from __future__ import annotations

from dataclasses import asdict

import click

from tools.cli.options import json_option, print_json, reads_environment, yes_option
from tools.cli.terminal import approve, on_ctrl_c, step
from tools.environment import Deployed, FailedError

INTERRUPTED = "Stopping. The stack {name} is being removed in AWS, which takes up to 40 minutes."
REMAINING = "The stack {name} may remain in AWS: `./carmen account check --prove` removes it first; so does deleting the stack."


@click.group(name="account")
def group() -> None:
    """Check an AWS account before the first deployment."""


@group.command("check")
@click.option("--prove", is_flag=True, help="Also create throwaway resources: less than 1 USD, about 40 minutes, then removed.")
@yes_option
@json_option
@reads_environment
def check(deployed: Deployed, prove: bool, yes: bool, as_json: bool) -> None:
    """Check what the templates assume about an account.

    Without --prove it only reads. With --prove it also creates one stack, CarmenProofService, asks it the questions that no
    documentation answers, and removes it: use a sandbox account and an administrator's credentials. docs/assumptions.md lists
    each question and permission. This command has not run against an AWS account yet.

    Exit code 1 when an assumption is wrong: the answer names the setting or document to change.

    \b
    Example:
      ./carmen account check --env prod --prove
    """
    from tools.account.assumptions import ask, lines
    from tools.account.proof_stack import NAME
    from tools.account.proofs import COST, DURATION
    from tools.account.proofs import prove as prove_all
    from tools.account.readings import READINGS

    def say(text: str) -> None:
        click.echo(text, err=True) if as_json else step(text)

    results = list(ask(READINGS, deployed, say))
    if prove:
        approve(
            "the account",
            yes,
            f"the throwaway stack {NAME} is created and removed; cost: {COST}, time: {DURATION}",
            f"the command removes it; after an interruption, `aws cloudformation delete-stack --stack-name {NAME}`",
            always=True,
        )
        with on_ctrl_c(INTERRUPTED.format(name=NAME), REMAINING.format(name=NAME)):
            results += prove_all(deployed, say)
    if as_json:
        print_json([asdict(one) for one in results])
    else:
        print("\n".join(lines(results)))
    if wrong := [one.id for one in results if one.holds is False]:
        raise FailedError(f"{len(wrong)} of {len(results)} assumptions are wrong: {', '.join(wrong)}")
