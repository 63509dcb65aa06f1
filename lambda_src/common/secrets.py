"""Secrets Manager secrets as JSON objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from common import aws
from common.scrubbed_logs import hide

Secret = dict[str, str]
# Fields without secrets, which logs may show.
PUBLIC = ("username", "PGUSER", "engine", "host", "port", "dbname", "dbInstanceIdentifier", "masterarn")


@dataclass(frozen=True)
class Version:
    """One value of a secret."""

    id: str
    value: Secret
    created: datetime


def version(arn: str, stage: str, client: Any) -> Version | None:
    """The version with a staging label (AWSCURRENT, AWSPREVIOUS, AWSPENDING); None if no version has it."""
    try:
        answer = client.get_secret_value(SecretId=arn, VersionStage=stage)
    except client.exceptions.ResourceNotFoundException:
        client.describe_secret(SecretId=arn)  # raises if the secret itself is missing
        return None
    return Version(answer["VersionId"], _hidden(json.loads(answer["SecretString"] or "{}")), answer["CreatedDate"])


def read(arn: str, client: Any = None) -> Secret:
    """The secret's current value; empty if it has none or an empty text."""
    client = client or aws.client("secretsmanager")
    try:
        value = client.get_secret_value(SecretId=arn)["SecretString"]
    except client.exceptions.ResourceNotFoundException:
        client.describe_secret(SecretId=arn)  # raises if the secret itself is missing
        return {}
    return _hidden(cast(Secret, json.loads(value or "{}")))


def write_if_changed(arn: str, value: Secret, client: Any = None) -> bool:
    """Write `value` unless the secret has it already. Return whether it was written."""
    client = client or aws.client("secretsmanager")
    if read(arn, client) == value:
        return False
    write(arn, value, client)
    return True


def write(arn: str, value: Secret, client: Any, stage: str = "AWSCURRENT") -> None:
    """Write `value` as a new version. The version that was AWSCURRENT becomes AWSPREVIOUS."""
    client.put_secret_value(SecretId=arn, SecretString=json.dumps(_hidden(value), sort_keys=True), VersionStages=[stage])


def _hidden(value: Secret) -> Secret:
    """Hide the secret fields of `value` in logs, and return it."""
    for name, part in value.items():
        if name not in PUBLIC and isinstance(part, str):
            hide(part)
    return value
