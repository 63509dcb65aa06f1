"""Responses of a custom resource's function to CloudFormation.

Without a response the stack waits for the resource's ServiceTimeout, so `respond` always sends one.
Source: AWS "Custom resource response objects".
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

from common.scrubbed_logs import scrub, scrubbed_logger

logger = scrubbed_logger()


def respond(event: dict[str, Any], physical_id: str, action: Callable[[], dict[str, str]]) -> None:
    """Run `action`, except for a deletion, and send the result to CloudFormation. Failures are also raised.

    `action` returns the resource's attributes. A failed update keeps the physical id, so that CloudFormation replaces nothing.
    """
    response = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId", physical_id),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":
            response["Data"] = action()
    except Exception as error:
        response |= {"Status": "FAILED", "Reason": scrub(f"{type(error).__name__}: {error}")[:1000]}
        raise
    finally:
        _send(event["ResponseURL"], response)


def _send(url: str, response: dict[str, Any]) -> None:
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError("CloudFormation's response URL is not HTTPS")
    body = json.dumps(response).encode()
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "", "Content-Length": str(len(body))})  # noqa: S310 (checked above)
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 (checked above)
        logger.info("response sent to CloudFormation", status=response["Status"], http_status=reply.status)
