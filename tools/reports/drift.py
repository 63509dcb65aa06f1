"""Whether what is deployed still is what the templates say: `make drift ENV=prod`, as Markdown; 1 when it is not, or nobody can tell.

CloudFormation compares, with the eyes of whoever asks: the CDK's lookup role, which may read everything and change nothing,
where these credentials may take it (a pipeline's may nothing else), and the credentials themselves where not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.exceptions import ClientError

from settings.model import Settings
from tools.environment import NOT_THERE, Deployed, RefusedError, run

PATIENCE_SECONDS = 900
QUALIFIER = "hnb659fds"  # of the CDK's roles (DefaultStackSynthesizer.DEFAULT_QUALIFIER)
LONGEST = 120  # of a value in the report
UNTOLD = ("AccessDenied", "AccessDeniedException", NOT_THERE)  # the last: a stack in the middle of something, too
T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """A stack and what was found: `state` is CloudFormation's, and each difference is (resource, property, template, deployed)."""

    name: str
    state: str
    reason: str = ""
    differences: tuple[tuple[str, str, str, str], ...] = field(default=())

    @property
    def in_order(self) -> bool:
        return self.state == "IN_SYNC"

    @property
    def in_words(self) -> str:
        """What it means, and what to do."""
        return {
            "IN_SYNC": "As its template says.",
            "DRIFTED": "Somebody changed it past its template: bring the change into the template, or undo it by hand; "
            "a deployment touches only what its template changes.",
            "NOT_DEPLOYED": "It is not there: the deployment has not ended, or somebody deleted it.",
        }.get(self.state, f"Nobody can tell ({self.state}): {self.reason or 'CloudFormation gives no reason'}")


def stacks_of(settings: Settings) -> list[tuple[str, str]]:
    """(name, region) of all stacks of an environment, in the order of deployment."""
    from tools.reports.synthesis import build  # here, for the CDK takes a second to load, which `make local` need not wait for

    with tempfile.TemporaryDirectory() as folder:
        top = build([settings], Path(folder)).tops[settings.name]
        return [(stack.stack_name, stack.region) for stack in (*top.dependencies, top)]


def look(clients: Mapping[str, Any], stacks: Iterable[tuple[str, str]]) -> list[Stack]:
    """Starts all detections, then waits for them together. `clients` are CloudFormation's, by region.

    A stack that is not there, may not be looked at, or is not done in time is among the answers, and says so.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    started = [(name, clients[region], _told(name, _start, clients[region], name)) for name, region in stacks]
    return [begun if isinstance(begun, Stack) else _told(name, _result, client, name, begun, deadline) for name, client, begun in started]


def _told(name: str, ask: Callable[..., T], *arguments: Any) -> T | Stack:
    """What CloudFormation answers, or the stack that it says nothing about, and why."""
    try:
        return ask(*arguments)
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        if code == NOT_THERE and "does not exist" in message:
            return Stack(name, "NOT_DEPLOYED")
        if code in UNTOLD:
            return Stack(name, "UNKNOWN", message)
        raise


def _start(client: Any, name: str) -> str:
    return str(client.detect_stack_drift(StackName=name)["StackDriftDetectionId"])


def _result(client: Any, name: str, detection: str, deadline: float) -> Stack:
    while (found := client.describe_stack_drift_detection_status(StackDriftDetectionId=detection))["DetectionStatus"] == (
        "DETECTION_IN_PROGRESS"
    ):
        if time.monotonic() > deadline:
            return Stack(name, "UNKNOWN", f"CloudFormation has compared it for {PATIENCE_SECONDS // 60} minutes, and has not ended")
        time.sleep(2)
    if found["DetectionStatus"] == "DETECTION_FAILED":  # of one resource at least; what else was found still counts
        return Stack(name, "UNKNOWN", found.get("DetectionStatusReason", ""), tuple(_differences(client, name)))
    return Stack(name, found["StackDriftStatus"], "", tuple(_differences(client, name)))


def _differences(client: Any, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Page by page: there is no paginator of botocore's for it."""
    query: dict[str, Any] = {"StackName": name, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]}
    while True:
        page = client.describe_stack_resource_drifts(**query)
        for drift in page["StackResourceDrifts"]:
            resource = f"{drift['LogicalResourceId']} ({drift['ResourceType']})"
            if drift["StackResourceDriftStatus"] == "DELETED":
                yield resource, "", "there", "deleted"
            for one in drift.get("PropertyDifferences", ()):
                yield resource, one["PropertyPath"].strip("/").replace("/", "."), one["ExpectedValue"], one["ActualValue"]
        if not page.get("NextToken"):
            return
        query["NextToken"] = page["NextToken"]


def markdown(environment: str, found: list[Stack]) -> str:
    """The report; stacks in order are one line."""
    drifted = [stack for stack in found if not stack.in_order]
    lines = [f"# Drift of {environment}", ""]
    lines.append(
        f"{len(found) - len(drifted)} of {len(found)} stacks are as their templates say." if drifted else "All is as the templates say."
    )
    for stack in drifted:
        lines += ["", f"## {stack.name}", "", stack.in_words]
        if stack.differences:
            lines += ["", "| Resource | Property | Template | Deployed |", "| --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(_cell(value) for value in difference)} |" for difference in stack.differences]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    flat = " ".join(value.split()).replace("|", "\\|")
    return flat if len(flat) <= LONGEST else f"{flat[:LONGEST]}…"


def with_the_lookup_role(session: Any, settings: Settings, region: str) -> Any:
    """CloudFormation's client with the CDK's lookup role, or with the session's own credentials where they may not take it."""
    account = settings.account or session.client("sts").get_caller_identity()["Account"]
    role = f"arn:aws:iam::{account}:role/cdk-{QUALIFIER}-lookup-role-{account}-{region}"
    try:
        taken = session.client("sts").assume_role(RoleArn=role, RoleSessionName="carmen-drift")["Credentials"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return session.client("cloudformation", region_name=region)
    keys = (taken[part] for part in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return boto3.Session(*keys).client("cloudformation", region_name=region)


def drift(deployed: Deployed) -> None:
    """Prints the report. RefusedError when a stack has drifted, is not there, or could not be looked at."""
    stacks = stacks_of(deployed.settings)
    regions = sorted({region for _, region in stacks})
    found = look({region: with_the_lookup_role(deployed.session, deployed.settings, region) for region in regions}, stacks)
    print(markdown(deployed.settings.name, found))
    if wrong := [stack.name for stack in found if not stack.in_order]:
        raise RefusedError(f"Not as the templates say: {', '.join(wrong)}")


if __name__ == "__main__":
    sys.exit(run(os.environ.get("ENV", "prod"), drift))
