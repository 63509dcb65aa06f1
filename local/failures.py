"""Why a deployment failed, in CloudFormation's words: the resource of each stack that failed first, without its consequences."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

AFTERWARDS = {
    "ROLLBACK_COMPLETE": "rolled back; what it had created is deleted",
    "UPDATE_ROLLBACK_COMPLETE": "rolled back to its earlier state",
    "ROLLBACK_FAILED": "the rollback failed too; some resources are left",
    "UPDATE_ROLLBACK_FAILED": "the rollback failed too; it is in neither the old nor the new state",
}
CONSEQUENCE = "cancelled"  # "Resource creation cancelled": the failure of another resource is the reason


@dataclass(frozen=True)
class Failure:
    """A failed stack: the resource (with its construct path, if the template has one), the reason, and the state of the stack."""

    stack: str
    status: str
    resource: str
    reason: str

    @property
    def is_final(self) -> bool:
        """Whether the stack cannot be deployed again."""
        return self.status.endswith("ROLLBACK_FAILED")

    def __str__(self) -> str:
        afterwards = AFTERWARDS.get(self.status, "unchanged")
        return f"  {self.resource}\n{textwrap.indent(self.reason.strip(), '    ')}\n  {self.stack}: {self.status} ({afterwards})"


def failures(cloudformation: Any, templates: Path, since: datetime) -> list[Failure]:
    """The stacks in which a resource failed since then; empty when CloudFormation did not fail.

    `templates` is the folder of the templates that were deployed: after a rollback CloudFormation knows only the earlier ones.
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
    """The earliest failure of a resource; the failure of the stack only repeats it."""
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
