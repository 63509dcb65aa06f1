"""Says how to give AWS credentials, if there are none: for whoever reads "Unable to resolve AWS account to use"."""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import BotoCoreError


def missing() -> str | None:
    """What to do when no credentials can be found; None when there are some, whatever they are good for."""
    try:
        found = boto3.Session().get_credentials() is not None
    except BotoCoreError as error:  # a profile that is not there, an SSO session that has run out
        return f"{error}: `aws configure list` shows where credentials are looked for."
    if found:
        return None
    return (
        "There are no AWS credentials: name a profile (`aws configure sso` makes one, `export AWS_PROFILE=...` chooses it), "
        "or export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


if __name__ == "__main__":
    if told := missing():
        print(told, file=sys.stderr)
