"""Drift: what differs between deployed stacks and their templates (`./carmen drift`). Exit code 1 when a stack differs or cannot be read.

CloudFormation compares them with the permissions of the caller: the CDK's lookup role (reads everything, changes nothing) if the
credentials may assume it (a pipeline's credentials may do nothing else), otherwise the credentials themselves.
"""

from __future__ import annotations

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
from tools.environment import NOT_THERE, Deployed, NotDeployedError, describe_error
from tools.releases import inspect

PATIENCE_SECONDS = 900
QUALIFIER = "hnb659fds"  # of the CDK's roles (DefaultStackSynthesizer.DEFAULT_QUALIFIER)
IMAGE = "Application image"
LONGEST_VALUE = 120  # of a value in the report
UNREADABLE = ("AccessDenied", "AccessDeniedException", NOT_THERE)  # the last also for a stack that is being updated
T = TypeVar("T")


@dataclass(frozen=True)
class StackDrift:
    """The drift of one stack. `state` is CloudFormation's; a difference is (resource, property, template, deployed)."""

    name: str
    state: str
    reason: str = ""
    differences: tuple[tuple[str, str, str, str], ...] = field(default=())

    @property
    def in_sync(self) -> bool:
        return self.state == "IN_SYNC"

    @property
    def description(self) -> str:
        """What the state means and what to do."""
        if self.name == IMAGE and self.state == "DRIFTED":
            return f"{self.reason} `./carmen release list` shows more, `./carmen release repair` corrects it."
        return {
            "IN_SYNC": "Matches its template.",
            "DRIFTED": "Changed outside its template: add the change to the template or undo it manually. "
            "A deployment updates only what its template changes.",
            "NOT_DEPLOYED": "Not deployed: the deployment has not ended, or the stack was deleted.",
        }.get(self.state, f"Drift unknown ({self.state}): {self.reason or 'CloudFormation gives no reason'}")


def stacks_of(settings: Settings) -> list[tuple[str, str]]:
    """(name, region) of all stacks of an environment, in deployment order."""
    from tools.reports.synthesis import build  # here: the CDK takes a second to load

    with tempfile.TemporaryDirectory() as folder:
        top = build([settings], Path(folder)).tops[settings.name]
        return [(stack.stack_name, stack.region) for stack in top.all_stacks]


def detect(clients: Mapping[str, Any], stacks: Iterable[tuple[str, str]]) -> list[StackDrift]:
    """Start all detections, then wait for all of them. `clients` are CloudFormation clients by region.

    A stack that does not exist, may not be read or takes too long is in the result with the reason.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    started = [(name, clients[region], _answer(name, _start, clients[region], name)) for name, region in stacks]
    return [
        begun if isinstance(begun, StackDrift) else _answer(name, _result, client, name, begun, deadline) for name, client, begun in started
    ]


def _answer(name: str, call: Callable[..., T], *arguments: Any) -> T | StackDrift:
    """CloudFormation's answer, or the reason why there is none."""
    try:
        return call(*arguments)
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        if code == NOT_THERE and "does not exist" in message:
            return StackDrift(name, "NOT_DEPLOYED")
        if code in UNREADABLE:
            return StackDrift(name, "UNKNOWN", message)
        raise


def _start(client: Any, name: str) -> str:
    return str(client.detect_stack_drift(StackName=name)["StackDriftDetectionId"])


def _result(client: Any, name: str, detection: str, deadline: float) -> StackDrift:
    while (found := client.describe_stack_drift_detection_status(StackDriftDetectionId=detection))["DetectionStatus"] == (
        "DETECTION_IN_PROGRESS"
    ):
        if time.monotonic() > deadline:
            return StackDrift(name, "UNKNOWN", f"drift detection did not end within {PATIENCE_SECONDS // 60} minutes")
        time.sleep(2)
    if found["DetectionStatus"] == "DETECTION_FAILED":  # for at least one resource; the other results count
        return StackDrift(name, "UNKNOWN", found.get("DetectionStatusReason", ""), tuple(_differences(client, name)))
    return StackDrift(name, found["StackDriftStatus"], "", tuple(_differences(client, name)))


def _differences(client: Any, name: str) -> Iterator[tuple[str, str, str, str]]:
    """All pages; botocore has no paginator for this call."""
    query: dict[str, Any] = {"StackName": name, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]}
    while True:
        page = client.describe_stack_resource_drifts(**query)
        for drift in page["StackResourceDrifts"]:
            resource = f"{drift['LogicalResourceId']} ({drift['ResourceType']})"
            if drift["StackResourceDriftStatus"] == "DELETED":
                yield resource, "", "exists", "deleted"
            for one in drift.get("PropertyDifferences", ()):
                yield resource, one["PropertyPath"].strip("/").replace("/", "."), one["ExpectedValue"], one["ActualValue"]
        if not page.get("NextToken"):
            return
        query["NextToken"] = page["NextToken"]


def markdown(environment: str, found: list[StackDrift]) -> str:
    """The report; stacks without drift share one line."""
    drifted = [stack for stack in found if not stack.in_sync]
    lines = [f"# Drift of {environment}", ""]
    lines.append(
        f"{len(found) - len(drifted)} of {len(found)} stacks match their templates." if drifted else "All stacks match their templates."
    )
    for stack in drifted:
        lines += ["", f"## {stack.name}", "", stack.description]
        if stack.differences:
            lines += ["", "| Resource | Property | Template | Deployed |", "| --- | --- | --- | --- |"]
            lines += [f"| {' | '.join(_cell(value) for value in difference)} |" for difference in stack.differences]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    flat = " ".join(value.split()).replace("|", "\\|")
    return flat if len(flat) <= LONGEST_VALUE else f"{flat[:LONGEST_VALUE]}…"


def lookup_session(session: Any, settings: Settings, region: str) -> Any:
    """A session with the CDK's lookup role, or the given one if its credentials may not assume it.

    STS's refusal is printed, because what fails next says less. Raises ClientError when STS refuses the pipeline's own token.
    """
    account = settings.account or session.client("sts").get_caller_identity()["Account"]
    role = f"arn:aws:iam::{account}:role/cdk-{QUALIFIER}-lookup-role-{account}-{region}"
    try:
        credentials = session.client("sts").assume_role(RoleArn=role, RoleSessionName="carmen-drift")["Credentials"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied" or error.operation_name != "AssumeRole":
            raise
        print(f"Reading with your own credentials. {describe_error(error)}", file=sys.stderr)
        return session
    keys = (credentials[part] for part in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return boto3.Session(*keys, region_name=region)


def lookup_client(session: Any, settings: Settings, region: str) -> Any:
    """A CloudFormation client of `lookup_session`."""
    return lookup_session(session, settings, region).client("cloudformation", region_name=region)


def find(deployed: Deployed) -> list[StackDrift]:
    """Compare all stacks of an environment, and the image parameter with what runs."""
    stacks = stacks_of(deployed.settings)
    regions = sorted({region for _, region in stacks})
    sessions = {region: lookup_session(deployed.session, deployed.settings, region) for region in regions}
    clients = {region: session.client("cloudformation", region_name=region) for region, session in sessions.items()}
    return [*detect(clients, stacks), image_drift(Deployed(deployed.settings, sessions.get(deployed.settings.region, deployed.session)))]


def image_drift(deployed: Deployed) -> StackDrift:
    """The difference between the image parameter and what runs, which no stack drift shows: CloudFormation reads it at updates only."""
    try:
        state = inspect(deployed)
    except NotDeployedError:
        return StackDrift(IMAGE, "NOT_DEPLOYED")
    except ClientError as error:
        return StackDrift(IMAGE, "UNKNOWN", describe_error(error))
    differences = ((IMAGE, "image", state.named, state.runs),) if state.named != state.runs else ()
    return StackDrift(IMAGE, "DRIFTED" if state.findings() else "IN_SYNC", " ".join(state.findings()), differences)
