"""Says which secrets of an environment still wait for the operator, and how to fill them (`make secrets ENV=prod`)."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError, PartialCredentialsError

from environments.loading import SettingsError, load


class NotDeployedError(Exception):
    """The stack is not there, or its deployment has not ended."""


def secrets_to_fill(cloudformation: Any, secretsmanager: Any, stack: str) -> dict[str, tuple[str, bool]]:
    """Variable → (name of its secret, whether it is still empty), from the stack's SecretsToFill output."""
    try:
        outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # what CloudFormation calls a stack that is not there
            raise NotDeployedError(f"{stack} is not there") from None
        raise
    listed = next((output["OutputValue"] for output in outputs if output["OutputKey"] == "SecretsToFill"), None)
    if listed is None:
        raise NotDeployedError(f"{stack} has no output SecretsToFill yet")
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
    """Prints the report for the environment named; 1 with a message when there is nothing to report on."""
    name = arguments[0] if arguments else "prod"
    try:
        settings = load(name)
        session = boto3.Session(region_name=settings.region)
        print(report(secrets_to_fill(session.client("cloudformation"), session.client("secretsmanager"), settings.stack_prefix)))
    except SettingsError as error:
        return _failed(str(error))
    except NotDeployedError as error:
        return _failed(f"{error} in {settings.region}, in the account of these credentials: `make deploy ENV={name}` makes it.")
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        return _failed(f"No AWS credentials that can be used ({error}): sign in, say with `aws sso login`, or set AWS_PROFILE.")
    except (BotoCoreError, ClientError) as error:
        return _failed(f"AWS did not answer as hoped: {error}")
    return 0


def _failed(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
