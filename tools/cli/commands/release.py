"""Which image runs: `make release IMAGE=…`, `make rollback`, `make releases`.

A release writes the image parameter and has CloudFormation deploy the service's stack as it is, so that it reads the parameter
anew: no template changes. One that fails puts the parameter back, which the stack has then rolled back to already.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tools.cli.commands.buttons import backup_now
from tools.cli.commands.wake import expect_awake
from tools.environment import Deployed, RefusedError, run

NONE_YET = "placeholder"
BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
LOOK_SECONDS = 2
# What a task definition is registered with, its containers apart (ECS API, RegisterTaskDefinition).
REGISTERED = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "requiresCompatibilities", "cpu", "memory", "runtimePlatform"),
)
SIGNED_WITHIN_SECONDS = 60  # ECR signs on its own after the push, usually in seconds
WAIT = {"Delay": 10, "MaxAttempts": 180}  # a roll-out, a rolled back one included: half an hour


@dataclass(frozen=True)
class Release:
    """One value the parameter had."""

    image: str
    since: datetime
    by: str


@dataclass(frozen=True)
class OneOff:
    """A task that a release runs with an image: deployed under the output `<name>Task`, behind `<name>SecurityGroup`."""

    name: str
    container: str  # the one that gets the image
    what: str
    minutes: int
    alone: bool

    @property
    def said(self) -> str:
        return self.what[0].upper() + self.what[1:]


RELEASE_FILES = OneOff("ReleaseFiles", "copy", "keeping the static files", 10, alone=False)  # twice does no harm
MIGRATION = OneOff("Migration", "migration", "the migration", 30, alone=True)


def releases(deployed: Deployed) -> list[Release]:
    """All of them, the newest first; the same image twice in a row is one."""
    name = deployed.output("ImageParameter")
    pages = deployed.session.client("ssm").get_paginator("get_parameter_history").paginate(Name=name)
    history = [
        Release(one["Value"], one["LastModifiedDate"], one.get("LastModifiedUser", "")) for page in pages for one in page["Parameters"]
    ]
    return [one for before, one in zip([None, *history], history, strict=False) if not before or before.image != one.image][::-1]


def release(deployed: Deployed, image: str, *, allow_unscanned: bool = False, ran_before: bool = False) -> None:
    """Has the service run `image`, by digest. RefusedError when it must not, or did not come up: then the old one runs on.

    One that `ran_before` was looked at and migrated to then.
    """
    name = deployed.output("ImageParameter")
    ssm = deployed.session.client("ssm")
    before: str = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    if image == before:
        raise RefusedError(f"{image} is what runs already.")
    details = _find(deployed, image)
    if not ran_before:
        _must_be_scanned(image, details, allow_unscanned)
        _must_be_signed(deployed, image)
    expect_awake(deployed)
    if not ran_before:
        _keep_files(deployed, image, before)  # first, since it leaves no trace when a release stops here
        if deployed.settings.service.backup_before_release:
            backup_now(deployed)
        _run(deployed, MIGRATION, image)
    ssm.put_parameter(Name=name, Value=image, Type="String", Overwrite=True)
    try:
        _deploy(deployed)
    except BaseException:
        ssm.put_parameter(Name=name, Value=before, Type="String", Overwrite=True)
        raise
    print(f"{deployed.settings.stack_prefix} runs {image}")


def rollback(deployed: Deployed) -> None:
    """Has the service run what ran before. Database migrations stay: they must be ones that the older image can live with."""
    older = [one.image for one in releases(deployed)[1:] if one.image != NONE_YET]
    if not older:
        raise RefusedError("There is no earlier image to roll back to: `make releases` lists what has run.")
    release(deployed, older[0], ran_before=True)


def _find(deployed: Deployed, image: str) -> dict[str, Any]:
    """ECR's details of it; RefusedError unless it is named by digest and in the environment's own repository."""
    repository = deployed.output("ImageRepository")
    if not BY_DIGEST.fullmatch(image):
        raise RefusedError(f"IMAGE={image}: an image is named by its digest, since tags move: {repository}@sha256:…")
    if not image.startswith(f"{repository}@"):
        raise RefusedError(f"IMAGE={image}: the service may pull from {repository} only; push the image there.")
    name, digest = _in_ecr(image)
    try:
        (found,) = deployed.session.client("ecr").describe_images(repositoryName=name, imageIds=[{"imageDigest": digest}])["imageDetails"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ImageNotFoundException":
            raise RefusedError(f"IMAGE={image}: {repository} holds no such image.") from None
        raise
    return dict(found)


def _in_ecr(image: str) -> tuple[str, str]:
    """Its repository's name and its digest."""
    repository, digest = image.split("@", 1)
    return repository.split("/", 1)[1], digest


def _must_be_scanned(image: str, found: dict[str, Any], allow_unscanned: bool) -> None:
    """Without critical findings."""
    if found.get("imageScanStatus", {}).get("status") != "COMPLETE" and not allow_unscanned:
        raise RefusedError(
            f"IMAGE={image} was not scanned: wait for the scan that its push began and try again, or release it with ALLOW=unscanned."
        )
    if critical := found.get("imageScanFindingsSummary", {}).get("findingSeverityCounts", {}).get("CRITICAL"):
        raise RefusedError(
            f"IMAGE={image} has {critical} critical findings: `aws ecr describe-image-scan-findings` lists them; build it on a mended base."
        )


def _must_be_signed(deployed: Deployed, image: str) -> None:
    """By the profile of `service.signing_profile`, where one is set. Source:
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/managed-signing.html
    """
    profile = deployed.settings.service.signing_profile
    if not profile:
        return
    name, digest = _in_ecr(image)
    until = time.monotonic() + SIGNED_WITHIN_SECONDS
    while True:
        answer = deployed.session.client("ecr").describe_image_signing_status(repositoryName=name, imageId={"imageDigest": digest})
        signed = next((one for one in answer["signingStatuses"] if one["signingProfileArn"] == profile), {"status": "not begun"})
        if signed["status"] == "COMPLETE":
            return
        if signed["status"] != "IN_PROGRESS" or time.monotonic() > until:
            why = f" ({signed['failureCode']}: {signed['failureReason']})" if signed["status"] == "FAILED" else ""
            raise RefusedError(
                f"IMAGE={image} is not signed by {profile}, which service.signing_profile asks for: {signed['status']}{why}. "
                "ECR signs what is pushed once its signing configuration names the profile, as whoever pushes (docs/first-pipeline.md)."
            )
        time.sleep(LOOK_SECONDS)


def _keep_files(deployed: Deployed, image: str, before: str) -> None:
    """Static files of both, before a task serves pages of `image`. Those of `before` may have expired while it ran (ADR 0019)."""
    _run(deployed, RELEASE_FILES, image)
    if before != NONE_YET:
        try:
            _run(deployed, RELEASE_FILES, before)
        except RefusedError as refused:  # an image that cannot be pulled any more must not keep the next one out
            print(f"Pages of {before} that are open now may have to be loaded anew: {refused}")


def _run(deployed: Deployed, one_off: OneOff, image: str) -> None:
    """The deployed task with this image; RefusedError when it does not end well."""
    ecs = deployed.session.client("ecs")
    deployed_task = ecs.describe_task_definition(taskDefinition=deployed.output(f"{one_off.name}Task"))["taskDefinition"]
    running = ecs.list_tasks(cluster=deployed.output("Cluster"), family=deployed_task["family"])["taskArns"] if one_off.alone else []
    if running:
        raise RefusedError(f"{one_off.said} is under way ({running[0]}): try again when it has ended. Nothing was changed.")
    fields = {name: deployed_task[name] for name in REGISTERED if deployed_task.get(name)}
    containers = [{**one, "image": image} if one["name"] == one_off.container else one for one in deployed_task["containerDefinitions"]]
    with_image = ecs.register_task_definition(**fields, containerDefinitions=containers)["taskDefinition"]["taskDefinitionArn"]
    try:
        _run_to_the_end(deployed, one_off, with_image)
    finally:
        ecs.deregister_task_definition(taskDefinition=with_image)


def _run_to_the_end(deployed: Deployed, one_off: OneOff, definition: str) -> None:
    ecs, cluster = deployed.session.client("ecs"), deployed.output("Cluster")
    network = deployed.network(f"{one_off.name}SecurityGroup")
    started = ecs.run_task(
        cluster=cluster, taskDefinition=definition, launchType="FARGATE", startedBy="release", networkConfiguration=network
    )
    if not started["tasks"]:
        raise RefusedError(f"ECS did not start {one_off.what}: {started['failures']}. Nothing was changed.")
    task = started["tasks"][0]["taskArn"]
    try:
        ecs.get_waiter("tasks_stopped").wait(
            cluster=cluster, tasks=[task], WaiterConfig={"Delay": LOOK_SECONDS, "MaxAttempts": one_off.minutes * 60 // LOOK_SECONDS}
        )
    except WaiterError as error:
        ecs.stop_task(cluster=cluster, task=task, reason="the time limit of a release")
        raise RefusedError(
            f"{one_off.said} did not end within {one_off.minutes} minutes and was stopped; the old image runs on."
        ) from error
    (found,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
    _must_have_ended_well(ecs, one_off, found)


def _must_have_ended_well(ecs: Any, one_off: OneOff, task: dict[str, Any]) -> None:
    """A container that ECS never started, since one before it failed, has no exit code."""
    codes = {container["name"]: container.get("exitCode") for container in task["containers"]}
    if set(codes.values()) != {0}:
        ended = ", ".join(f"exit code {code} of {name}" for name, code in codes.items())
        log = f"aws logs tail {_log_group(ecs, task['taskDefinitionArn'])} --since 30m"
        raise RefusedError(
            f"{one_off.said} failed ({task.get('stoppedReason', 'no reason given')}; {ended}), and the old image runs on. Its log: {log}"
        )


def _log_group(ecs: Any, definition: str) -> str:
    container = ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]["containerDefinitions"][0]
    return str(container["logConfiguration"]["options"]["awslogs-group"])


def _deploy(deployed: Deployed) -> None:
    """The service's stack as it is; its parameters keep their names, and are read anew."""
    cloudformation, stack = deployed.session.client("cloudformation"), f"{deployed.settings.stack_prefix}Service"
    keys = [one["ParameterKey"] for one in cloudformation.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", [])]
    cloudformation.update_stack(
        StackName=stack,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": key, "UsePreviousValue": True} for key in keys],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    try:
        cloudformation.get_waiter("stack_update_complete").wait(StackName=stack, WaiterConfig=WAIT)
    except WaiterError as error:
        raise RefusedError(f"The new image did not come up, and the old one runs on. {_why(cloudformation, stack)}") from error


def _why(cloudformation: Any, stack: str) -> str:
    """CloudFormation's own first error of the update."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"].endswith("_FAILED") and "cancelled" not in one.get("ResourceStatusReason", "")]
    if not failed:
        return f"`aws cloudformation describe-stack-events --stack-name {stack}` says what happened."
    return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', failed[-1]['ResourceStatus'])}"


def _show(deployed: Deployed) -> None:
    for number, one in enumerate(releases(deployed)):
        print(f"{'runs now' if number == 0 else '':<9} {one.since:%Y-%m-%d %H:%M}  {one.image}  {one.by}".rstrip())


def main(arguments: list[str]) -> int:
    """`release`, `rollback` or `releases`, for ENV; the image is IMAGE."""
    environment = os.environ.get("ENV", "prod")
    match arguments:
        case ["release"] if image := os.environ.get("IMAGE", ""):
            return run(environment, lambda deployed: release(deployed, image, allow_unscanned=os.environ.get("ALLOW") == "unscanned"))
        case ["release"]:
            print("Which image? `make release ENV=prod IMAGE=<repository>@sha256:…`; `make releases` lists what has run.", file=sys.stderr)
            return 1
        case ["rollback"]:
            return run(environment, rollback)
    return run(environment, _show)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
