"""Says which secrets of an environment still wait for the operator, and how to fill them (`make secrets ENV=prod`)."""

from __future__ import annotations

import json
import sys

from tools.environment import Deployed, run


def secrets_to_fill(deployed: Deployed) -> dict[str, tuple[str, bool]]:
    """Variable → (name of its secret, whether it is still empty), from the top stack's output SecretsToFill."""
    pairs = [entry.split(": ", 1) for entry in deployed.output("SecretsToFill").split(", ")]
    secrets = deployed.session.client("secretsmanager")
    return {variable: (name, not json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])["value"]) for variable, name in pairs}


def report(found: dict[str, tuple[str, bool]]) -> str:
    """The findings as lines a person can act on."""
    lines = []
    for variable, (name, empty) in found.items():
        lines.append(f"{variable}: {'still empty' if empty else 'given'}")
        if empty:
            lines.append(f"  aws secretsmanager put-secret-value --secret-id '{name}' --secret-string '{{\"value\": \"…\"}}'")
    if any(empty for _, empty in found.values()):
        lines.append("Running tasks read a secret when they start: `aws ecs update-service --force-new-deployment` rolls them.")
        lines.append("The notifier takes another Slack webhook within five minutes.")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Prints the report for the environment named; 1 with a message when there is nothing to report on."""
    return run(arguments[0] if arguments else "prod", lambda deployed: print(report(secrets_to_fill(deployed))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
