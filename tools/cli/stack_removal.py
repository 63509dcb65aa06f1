"""Deletion of CloudFormation stacks with what no stack deletes: objects in buckets, log groups of services, the image parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tools.cli.terminal import step
from tools.environment import FailedError, unless
from tools.release_lock import LOCK_SUFFIX

ATTEMPTS = 3  # to empty a bucket that is written to at the same time
WAIT_SECONDS, PATIENCE_SECONDS = 2, 60 * 60  # for one stack: network interfaces of functions alone take up to forty minutes
BUCKET, PARAMETER = "AWS::S3::Bucket", "/carmen/{}/image"
# Log groups that services create, by the resource that writes to them: they have no tag, and no stack deletes them.
LOG_GROUPS = {
    "AWS::RDS::DBInstance": ["/aws/rds/instance/{}/postgresql", "/aws/rds/instance/{}/upgrade"],
    "AWS::RDS::DBProxy": ["/aws/rds/proxy/{}"],
    "AWS::ECS::Cluster": ["/aws/ecs/containerinsights/{}/performance"],
}


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    name: str
    region: str
    made: datetime
    status: str


@dataclass
class StackRemoval:
    """Deletes stacks in the account of these credentials. `poll_seconds`: how often a deletion is checked."""

    session: Any
    regions: Sequence[str]
    poll_seconds: int = WAIT_SECONDS
    say: Callable[[str], None] = step
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, init=False)

    def delete(self, stack: Stack, kept: Collection[str] = ()) -> None:
        """Delete a stack, the objects in its buckets and the log groups of its resources; not those of `kept` physical ids."""
        resources = [
            (one["ResourceType"], one["PhysicalResourceId"]) for one in self.resources(stack) if one["PhysicalResourceId"] not in kept
        ]
        cloudformation = self.client("cloudformation", stack.region)
        for attempt in range(ATTEMPTS):
            for kind, identifier in resources:
                if kind == BUCKET:
                    self._empty(identifier, stack.region)
            cloudformation.delete_stack(StackName=stack.name)
            try:
                cloudformation.get_waiter("stack_delete_complete").wait(
                    StackName=stack.name,
                    WaiterConfig={"Delay": self.poll_seconds, "MaxAttempts": PATIENCE_SECONDS // self.poll_seconds},
                )
                break
            except WaiterError as error:
                if attempt == ATTEMPTS - 1:
                    why = _reason(cloudformation, stack.name) or error
                    raise FailedError(f"{stack.name} was not deleted: {why}. Remove what blocks it, then run this again.") from error
        logs = self.client("logs", stack.region)
        for kind, identifier in resources:
            for pattern in LOG_GROUPS.get(kind, ()):
                unless("ResourceNotFoundException", logs.delete_log_group, logGroupName=pattern.format(identifier))

    def resources(self, stack: Stack) -> Iterator[dict[str, Any]]:
        """CloudFormation's summary of every resource that exists."""
        for page in self.client("cloudformation", stack.region).get_paginator("list_stack_resources").paginate(StackName=stack.name):
            for resource in page["StackResourceSummaries"]:
                if resource.get("PhysicalResourceId") and resource.get("ResourceStatus") != "DELETE_COMPLETE":
                    yield resource

    def _empty(self, bucket: str, region: str) -> None:
        """Delete every version of every object; a bucket that does not exist is empty."""
        s3 = self.client("s3", region)
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                versions = [
                    {"Key": one["Key"], "VersionId": one["VersionId"]}
                    for kind in ("Versions", "DeleteMarkers")
                    for one in page.get(kind, [])
                ]
                if versions:
                    failed = s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True}).get("Errors", [])
                    if failed:
                        raise FailedError(f"{bucket} was not emptied: {failed[0]['Key']}: {failed[0]['Message']}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise

    def delete_parameter(self, name: str) -> None:
        """The image parameter is created by a call at deployment and belongs to no stack; a killed release leaves its lock."""
        for one in (f"{name}{LOCK_SUFFIX}", name):
            unless("ParameterNotFound", self.client("ssm", self.regions[0]).delete_parameter, Name=one)

    def client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = self.session.client(service, region_name=region)
        return self._clients[service, region]


def _reason(cloudformation: Any, stack: str) -> str:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"] == "DELETE_FAILED" and one["LogicalResourceId"] != stack]
    return f"{failed[0]['LogicalResourceId']}: {failed[0].get('ResourceStatusReason', '')}" if failed else ""
