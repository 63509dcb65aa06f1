"""Reading and writing secrets as JSON objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from common import aws
from common.scrubbed_logs import hide

Secret = dict[str, str]
# What RDS and this application write beside passwords, and logs may show.
PUBLIC = ("username", "PGUSER", "engine", "host", "port", "dbname", "dbInstanceIdentifier", "masterarn")


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
    return Version(answer["VersionId"], _hidden(json.loads(answer["SecretString"] or "{}")), answer["CreatedDate"])


def read(arn: str, client: Any = None) -> Secret:
    """The secret's current value; empty when it was created without one, or with an empty text."""
    client = client or aws.client("secretsmanager")
    try:
        value = client.get_secret_value(SecretId=arn)["SecretString"]
    except client.exceptions.ResourceNotFoundException:
        client.describe_secret(SecretId=arn)  # raises when it is the secret that is missing, not its value
        return {}
    return _hidden(cast(Secret, json.loads(value or "{}")))


def write_if_changed(arn: str, value: Secret, client: Any = None) -> bool:
    """Puts `value` unless it is there already; true when it was put."""
    client = client or aws.client("secretsmanager")
    if read(arn, client) == value:
        return False
    write(arn, value, client)
    return True


def write(arn: str, value: Secret, client: Any, stage: str = "AWSCURRENT") -> None:
    """Puts `value` as a new version; what was AWSCURRENT becomes AWSPREVIOUS."""
    client.put_secret_value(SecretId=arn, SecretString=json.dumps(_hidden(value), sort_keys=True), VersionStages=[stage])


def _hidden(value: Secret) -> Secret:
    """The same; from now on no log shows what of it is secret."""
    for name, part in value.items():
        if name not in PUBLIC and isinstance(part, str):
            hide(part)
    return value
