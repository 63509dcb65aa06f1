"""`./carmen release`: which image an environment runs.

A release writes the image parameter and has CloudFormation update the service's stack with its present template, so that it reads
the parameter again: no template changes. How it ended is decided by what AWS says afterwards (tools/releases.py), by this process or, when
it was interrupted, by the next command.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from tools import processes
from tools.cli.commands.backup import backup_now
from tools.cli.commands.database.working_hours import expect_awake
from tools.cli.options import changes_environment, json_option, print_json, reads_environment
from tools.cli.terminal import on_ctrl_c, step
from tools.environment import Deployed, FailedError, RefusedError, describe_error
from tools.release_lock import Lock, locked
from tools.releases import (
    CORRECTED,
    FAILED,
    HEALTHY,
    NONE_YET,
    ROLLING_OUT,
    UNKNOWN,
    Release,
    State,
    describe,
    first_error,
    inspect,
    settle,
    write,
)

if TYPE_CHECKING:
    from settings.model import Settings

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


def release(deployed: Deployed, image: str, *, allow_unscanned: bool = False, is_rollback: bool = False) -> None:
    """Deploy `image`, given by digest. A rollback's image was checked, and the database migrated, when it became healthy.

    The image parameter never names an index: see `expect_fit`.

    Raises RefusedError before any change, and FailedError when the image does not start: then the old image keeps running.
    """
    state = inspect(deployed)
    state.expect_idle()
    tags: tuple[str, ...] = ()
    if image != state.runs:
        fit = _find(deployed, image) if is_rollback else expect_fit(deployed, image, allow_unscanned=allow_unscanned)
        image, tags = fit, _tags(deployed, image)
    if image == state.runs:  # so a pipeline can be repeated (ADR 0029)
        _find(deployed, image)
        if state.findings():
            _correct(deployed, state)
        step(f"{deployed.settings.stack_prefix} runs {image} already: nothing to do")
        return
    expect_awake(deployed)
    undo = f"`./carmen release rollback --env {deployed.settings.name}`{' again' if is_rollback else ''} returns to {state.runs}"
    deployed.approve(f"image {state.runs} -> {image}{_left_by_rollback(state, image)}", f"{undo} (database migrations stay)")
    record = Release(image, state.runs, phase="preparation", tags=tags, rollback=is_rollback)
    with on_ctrl_c("Stopping. The old image keeps running; the same command starts again."), locked(deployed, record.to_json()) as lock:
        record = replace(record, before=_settle(deployed, lock).runs)
        if lock.taken_over:
            lock.write(record.to_json())  # the lock still had the abandoned release
        try:
            if not is_rollback:
                record = _prepare(deployed, lock, record)
            _state(deployed, lock).expect_idle()  # a migration takes half an hour: another deployment may have begun
            lock.expect_held()
        except BaseException as error:
            _record_failure(deployed, lock, record, error)
            raise
        _roll_out(deployed, lock, replace(record, outcome=ROLLING_OUT, phase=""))


def _left_by_rollback(state: State, image: str) -> str:
    """A warning when a rollback returns to the image that the last rollback left."""
    last = state.records[0]
    left = last.rollback and last.outcome == HEALTHY and last.before == image
    return f". Warning: {last.title} left this image; this returns to it" if left else ""


def _prepare(deployed: Deployed, lock: Lock, record: Release) -> Release:
    """What comes before the new image's first task; returns the record of it."""
    stopping = "Stopping. The old image keeps running. A task or backup that has started continues in AWS; the same command starts again."
    with on_ctrl_c(stopping):
        lock.write(replace(record, phase=RELEASE_FILES.what).to_json())
        _keep_files(deployed, record.image, record.before)  # first, because it leaves nothing to undo when the release stops here
        if deployed.settings.service.backup_before_release:
            lock.write(replace(record, phase="the backup").to_json())
            backup_now(deployed)
        lock.write(replace(record, phase=MIGRATION.what).to_json())
        _run_task(deployed, MIGRATION, record.image)
        return replace(record, migrated=True)


def _record_failure(deployed: Deployed, lock: Lock, record: Release, error: BaseException) -> None:
    """Record a release that ended before its image was rolled out. Without a connection, the next command does it."""
    reason = describe_error(error) if isinstance(error, Exception) else "It was interrupted."
    with contextlib.suppress(ClientError, BotoCoreError):
        if lock.is_held:
            write(deployed, replace(record, outcome=FAILED, reason=reason, phase=lock.phase))


def _roll_out(deployed: Deployed, lock: Lock, record: Release) -> None:
    """Name the image in the parameter, and have CloudFormation update the service. Raises FailedError."""
    environment, stack = deployed.settings.name, f"{deployed.settings.stack_prefix}Service"
    shows = f"`./carmen release list --env {environment}` shows its state"
    continues = f"The deployment continues in AWS; {shows}. The next release command, or `./carmen release repair`, records how it ended."
    step(f"updating {stack}")
    with on_ctrl_c(continues), processes.deferred():  # Ctrl-C ends after both calls: they belong together
        write(deployed, record)
        try:
            changed = _start_update(deployed, stack)
        except ClientError as error:
            _record_failure(deployed, lock, record, error)
            raise
    with on_ctrl_c(continues):
        if changed:
            _wait_for_update(deployed, stack)
        state = _state(deployed, lock)
        if state.is_updating:
            raise FailedError(f"{stack} is {state.status} after {WAIT['Delay'] * WAIT['MaxAttempts'] // 60} minutes. {continues}")
        if state.status.endswith("_FAILED"):
            reason = first_error(deployed.session.client("cloudformation"), stack)
            raise FailedError(f"{stack} is {state.status}: {reason} Follow docs/runbooks/update-rollback-failed.md.")
        settled = settle(deployed, state, "" if changed else "CloudFormation found nothing to update.")
    if not settled or settled.outcome != HEALTHY:
        raise FailedError(f"The new image did not start, and the old one keeps running. {settled.reason if settled else ''}")
    step(f"{deployed.settings.stack_prefix} runs {record.image}")


def _state(deployed: Deployed, lock: Lock) -> State:
    """The state while this process holds the lock."""
    return replace(inspect(deployed), held=lock.taken_over)


def _settle(deployed: Deployed, lock: Lock) -> State:
    """Record how an interrupted release ended, and say what was found; returns the state after it."""
    state = _state(deployed, lock)
    state.expect_idle()
    if settled := settle(deployed, state):
        print(describe(settled))
    return state


def _correct(deployed: Deployed, state: State) -> None:
    """Let parameter and record agree with what runs."""
    found = " ".join(state.findings())
    deployed.approve(f"the image parameter names {state.runs}, which runs. Found: {found}", "not needed: no task changes")
    record = Release(state.runs, state.runs, phase="repair")
    with on_ctrl_c("Stopping. No task changes; the same command starts again."), locked(deployed, record.to_json()) as lock:
        _settle(deployed, lock)


def repair(deployed: Deployed) -> None:
    """Let image parameter, record, tasks and CloudFormation agree again after an interrupted release."""
    state = inspect(deployed)
    state.expect_idle()
    if state.findings():
        _correct(deployed, state)
    print(f"Image parameter, record, tasks and CloudFormation agree: {state.runs} runs.")


def rollback(deployed: Deployed) -> None:
    """Deploy the last image that became healthy before the one that runs. Database migrations stay: it must work with them.

    After a release that failed, that image runs already: then only the parameter and the record are corrected, if they need it.
    """
    state = inspect(deployed)
    state.expect_idle()
    last, earlier = state.unfinished or state.records[0], state.earlier
    if last.outcome in (FAILED, ROLLING_OUT, UNKNOWN) and last.image != state.runs and state.runs != NONE_YET:
        older = f" For an older image: `./carmen release deploy {earlier} --env {state.environment}`." if earlier else ""
        if not state.findings():
            raise RefusedError(f"Nothing was changed: {state.runs} runs, the last image that became healthy. {last.title} failed.{older}")
        _correct(deployed, state)
        print(f"{state.runs} runs, the last image that became healthy.{older}")
        return
    if not earlier:
        raise RefusedError(
            f"No earlier image to roll back to: `./carmen release list --env {state.environment}` lists the images that became healthy."
        )
    release(deployed, earlier, is_rollback=True)


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


def _tags(deployed: Deployed, image: str) -> tuple[str, ...]:
    """Tags of the image as given, such as the commit: an index's own image has none."""
    name, digest = _in_ecr(image)
    (found,) = deployed.session.client("ecr").describe_images(repositoryName=name, imageIds=[{"imageDigest": digest}])["imageDetails"]
    return tuple(sorted(found.get("imageTags", ())))


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
    """Until the update or its rollback ended, or the time is over; the stack's state tells which."""
    with contextlib.suppress(WaiterError):
        deployed.session.client("cloudformation").get_waiter("stack_update_complete").wait(StackName=stack, WaiterConfig=WAIT)


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
    """Deploy the last image that became healthy.

    It is the last one before the image that runs. After a failed release that image runs already, and the command says so. Database
    migrations stay: the older image must work with them. Repeated, it returns to the image that it left, and warns.

    \b
    Example:
      ./carmen release rollback --env prod
    """
    rollback(deployed)


@group.command("repair")
@changes_environment
def repair_command(deployed: Deployed) -> None:
    """Correct image parameter and record after an interruption.

    They agree with the tasks and CloudFormation again. No task changes. `./carmen release list` shows what differs.

    \b
    Example:
      ./carmen release repair --env prod
    """
    repair(deployed)


@group.command("list")
@json_option
@reads_environment
def list_command(deployed: Deployed, as_json: bool) -> None:
    """List releases and their outcomes, the newest first.

    It also says when the image parameter differs from what runs, and who is releasing now.

    \b
    Example:
      ./carmen release list --env prod --json
    """
    state = inspect(deployed)
    if as_json:
        found = {"stack": state.stack["StackName"], "status": state.status, "runs": state.runs, "parameter": state.named}
        print_json({**found, "findings": state.findings(), "releases": [asdict(one) for one in state.records]})
        return
    current = next((one for one in state.records if one.image == state.runs and one.outcome in (HEALTHY, UNKNOWN)), None)
    for one in state.records:
        tags = f" ({', '.join(one.tags)})" if one.tags else ""
        kind = ", rollback" if one.rollback else ""
        print(f"{'runs' if one is current else '':<5}{one.when}  {one.outcome + kind:<18} {one.image}{tags}  {one.by}".rstrip())
        if one.outcome in (FAILED, CORRECTED):
            migrated = " The database was migrated." if one.migrated else ""
            print(f"{'':<5}{one.before} kept running. {one.reason}{migrated}")
    for line in state.findings():
        print(line)
    if state.findings() and not state.is_updating and not (state.held and not state.held.abandoned):
        print(f"`./carmen release repair --env {state.environment}` corrects it.")
    if state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        print(f"{state.stack['StackName']} is {state.status}.")
