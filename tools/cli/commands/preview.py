"""Previews: `make preview NAME=pr-123`, `make previews`, `make remove-preview NAME=…`, `make remove-old-previews`.

A preview is an environment of its own, `preview-pr-123`, of dev.toml with preview.toml over it. Its stacks carry its name as a
tag, and the last day that it is there: what is found by these is a preview, and nothing else is ever removed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from settings.constants import PREVIEW_ENDS_TAG, PREVIEW_PREFIX, PREVIEW_TAG
from settings.loader import SettingsError, load, preview_environment
from tools.cli.commands.release import release, releases
from tools.environment import Deployed, RefusedError, run

ROOT = Path(__file__).parents[3]
CDK = ROOT / "node_modules" / ".bin" / "cdk"
PREFIX = f"Carmen{PREVIEW_PREFIX.capitalize()}"
DAYS, MOST_DAYS = 3, 14
ATTEMPTS = 3  # at emptying a bucket that is written to while it is emptied
WAIT_SECONDS, PATIENCE_SECONDS = 10, 60 * 60  # of one stack: network interfaces of functions alone take up to forty minutes
BUCKET, PARAMETER = "AWS::S3::Bucket", "/carmen/{}/image"
# Log groups that services make for themselves, by the resource that they are of: they carry no tag, and no stack deletes them.
LOG_GROUPS = {
    "AWS::RDS::DBInstance": ["/aws/rds/instance/{}/postgresql", "/aws/rds/instance/{}/upgrade"],
    "AWS::RDS::DBProxy": ["/aws/rds/proxy/{}"],
    "AWS::ECS::Cluster": ["/aws/ecs/containerinsights/{}/performance"],
}
RunCdk = Callable[..., object]


@dataclass(frozen=True)
class Stack:
    """One of a preview's, as CloudFormation tells it."""

    name: str
    region: str
    made: datetime
    status: str


@dataclass(frozen=True)
class Preview:
    """`stacks` in the order in which they were made; `ends` is the last day that it is there."""

    name: str
    stacks: list[Stack]
    told_end: str | None = None

    @property
    def made(self) -> datetime:
        return self.stacks[0].made

    @property
    def ends(self) -> date:
        """Where no stack tells it, as after a removal that failed: as late as it can be."""
        return date.fromisoformat(self.told_end) if self.told_end else (self.made + timedelta(days=MOST_DAYS)).date()


@dataclass
class Previews:
    """Those of the account of these credentials. `poll_seconds`: how often a deletion is looked at."""

    session: Any
    regions: Sequence[str]
    poll_seconds: int = WAIT_SECONDS
    say: Callable[[str], None] = print
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, init=False)

    def all(self) -> list[Preview]:
        """Whatever carries a preview's tag and is called so."""
        found: dict[str, list[tuple[Stack, dict[str, str]]]] = {}
        for region in self.regions:
            for page in self._client("cloudformation", region).get_paginator("describe_stacks").paginate():
                for stack in page["Stacks"]:
                    tags = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])}
                    name = tags.get(PREVIEW_TAG)
                    if name and re.fullmatch(rf"{PREFIX}{re.escape(name)}[A-Za-z]*", stack["StackName"]):
                        one = Stack(stack["StackName"], region, stack["CreationTime"], stack["StackStatus"])
                        found.setdefault(name, []).append((one, tags))
        previews = []
        for name, stacks in sorted(found.items()):
            ends = max((tags[PREVIEW_ENDS_TAG] for _, tags in stacks if PREVIEW_ENDS_TAG in tags), default=None)
            previews.append(Preview(name, sorted((stack for stack, _ in stacks), key=lambda stack: stack.made), ends))
        return previews

    def remove(self, name: str) -> None:
        """Deletes all of it and nothing else; again after a failure, it goes on. Raises RefusedError with what did not go.

        The last made goes first: a stack is made after those that it depends on.
        """
        environment = preview_environment(name)
        preview = next((one for one in self.all() if one.name == name), None)
        for stack in reversed(preview.stacks if preview else []):
            self.say(f"deleting {stack.name}")
            self._delete(stack)
        self._delete_parameter(PARAMETER.format(environment))
        self.say(f"{name} is removed." if preview else f"No stack of a preview {name} is there: nothing is left of it.")

    def _delete(self, stack: Stack) -> None:
        resources = list(self._resources(stack))
        cloudformation = self._client("cloudformation", stack.region)
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
                    why = _why(cloudformation, stack.name) or error
                    raise RefusedError(f"{stack.name} was not deleted: {why}. Remove what holds it, and run this again.") from error
        for kind, identifier in resources:
            for pattern in LOG_GROUPS.get(kind, ()):
                self._ignoring(
                    "ResourceNotFoundException",
                    self._client("logs", stack.region).delete_log_group,
                    logGroupName=pattern.format(identifier),
                )

    def _resources(self, stack: Stack) -> Iterator[tuple[str, str]]:
        """(type, physical id) of what is there."""
        for page in self._client("cloudformation", stack.region).get_paginator("list_stack_resources").paginate(StackName=stack.name):
            for resource in page["StackResourceSummaries"]:
                if resource.get("PhysicalResourceId") and resource["ResourceStatus"] != "DELETE_COMPLETE":
                    yield resource["ResourceType"], resource["PhysicalResourceId"]

    def _empty(self, bucket: str, region: str) -> None:
        """Every version of every object; a bucket that has gone is empty."""
        s3 = self._client("s3", region)
        try:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                doomed = [
                    {"Key": one["Key"], "VersionId": one["VersionId"]}
                    for kind in ("Versions", "DeleteMarkers")
                    for one in page.get(kind, [])
                ]
                if doomed:
                    failed = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True}).get("Errors", [])
                    if failed:
                        raise RefusedError(f"{bucket} was not emptied: {failed[0]['Key']}: {failed[0]['Message']}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise

    def _delete_parameter(self, name: str) -> None:
        """Made by a call at deployment, so no stack's."""
        self._ignoring("ParameterNotFound", self._client("ssm", self.regions[0]).delete_parameter, Name=name)

    def _ignoring(self, code: str, call: Callable[..., Any], **arguments: Any) -> None:
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != code:
                raise

    def _client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = self.session.client(service, region_name=region)
        return self._clients[service, region]


def _why(cloudformation: Any, stack: str) -> str:
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"] == "DELETE_FAILED" and one["LogicalResourceId"] != stack]
    return f"{failed[0]['LogicalResourceId']}: {failed[0].get('ResourceStatusReason', '')}" if failed else ""


def make(deployed: Deployed, days: int, image: str, run_cdk: RunCdk, today: date) -> str:
    """Deploys it, or once more with what has changed, and until `days` from today; returns its URL. With `image`, releases that."""
    settings = deployed.settings
    ends = today + timedelta(days=days)
    run_cdk(
        "deploy", settings.stack_prefix, "--context", f"env={settings.name}", "--context", f"preview-ends={ends}",
        "--require-approval", "never",
    )  # fmt: skip
    deployed = Deployed(settings, deployed.session)  # nothing of what was read before
    if image and image != releases(deployed)[0].image:
        release(deployed, image)
    return deployed.output("Url")


def over(previews: Iterable[Preview], today: date, is_closed: Callable[[str], bool]) -> list[Preview]:
    """Those whose last day is past, or whose pull request is closed."""
    return [one for one in previews if one.ends < today or is_closed(one.name)]


def pull_request_is_closed(name: str) -> bool:
    """On GitHub, whether `pr-123` is a closed pull request of the repository whose job this is; elsewhere nobody knows: no."""
    repository, token = os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_TOKEN", "")
    number = name.removeprefix("pr-")
    if not (repository and token and name.startswith("pr-") and number.isdecimal()):
        return False
    api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    asked = urllib.request.Request(f"{api}/repos/{repository}/pulls/{number}", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            return bool(json.load(answer)["state"] == "closed")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False  # no pull request of that number: its days decide
        raise RefusedError(f"GitHub does not say whether pull request {number} is closed: {error}") from error


def days_asked(given: str) -> int:
    """Raises RefusedError for what is no number of days."""
    if not given:
        return DAYS
    if not (given.isdecimal() and 1 <= int(given) <= MOST_DAYS):
        raise RefusedError(f"DAYS={given}: a preview lasts 1 to {MOST_DAYS} days, {DAYS} unless said; `make preview` again prolongs it.")
    return int(given)


def _cdk(*arguments: str) -> None:
    done = subprocess.run(
        [CDK, *arguments, "--no-notices", "--no-validation"], cwd=ROOT, env={**os.environ, "CDK_VALIDATION": "false"}, check=False
    )
    if done.returncode:
        raise RefusedError("It was not deployed: the CDK says why, above. What is there goes with `make remove-preview`.")


def _make(deployed: Deployed) -> None:
    days, today = days_asked(os.environ.get("DAYS", "")), datetime.now(UTC).date()
    url = make(deployed, days, os.environ.get("IMAGE", ""), _cdk, today)
    environment = deployed.settings.name
    print(f"{url} until {today + timedelta(days=days)}. Every target takes it as ENV={environment}, `make release` among them.")


def _previews(deployed: Deployed) -> Previews:
    return Previews(deployed.session, deployed.settings.regions)


def _list(deployed: Deployed) -> None:
    today, previews = datetime.now(UTC).date(), _previews(deployed).all()
    for one in previews:
        wrong = [f"{stack.name} is {stack.status}" for stack in one.stacks if not stack.status.endswith("E_COMPLETE")]
        left = (one.ends - today).days
        until = f"until {one.ends} ({left} days left)" if left >= 0 else f"over since {one.ends}: make remove-old-previews"
        print(f"{one.name:<14} {(today - one.made.date()).days} days old, {until}{'; ' + ', '.join(wrong) if wrong else ''}")
    if not previews:
        print("There is no preview.")


def _remove_old(deployed: Deployed) -> None:
    """One that fails does not keep the others."""
    previews, failed = _previews(deployed), []
    for one in over(previews.all(), datetime.now(UTC).date(), pull_request_is_closed):
        try:
            previews.remove(one.name)
        except RefusedError as error:
            failed.append(str(error))
    if failed:
        raise RefusedError("\n".join(failed))


def main(arguments: list[str]) -> int:
    """`preview`, `previews`, `remove-preview` or `remove-old-previews`; which one is NAME."""
    name = os.environ.get("NAME", "")
    try:
        environment = preview_environment(name if arguments[0] in ("preview", "remove-preview") else "any")
        load(environment)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    actions: dict[str, Callable[[Deployed], None]] = {
        "preview": _make,
        "previews": _list,
        "remove-preview": lambda deployed: _previews(deployed).remove(name),
        "remove-old-previews": _remove_old,
    }
    return run(environment, actions[arguments[0]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
