"""Reading and writing secrets as JSON objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from common import aws

Secret = dict[str, str]


@dataclass(frozen=True)
class Version:
    """One value a secret has or had."""

    id: str
    value: Secret
    created: datetime


def version(arn: str, stage: str, client: Any) -> Version | None:
    """The value under a staging label (AWSCURRENT, AWSPREVIOUS, AWSPENDING); none when nothing has the label."""
    try:
        answer = client.get_secret_value(SecretId=arn, VersionStage=stage)
    except client.exceptions.ResourceNotFoundException:
        client.describe_secret(SecretId=arn)  # raises when it is the secret that is missing, not the version
        return None
    return Version(answer["VersionId"], json.loads(answer["SecretString"] or "{}"), answer["CreatedDate"])


def read(arn: str, client: Any = None) -> Secret:
    """The secret's current value; empty when it was created without one, or with an empty text."""
    client = client or aws.client("secretsmanager")
    try:
        value = client.get_secret_value(SecretId=arn)["SecretString"]
    except client.exceptions.ResourceNotFoundException:
        client.describe_secret(SecretId=arn)  # raises when it is the secret that is missing, not its value
        return {}
    return cast(Secret, json.loads(value or "{}"))


def write_if_changed(arn: str, value: Secret, client: Any = None) -> bool:
    """Puts `value` unless it is there already; true when it was put."""
    client = client or aws.client("secretsmanager")
    if read(arn, client) == value:
        return False
    write(arn, value, client)
    return True


def write(arn: str, value: Secret, client: Any, stage: str = "AWSCURRENT") -> None:
    """Puts `value` as a new version; what was AWSCURRENT becomes AWSPREVIOUS."""
    client.put_secret_value(SecretId=arn, SecretString=json.dumps(value, sort_keys=True), VersionStages=[stage])
