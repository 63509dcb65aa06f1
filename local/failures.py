"""Why a deployment failed, in CloudFormation's own words: of each stack the resource that failed first, not what followed from it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

AFTERWARDS = {
    "ROLLBACK_COMPLETE": "rolled back, what it had begun is deleted again",
    "UPDATE_ROLLBACK_COMPLETE": "rolled back, it is again as it was before",
    "ROLLBACK_FAILED": "rolling back failed too, something of it is still there",
    "UPDATE_ROLLBACK_FAILED": "rolling back failed too, it is neither as before nor as wanted",
}
CONSEQUENCE = "cancelled"  # "Resource creation cancelled": another resource's failure is the reason


@dataclass(frozen=True)
class Failure:
    """A stack that failed: the resource (by its construct's path, where the template names it), the reason, and how the stack ended."""

    stack: str
    status: str
    resource: str
    reason: str

    @property
    def is_final(self) -> bool:
        """Whether no further deployment of this stack is possible."""
        return self.status.endswith("ROLLBACK_FAILED")

    def __str__(self) -> str:
        afterwards = AFTERWARDS.get(self.status, "as it is now")
        return f"  {self.resource}\n{textwrap.indent(self.reason.strip(), '    ')}\n  {self.stack}: {self.status} ({afterwards})"


def failures(cloudformation: Any, templates: Path, since: datetime) -> list[Failure]:
    """The stacks in which something failed since then; empty when CloudFormation was not the one to refuse.

    `templates` are the ones it was given: after rolling back, it knows the earlier ones only.
    """
    stacks = [stack for page in cloudformation.get_paginator("describe_stacks").paginate() for stack in page["Stacks"]]
    return [
        Failure(stack["StackName"], stack["StackStatus"], _named(templates, first), first["ResourceStatusReason"])
        for stack in stacks
        if (first := _first(_events(cloudformation, stack["StackId"]), since))
    ]


def _events(cloudformation: Any, stack: str) -> list[dict[str, Any]]:
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
    return [event for page in pages for event in page["StackEvents"]]


def _first(newest_first: Iterable[dict[str, Any]], since: datetime) -> dict[str, Any] | None:
    """The earliest failure of a resource; a stack's own only repeats it."""
    failed = [
        event
        for event in newest_first
        if event["Timestamp"] >= since
        and event["ResourceStatus"].endswith("_FAILED")
        and event["ResourceType"] != "AWS::CloudFormation::Stack"
        and CONSEQUENCE not in event.get("ResourceStatusReason", CONSEQUENCE)
    ]
    return failed[-1] if failed else None


def _named(templates: Path, event: dict[str, Any]) -> str:
    template = templates / f"{event['StackName']}.template.json"
    resources = json.loads(template.read_text())["Resources"] if template.exists() else {}
    path = resources.get(event["LogicalResourceId"], {}).get("Metadata", {}).get("aws:cdk:path", event["LogicalResourceId"])
    return f"{path} ({event['ResourceType']}, {event['LogicalResourceId']}): {event['ResourceStatus']}"
