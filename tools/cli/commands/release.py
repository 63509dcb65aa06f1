"""`./carmen release`: which image an environment runs.

A release writes the image parameter and has CloudFormation update the service's stack with its present template, so that it reads
the parameter again: no template changes. A failed release restores the parameter, as the stack has rolled back by then.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import ClientError, WaiterError

from tools import processes
from tools.cli.commands.backup import backup_now
from tools.cli.commands.database.working_hours import expect_awake
from tools.cli.options import changes_environment, json_option, print_json, reads_environment
from tools.cli.terminal import on_ctrl_c, step
from tools.environment import Deployed, FailedError, RefusedError

if TYPE_CHECKING:
    from settings.model import Settings

NONE_YET = "placeholder"
BY_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
POLL_SECONDS = 2
# Fields of RegisterTaskDefinition (ECS API) that a registered copy takes over, besides its containers.
REGISTERED = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "requiresCompatibilities", "cpu", "memory", "runtimePlatform"),
)
SIGNED_WITHIN_SECONDS = 60  # ECR signs after the push, usually within seconds
SCANNED_WITHIN_SECONDS = 300  # as long as `aws ecr wait image-scan-complete` waits
# Basic scanning ends with COMPLETE, Inspector's continuous scanning stays ACTIVE (Amazon ECR API, ImageScanStatus; aws/aws-sdk#288).
SCANNED, NO_RESULT = ("COMPLETE", "ACTIVE"), ", no result yet"
SCANNING = ("IN_PROGRESS", "PENDING", "not started", *(f"{status}{NO_RESULT}" for status in SCANNED))
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
PLATFORMS = {"ARM64": "arm64", "X86_64": "amd64"}  # [service] architecture → the platform in an image index
WAIT = {"Delay": 10, "MaxAttempts": 180}  # half an hour for a deployment and its rollback


@dataclass(frozen=True)
class Release:
    """One value of the image parameter."""

    image: str
    since: datetime
    by: str


@dataclass(frozen=True)
class OneOff:
    """A task that a release runs with an image: output `<name>Task`, security group `<name>SecurityGroup`."""

    name: str
    container: str  # the one that gets the image
    what: str
    minutes: int
    alone: bool

    @property
    def title(self) -> str:
        return self.what[0].upper() + self.what[1:]


RELEASE_FILES = OneOff("ReleaseFiles", "copy", "keeping the static files", 10, alone=False)  # idempotent
MIGRATION = OneOff("Migration", "migration", "the migration", 30, alone=True)


def releases(deployed: Deployed) -> list[Release]:
    """All releases, the newest first; the same image twice in a row is one."""
    name = deployed.output("ImageParameter")
    pages = deployed.session.client("ssm").get_paginator("get_parameter_history").paginate(Name=name)
    history = [
        Release(one["Value"], one["LastModifiedDate"], one.get("LastModifiedUser", "")) for page in pages for one in page["Parameters"]
    ]
    return [one for before, one in zip([None, *history], history, strict=False) if not before or before.image != one.image][::-1]


def release(deployed: Deployed, image: str, *, allow_unscanned: bool = False, ran_before: bool = False) -> None:
    """Deploy `image`, given by digest. An image that `ran_before` was checked, and the database migrated, at that time.

    The image parameter never names an index: see `expect_fit`.

    Raises RefusedError before any change, and FailedError when the image does not start: then the old image keeps running.
    """
    name = deployed.output("ImageParameter")
    ssm = deployed.session.client("ssm")
    before: str = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    if image != before:
        image = _find(deployed, image) if ran_before else expect_fit(deployed, image, allow_unscanned=allow_unscanned)
    environment = deployed.settings.name
    undo = f"./carmen release rollback --env {environment}"
    if image == before:
        _complete(deployed, _find(deployed, image), undo)
        return
    expect_awake(deployed)
    deployed.approve(f"image {before} -> {image}", f"{undo} (database migrations stay)")
    if not ran_before:
        with on_ctrl_c(
            "Stopping. The old image keeps running. A task or backup that has started continues in AWS; the same command starts again."
        ):
            _keep_files(deployed, image, before)  # first, because it leaves nothing to undo when the release stops here
            if deployed.settings.service.backup_before_release:
                backup_now(deployed)
            _run_task(deployed, MIGRATION, image)
    stack = f"{deployed.settings.stack_prefix}Service"
    shows = f"`./carmen release list --env {environment}` shows"
    continues = f"The deployment continues in AWS; {shows} its state. If it fails and {stack} rolls back, run `{undo}`."
    unknown = f"Parameter {name} may contain {image}, although it was not deployed: {shows} both; `{undo}` corrects it."
    step(f"updating {stack}")
    with on_ctrl_c(continues, unknown), processes.deferred():  # Ctrl-C ends after both calls: they belong together
        ssm.put_parameter(Name=name, Value=image, Type="String", Overwrite=True)
        try:
            changed = _start_update(deployed, stack)
        except BaseException:
            ssm.put_parameter(Name=name, Value=before, Type="String", Overwrite=True)
            raise
    try:
        with on_ctrl_c(continues):
            if changed:
                _wait_for_update(deployed, stack)
    except Exception:  # not Ctrl-C: CloudFormation continues with this image, and the parameter must name it
        ssm.put_parameter(Name=name, Value=before, Type="String", Overwrite=True)
        raise
    step(f"{deployed.settings.stack_prefix} runs {image}")


def _complete(deployed: Deployed, image: str, undo: str) -> None:
    """Update the service if it does not run the image that the parameter names: an interrupted release. So a pipeline can be repeated."""
    expect_awake(deployed)
    stack = f"{deployed.settings.stack_prefix}Service"
    deployed.approve(f"{stack} runs {image}, which the last release named", undo)
    if _start_update(deployed, stack):
        step(f"updating {stack}, which a release before did not complete")
        _wait_for_update(deployed, stack)
        step(f"{deployed.settings.stack_prefix} runs {image}")
    else:
        step(f"{deployed.settings.stack_prefix} runs {image} already: nothing to do")


def rollback(deployed: Deployed) -> None:
    """Deploy the image that ran before. Database migrations stay: the older image must work with them."""
    older = [one.image for one in releases(deployed)[1:] if one.image != NONE_YET]
    if not older:
        raise RefusedError(
            f"No earlier image to roll back to: `./carmen release list --env {deployed.settings.name}` lists the images that ran."
        )
    release(deployed, older[0], ran_before=True)


def expect_fit(deployed: Deployed, image: str, *, allow_unscanned: bool = False) -> str:
    """The image that a release of `image` deploys, by digest: of an index, its image for the service's architecture.

    Raises RefusedError when it does not exist, was not scanned, has critical findings, or lacks the required signature.
    """
    image = _find(deployed, image)
    _require_scan(deployed, image, allow_unscanned)
    _require_signature(deployed, image)
    return image


def _find(deployed: Deployed, image: str) -> str:
    """The image itself, or an index's image. Raises RefusedError unless it is given by digest and in the environment's repository."""
    repository = deployed.output("ImageRepository")
    if not BY_DIGEST.fullmatch(image):
        raise RefusedError(f"{image}: give the image by digest, because tags move: {repository}@sha256:…")
    if not image.startswith(f"{repository}@"):
        raise RefusedError(f"{image}: the service may pull from {repository} only. Push the image there.")
    name, digest = _in_ecr(image)
    ecr = deployed.session.client("ecr")
    try:
        (found,) = ecr.describe_images(repositoryName=name, imageIds=[{"imageDigest": digest}])["imageDetails"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ImageNotFoundException":
            raise RefusedError(f"{image} does not exist in {repository}.") from None
        raise
    if found.get("imageManifestMediaType") not in INDEXES:
        return image
    (index,) = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])["images"]
    return f"{repository}@{_child(image, index['imageManifest'], deployed.settings.service.architecture)}"


def _child(image: str, index: str, architecture: str) -> str:
    """Digest of the index's image for this architecture: ECR does not scan an index (alexjurkiewicz/ecr-scan-image#43).

    Attestations have the platform unknown/unknown (docker/buildx#1509).
    """
    platforms = {one["digest"]: one.get("platform", {}) for one in json.loads(index)["manifests"]}
    for digest, platform in platforms.items():
        if (platform.get("os"), platform.get("architecture")) == ("linux", PLATFORMS[architecture]):
            return str(digest)
    built = ", ".join(sorted({str(one.get("architecture")) for one in platforms.values()} - {"unknown"})) or "none"
    raise RefusedError(
        f"{image} is an index without an image for linux/{PLATFORMS[architecture]}, which [service] architecture = {architecture!r} needs. "
        f"Its architectures: {built}. Build the image for linux/{PLATFORMS[architecture]}."
    )


def _in_ecr(image: str) -> tuple[str, str]:
    """Repository name and digest."""
    repository, digest = image.split("@", 1)
    return repository.split("/", 1)[1], digest


def _require_scan(deployed: Deployed, image: str, allow_unscanned: bool) -> None:
    """Wait for the scan that the push started. Refuse an image that was not scanned or has critical findings.

    DescribeImages does not have the result of the present basic scanning (Amazon ECR API, DescribeImages: "Use the
    DescribeImageScanFindings API instead").
    """
    until = time.monotonic() + SCANNED_WITHIN_SECONDS
    status, critical = _scan(deployed, image, allow_unscanned)
    if status in SCANNING and not allow_unscanned:
        step(f"waiting for ECR's scan of {image}")
        while status in SCANNING and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            status, critical = _scan(deployed, image, allow_unscanned)
    if status not in SCANNED and not allow_unscanned:
        raise RefusedError(
            f"{image} was not scanned ({status}). Try again, or start a scan with `aws ecr start-image-scan`, or release it with "
            "`--allow unscanned`."
        )
    if critical:
        raise RefusedError(
            f"{image} has {critical} critical findings: `aws ecr describe-image-scan-findings` lists them. Build it on a fixed base image."
        )


def _scan(deployed: Deployed, image: str, allow_unscanned: bool) -> tuple[str, int]:
    """Status of the image's scan, and the number of critical findings.

    Enhanced scanning can be ACTIVE or COMPLETE before its first findings exist (aws/aws-cli#6759, aws/aws-sdk#289): the scan counts when
    ECR says when it ended (Amazon ECR API, ImageScanFindings: imageScanCompletedAt).
    """
    name, digest = _in_ecr(image)
    try:
        found = deployed.session.client("ecr").describe_image_scan_findings(repositoryName=name, imageId={"imageDigest": digest})
    except ClientError as error:
        if error.response["Error"]["Code"] == "ScanNotFoundException" or allow_unscanned:
            return "not started", 0
        raise
    scan, findings = found.get("imageScanStatus", {}), found.get("imageScanFindings", {})
    status = scan.get("status", "not started")
    if status in SCANNED and "imageScanCompletedAt" not in findings:
        status += NO_RESULT
    reason = f": {scan['description']}" if status not in (*SCANNED, *SCANNING) and scan.get("description") else ""
    return f"{status}{reason}", findings.get("findingSeverityCounts", {}).get("CRITICAL", 0)


def _require_signature(deployed: Deployed, image: str) -> None:
    """Refuse an image that `service.signing_profile`, where set, has not signed. Source:
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/managed-signing.html
    """
    profile = deployed.settings.service.signing_profile
    if not profile:
        return
    name, digest = _in_ecr(image)
    until = time.monotonic() + SIGNED_WITHIN_SECONDS
    while True:
        answer = deployed.session.client("ecr").describe_image_signing_status(repositoryName=name, imageId={"imageDigest": digest})
        signed = next((one for one in answer["signingStatuses"] if one["signingProfileArn"] == profile), {"status": "not started"})
        if signed["status"] == "COMPLETE":
            return
        if signed["status"] != "IN_PROGRESS" or time.monotonic() > until:
            why = f" ({signed['failureCode']}: {signed['failureReason']})" if signed["status"] == "FAILED" else ""
            raise RefusedError(
                f"{image} is not signed by {profile}, which service.signing_profile requires: {signed['status']}{why}. ECR signs an image "
                "after the push when its signing configuration names the profile and the pushing role may use it (docs/first-pipeline.md)."
            )
        time.sleep(POLL_SECONDS)


def _keep_files(deployed: Deployed, image: str, before: str) -> None:
    """Keep the static files of both images before a task serves pages of `image`; those of `before` may have expired (ADR 0019)."""
    _run_task(deployed, RELEASE_FILES, image)
    if before != NONE_YET:
        try:
            _run_task(deployed, RELEASE_FILES, before)
        except (RefusedError, FailedError) as error:  # an old image that cannot be pulled any more must not block the next release
            print(f"Open pages of {before} may have to be reloaded: {error}")


def _run_task(deployed: Deployed, one_off: OneOff, image: str) -> None:
    """Run the deployed task with this image. Raises RefusedError when it runs already, FailedError when it fails."""
    ecs = deployed.session.client("ecs")
    deployed_task = ecs.describe_task_definition(taskDefinition=deployed.output(f"{one_off.name}Task"))["taskDefinition"]
    running = ecs.list_tasks(cluster=deployed.output("Cluster"), family=deployed_task["family"])["taskArns"] if one_off.alone else []
    if running:
        raise RefusedError(f"{one_off.title} is already running ({running[0]}): try again when it has ended. Nothing was changed.")
    fields = {name: deployed_task[name] for name in REGISTERED if deployed_task.get(name)}
    containers = [{**one, "image": image} if one["name"] == one_off.container else one for one in deployed_task["containerDefinitions"]]
    step(f"{one_off.what} of {image}")
    with_image = ecs.register_task_definition(**fields, containerDefinitions=containers)["taskDefinition"]["taskDefinitionArn"]
    try:
        _wait_for_task(deployed, one_off, with_image)
    finally:
        ecs.deregister_task_definition(taskDefinition=with_image)


def _wait_for_task(deployed: Deployed, one_off: OneOff, definition: str) -> None:
    ecs, cluster = deployed.session.client("ecs"), deployed.output("Cluster")
    network = deployed.network(f"{one_off.name}SecurityGroup")
    started = ecs.run_task(
        cluster=cluster, taskDefinition=definition, launchType="FARGATE", startedBy="release", networkConfiguration=network
    )
    if not started["tasks"]:
        raise FailedError(f"ECS did not start {one_off.what}: {started['failures']}. Nothing was changed.")
    task = started["tasks"][0]["taskArn"]
    continues = f"{one_off.title} continues in AWS as task {task}. The old image keeps running; the release stops here."
    try:
        with on_ctrl_c(continues):
            ecs.get_waiter("tasks_stopped").wait(
                cluster=cluster, tasks=[task], WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": one_off.minutes * 60 // POLL_SECONDS}
            )
    except WaiterError as error:
        ecs.stop_task(cluster=cluster, task=task, reason="the time limit of a release")
        raise FailedError(
            f"{one_off.title} did not end within {one_off.minutes} minutes and was stopped; the old image keeps running."
        ) from error
    (found,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
    _require_success(ecs, one_off, found)


def _require_success(ecs: Any, one_off: OneOff, task: dict[str, Any]) -> None:
    """A container that ECS never started, because one before it failed, has no exit code."""
    codes = {container["name"]: container.get("exitCode") for container in task["containers"]}
    if set(codes.values()) != {0}:
        ended = ", ".join(f"exit code {code} of {name}" for name, code in codes.items())
        log = f"aws logs tail {_log_group(ecs, task['taskDefinitionArn'])} --since 30m"
        raise FailedError(
            f"{one_off.title} failed ({task.get('stoppedReason', 'no reason given')}; {ended}), and the old image keeps running. Log: {log}"
        )


def _log_group(ecs: Any, definition: str) -> str:
    container = ecs.describe_task_definition(taskDefinition=definition)["taskDefinition"]["containerDefinitions"][0]
    return str(container["logConfiguration"]["options"]["awslogs-group"])


def _start_update(deployed: Deployed, stack: str) -> bool:
    """Update the stack with its present template and parameters. False when it runs this image already."""
    cloudformation = deployed.session.client("cloudformation")
    (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    try:
        cloudformation.update_stack(
            StackName=stack,
            UsePreviousTemplate=True,
            Parameters=[{"ParameterKey": one["ParameterKey"], "UsePreviousValue": True} for one in found.get("Parameters", [])],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            **_role(deployed.settings, found),
        )
    except ClientError as error:
        if "No updates are to be performed" in error.response["Error"].get("Message", ""):
            return False
        raise
    return True


def _role(settings: Settings, stack: dict[str, Any]) -> dict[str, str]:
    """CloudFormation's role, which may only update the service. The pipeline may update the stack only with it (ADR 0016).

    It becomes the stack's role. The next `cdk deploy` names the CDK's execution role again (DefaultStackSynthesizer).
    """
    if settings.release_role is None:
        return {}
    _, partition, _, _, account, _ = stack["StackId"].split(":", 5)
    return {"RoleARN": f"arn:{partition}:iam::{account}:role/{settings.release_role}"}


def _wait_for_update(deployed: Deployed, stack: str) -> None:
    cloudformation = deployed.session.client("cloudformation")
    try:
        cloudformation.get_waiter("stack_update_complete").wait(StackName=stack, WaiterConfig=WAIT)
    except WaiterError as error:
        raise FailedError(f"The new image did not start, and the old one keeps running. {_reason(cloudformation, stack)}") from error


def _reason(cloudformation: Any, stack: str) -> str:
    """CloudFormation's first error of the update."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"].endswith("_FAILED") and "cancelled" not in one.get("ResourceStatusReason", "")]
    if not failed:
        return f"`aws cloudformation describe-stack-events --stack-name {stack}` shows why."
    return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', failed[-1]['ResourceStatus'])}"


@click.group(name="release")
def group() -> None:
    """Deploy, roll back and list images of the application."""


@group.command("deploy")
@click.argument("image")
@click.option("--allow", type=click.Choice(["unscanned"]), help="Release an image that ECR has not scanned.")
@changes_environment
def deploy_command(deployed: Deployed, image: str, allow: str | None) -> None:
    """Deploy an image, given by digest.

    The release keeps the static files of the old and the new image, makes a backup where the settings say so, runs the migrations
    and replaces the tasks. When one of these fails, the old image keeps running.

    \b
    Example:
      ./carmen release deploy 123456789012.dkr.ecr.us-east-1.amazonaws.com/carmen@sha256:… --env staging
    """
    release(deployed, image, allow_unscanned=allow is not None)


@group.command("rollback")
@changes_environment
def rollback_command(deployed: Deployed) -> None:
    """Deploy the image that ran before.

    Database migrations stay: the older image must work with them.

    \b
    Example:
      ./carmen release rollback --env prod
    """
    rollback(deployed)


@group.command("list")
@json_option
@reads_environment
def list_command(deployed: Deployed, as_json: bool) -> None:
    """List the images that ran, the newest first.

    \b
    Example:
      ./carmen release list --env prod --json
    """
    stack = f"{deployed.settings.stack_prefix}Service"
    found = releases(deployed)
    status = deployed.session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    if as_json:
        print_json({"stack": stack, "status": status, "releases": [asdict(one) for one in found]})
        return
    for number, one in enumerate(found):
        print(f"{'current' if number == 0 else '':<9} {one.since:%Y-%m-%d %H:%M}  {one.image}  {one.by}".rstrip())
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        print(f"{stack} is {status}.")
