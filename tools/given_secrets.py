"""Says which secrets of an environment still wait for the operator, and how to fill them (`make secrets ENV=prod`)."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3

from environments.loading import SettingsError, load


def secrets_to_fill(cloudformation: Any, secretsmanager: Any, stack: str) -> dict[str, tuple[str, bool]]:
    """Variable → (name of its secret, whether it is still empty), from the stack's SecretsToFill output."""
    outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    listed = next(output["OutputValue"] for output in outputs if output["OutputKey"] == "SecretsToFill")
    pairs = [entry.split(": ", 1) for entry in listed.split(", ")]
    return {
        variable: (name, not json.loads(secretsmanager.get_secret_value(SecretId=name)["SecretString"])["value"])
        for variable, name in pairs
    }


def report(found: dict[str, tuple[str, bool]]) -> str:
    """The findings as lines a person can act on."""
    lines = []
    for variable, (name, empty) in found.items():
        lines.append(f"{variable}: {'still empty' if empty else 'given'}")
        if empty:
            lines.append(f"  aws secretsmanager put-secret-value --secret-id '{name}' --secret-string '{{\"value\": \"…\"}}'")
    if any(empty for _, empty in found.values()):
        lines.append("Running tasks read a secret when they start: `aws ecs update-service --force-new-deployment` rolls them.")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Prints the report for the environment named; 1 with a message when there is no such environment."""
    try:
        settings = load(arguments[0] if arguments else "prod")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    session = boto3.Session(region_name=settings.region)
    print(report(secrets_to_fill(session.client("cloudformation"), session.client("secretsmanager"), settings.stack_prefix)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
