"""A function that tries calls under its role and returns for each `allowed` or AWS's error code."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.exceptions import ClientError


def handler(calls: list[tuple[str, str, dict[str, Any]]], context: object) -> list[str]:
    """`calls`: (service, method, parameters)."""
    return [_try(*call) for call in calls]


def _try(service: str, method: str, parameters: dict[str, Any]) -> str:
    try:
        getattr(boto3.client(service), method)(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"
