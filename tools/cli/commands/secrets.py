"""`./carmen secrets`: which operator-supplied secrets are still empty, and how to fill them."""

from __future__ import annotations

import json

import click

from tools.cli.options import reads_environment
from tools.environment import Deployed


def secrets_to_fill(deployed: Deployed) -> dict[str, tuple[str, bool]]:
    """Variable → name of its secret and whether it is empty, from the top stack's output SecretsToFill."""
    pairs = [entry.split(": ", 1) for entry in deployed.output("SecretsToFill").split(", ")]
    secrets = deployed.session.client("secretsmanager")
    return {variable: (name, not json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])["value"]) for variable, name in pairs}


def report(found: dict[str, tuple[str, bool]]) -> str:
    """One line per secret, and the command that fills an empty one."""
    lines = []
    for variable, (name, empty) in found.items():
        lines.append(f"{variable}: {'still empty' if empty else 'filled'}")
        if empty:
            lines.append(f"  aws secretsmanager put-secret-value --secret-id '{name}' --secret-string '{{\"value\": \"…\"}}'")
    if any(empty for _, empty in found.values()):
        lines.append("Running tasks read secrets at their start: `./carmen tasks restart` replaces them.")
        lines.append("The notifier uses another Slack webhook within five minutes.")
    return "\n".join(lines)


@click.command("secrets")
@reads_environment
def command(deployed: Deployed) -> None:
    """List operator-supplied secrets, and how to fill them.

    \b
    Example:
      ./carmen secrets --env prod
    """
    print(report(secrets_to_fill(deployed)))
