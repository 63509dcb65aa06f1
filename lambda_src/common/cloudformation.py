"""Responses of a custom resource's function to CloudFormation.

Without a response the stack waits for the resource's ServiceTimeout, so `respond` always sends one.

"If an Update event fails, CloudFormation will issue an additional Update with the previous properties" (README of aws-cdk-lib's
custom_resources), and when that fails too, the stack is UPDATE_ROLLBACK_FAILED (aws-cloudformation/custom-resource-helper#70). The
request does not say that it is a rollback. Therefore the physical id contains a hash of the properties that were established last.
A request to establish the same properties again is a rollback, or continues one: it is answered with success.
When another resource fails later, CloudFormation deletes the new physical id, and a deletion does nothing.
Source: AWS "Custom resource response objects", "PhysicalResourceId".
"""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Callable
from typing import Any

from common.scrubbed_logs import scrub, scrubbed_logger

logger = scrubbed_logger()


def respond(event: dict[str, Any], name: str, action: Callable[[], dict[str, str]]) -> None:
    """Run `action`, except for a deletion, and send the result to CloudFormation. Failures are also raised.

    `action` returns the resource's attributes. The physical id is `name` with a hash of the properties. A failed request keeps the
    physical id, so that CloudFormation replaces nothing. A failure during a rollback is answered with success, and raised.
    """
    established = event.get("PhysicalResourceId", f"{name}-never-established")
    wanted = f"{name}-{_hash_of(event.get('ResourceProperties', {}))}"
    response = {
        "Status": "SUCCESS",
        "PhysicalResourceId": established,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":
            response |= {"Data": action(), "PhysicalResourceId": wanted}
    except Exception as error:
        rolls_back = established == wanted
        reason = scrub(f"{'Ignored during the rollback: ' if rolls_back else ''}{type(error).__name__}: {error}")[:1000]
        response |= {"Status": "SUCCESS" if rolls_back else "FAILED", "Reason": reason}
        raise
    finally:
        _send(event["ResponseURL"], response)


def _hash_of(properties: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]


def _send(url: str, response: dict[str, Any]) -> None:
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError("CloudFormation's response URL is not HTTPS")
    body = json.dumps(response).encode()
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": "", "Content-Length": str(len(body))})  # noqa: S310 (checked above)
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 (checked above)
        logger.info("response sent to CloudFormation", status=response["Status"], http_status=reply.status)
