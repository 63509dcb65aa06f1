"""Releases of an environment: what was released, what runs, and whether parameter, record, tasks and CloudFormation agree (ADR 0035).

The record of a release is the description of a version of the image parameter: one call of PutParameter writes value and record, so they
cannot differ. SSM keeps the newest 100 versions of a parameter (User Guide, "Working with parameter versions"); a release writes two.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from tools.environment import Deployed, NotDeployedError, RefusedError, find_stack
from tools.release_lock import Held, holder

NONE_YET = "placeholder"
CONTAINER = "carmen"  # of the web task (constructs_lib/service/web_service.py)
HEALTHY, FAILED, ROLLING_OUT = "healthy", "failed", "rolling out"
CORRECTED = "corrected"  # the parameter was changed without a release
UNKNOWN = "unknown"  # a version without a record: the first one, or one of another tool
DESCRIPTION_CHARACTERS = 1024  # PutParameter, "Description" (SSM API)


@dataclass(frozen=True)
class Release:
    """A release of `image` while `before` ran. `since` is the time of the parameter's first version with this record."""

    image: str
    before: str = ""
    outcome: str = UNKNOWN
    reason: str = ""
    phase: str = ""
    migrated: bool = False
    rollback: bool = False
    tags: tuple[str, ...] = ()
    by: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    since: datetime | None = None

    @property
    def names(self) -> str:
        """What the image parameter names in this state."""
        return self.image if self.outcome in (ROLLING_OUT, HEALTHY, UNKNOWN) else self.before

    @property
    def when(self) -> str:
        return f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if self.since else "at an unknown time"

    @property
    def title(self) -> str:
        by = f" by {self.by}" if self.by else ""
        return f"the {'rollback to' if self.rollback else 'release of'} {self.image} ({self.when}{by})"

    def to_json(self) -> str:
        """At most DESCRIPTION_CHARACTERS; a longer reason is cut."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "since" and getattr(self, one.name)}
        text = json.dumps(values)
        if len(text) > DESCRIPTION_CHARACTERS and (self.reason or self.tags):
            return replace(self, reason=self.reason[: len(self.reason) * 9 // 10], tags=self.tags[:1] if self.reason else ()).to_json()
        return text

    @classmethod
    def from_json(cls, text: str) -> Release | None:
        """None for the text of a description that is no record."""
        try:
            values = json.loads(text)
            return cls(**{**values, "tags": tuple(values.get("tags", ()))})
        except (ValueError, TypeError, AttributeError):
            return None


def releases(deployed: Deployed) -> list[Release]:
    """All recorded releases and other values of the parameter, the newest first."""
    pages = deployed.session.client("ssm").get_paginator("get_parameter_history").paginate(Name=deployed.output("ImageParameter"))
    return _fold(one for page in pages for one in page["Parameters"])


def _fold(versions: Iterator[Mapping[str, Any]]) -> list[Release]:
    found: dict[str, Release] = {}
    value = None
    for version in versions:
        user, since = version.get("LastModifiedUser", ""), version["LastModifiedDate"]
        record = Release.from_json(version.get("Description", ""))
        # A person who overwrites the value may leave the description of an earlier release.
        if record and record.names == version["Value"]:
            first = found.pop(record.id, record)  # a record that changes later is the newest
            found[record.id] = replace(record, by=record.by or first.by or user, since=first.since or since)
        elif version["Value"] != value:
            unrecorded = Release(version["Value"], by=user, since=since)
            found[unrecorded.id] = unrecorded
        value = version["Value"]
    return list(found.values())[::-1]


@dataclass(frozen=True)
class State:
    """What parameter, record, tasks and CloudFormation say, read at one time."""

    environment: str
    named: str
    runs: str  # by the service's task definition
    stack: dict[str, Any]
    records: list[Release]
    held: Held | None

    @property
    def status(self) -> str:
        return str(self.stack["StackStatus"])

    @property
    def deployed_image(self) -> str:
        """By the service's stack: its output ImageState, which a rollback restores."""
        state = next((one["OutputValue"] for one in self.stack.get("Outputs", []) if one["OutputKey"] == "ImageState"), "")
        return NONE_YET if state.startswith("awaiting first image") else str(state)

    @property
    def is_updating(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")

    @cached_property
    def unfinished(self) -> Release | None:
        """A release that ended without an outcome: its process was stopped."""
        if self.records and self.records[0].outcome == ROLLING_OUT:
            return self.records[0]
        if self.held and self.held.abandoned and (left := Release.from_json(self.held.value)):
            recorded = any(one.id == left.id for one in self.records)
            return None if recorded else replace(left, by=self.held.by, since=self.held.since)
        return None

    @property
    def lasting(self) -> Iterator[str]:
        """Images that became healthy, the newest first; what ran when a release began counts."""
        for one in self.records:
            yield from [one.image] if one.outcome == HEALTHY else []
            yield from [one.before] if one.before else []

    @property
    def earlier(self) -> str | None:
        """The last image that became healthy, other than the one that runs."""
        return next((one for one in self.lasting if one not in (self.runs, NONE_YET)), None)

    def findings(self) -> list[str]:
        """What does not agree; empty when all agree."""
        if self.held and not self.held.abandoned:
            return [self.held.description(self.environment)]
        if self.is_updating:
            cause = f" for {self.unfinished.title}" if self.unfinished else ""
            return [f"CloudFormation updates {self.stack['StackName']} ({self.status}){cause}."]
        lines = [f"{_sentence(self.unfinished.title)} has no outcome: its process was stopped."] if self.unfinished else []
        if self.named != self.runs:
            lines.append(f"The image parameter names {self.named}, but {self.runs} runs.")
        if self.deployed_image != self.runs:
            lines.append(
                f"The service runs {self.runs}, but {self.stack['StackName']} deployed {self.deployed_image}: "
                "the service was changed outside CloudFormation."
            )
        return lines

    def expect_idle(self) -> None:
        """Raise RefusedError while another release or deployment runs, or when the stack cannot be updated."""
        if self.held and not self.held.abandoned:
            raise RefusedError(f"Nothing was changed. {self.held.description(self.environment)}")
        name = self.stack["StackName"]
        if self.is_updating:
            raise RefusedError(
                f"Nothing was changed. {self.findings()[0]} Try again when it has ended: `./carmen release list --env {self.environment}`."
            )
        if self.status.endswith("_FAILED"):
            raise RefusedError(f"Nothing was changed. {name} is {self.status}: docs/runbooks/update-rollback-failed.md.")
        if self.deployed_image != self.runs:
            task = "aws ecs update-service --cluster CLUSTER --service SERVICE --task-definition TASK_DEFINITION_OF_THE_STACK"
            raise RefusedError(
                f"Nothing was changed. {self.findings()[-1]} Return it to the task definition of the stack: `{task}` "
                f"(`./carmen names --env {self.environment}` and the Resources tab of {name} have the names)."
            )


def inspect(deployed: Deployed) -> State:
    """Read the state; changes nothing. Raises NotDeployedError."""
    records = releases(deployed)
    ecs, cloudformation = deployed.session.client("ecs"), deployed.session.client("cloudformation")
    named = deployed.session.client("ssm").get_parameter(Name=deployed.output("ImageParameter"))["Parameter"]["Value"]
    name = f"{deployed.settings.stack_prefix}Service"
    if not (stack := find_stack(cloudformation, name)):
        raise NotDeployedError(f"{name} is not deployed", f". Create it with `./carmen deploy --env {deployed.settings.name}`.")
    (service,) = ecs.describe_services(cluster=deployed.output("Cluster"), services=[deployed.output("Service")])["services"]
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    runs = next(one["image"] for one in task["containerDefinitions"] if one["name"] == CONTAINER)
    if runs == deployed.settings.service.placeholder_image:
        runs = NONE_YET
    return State(deployed.settings.name, named, runs, {"StackName": name, **stack}, records, holder(deployed))


def write(deployed: Deployed, record: Release) -> None:
    """Name the record's image in the parameter, with the record."""
    deployed.session.client("ssm").put_parameter(
        Name=deployed.output("ImageParameter"), Value=record.names, Type="String", Overwrite=True, Description=record.to_json()
    )


def settle(deployed: Deployed, state: State, reason: str = "") -> Release | None:
    """Record the outcome of a release that has none, and let the parameter name what runs; returns what was written.

    Holds the lock; the stack is idle. `reason` is the caller's error, if it knows one.
    """
    if record := state.unfinished:
        if record.outcome == ROLLING_OUT and state.runs == record.image:
            found = replace(record, outcome=HEALTHY, phase="")
        else:
            why = reason or _why(deployed, state, record)
            found = replace(record, outcome=FAILED, before=state.runs, reason=why)
    elif state.named != state.runs:
        found = Release(state.named, state.runs, CORRECTED, "The parameter was changed without a release.")
    else:
        return None
    write(deployed, found)
    return found


def _why(deployed: Deployed, state: State, record: Release) -> str:
    changed = state.stack.get("LastUpdatedTime")
    if record.outcome == ROLLING_OUT and "ROLLBACK" in state.status and changed and record.since and changed >= record.since:
        return first_error(deployed.session.client("cloudformation"), state.stack["StackName"])
    return f"Its process was stopped during: {record.phase or ROLLING_OUT}."


def first_error(cloudformation: Any, stack: str) -> str:
    """CloudFormation's first error of the stack's last update."""
    failed = []
    for one in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]:  # the newest first
        if one["ResourceStatus"].endswith("_FAILED") and "cancelled" not in one.get("ResourceStatusReason", ""):
            failed.append(one)
        if one.get("ResourceType") == "AWS::CloudFormation::Stack" and one["ResourceStatus"] == "UPDATE_IN_PROGRESS":
            break
    if not failed:
        return f"`aws cloudformation describe-stack-events --stack-name {stack}` shows why."
    return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', failed[-1]['ResourceStatus'])}"


def describe(settled: Release) -> str:
    """What `settle` found and did, in one sentence."""
    if settled.outcome == HEALTHY:
        return f"Found: {settled.title} was interrupted; its image became healthy and runs."
    if settled.outcome == CORRECTED:
        return f"Found: the image parameter named {settled.image} without a release. It names {settled.before} again, which runs."
    return f"Found: {settled.title} failed or was interrupted, and {settled.before} runs. The image parameter names it. {settled.reason}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
