"""`./carmen preview`: small environments for some days, of dev.toml with preview.toml over it (docs/previews.md).

A preview is an environment of its own, such as `preview-pr-123`. Its stacks carry its name and its last day as tags: only stacks
with these tags are previews, and nothing else is ever removed.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import click
from botocore.exceptions import ClientError

from settings.constants import PREVIEW_ENDS_TAG, PREVIEW_PREFIX, PREVIEW_TAG
from tools.cli.cdk import OFFLINE, run_cdk
from tools.cli.commands.deployment import expect_changeable
from tools.cli.commands.release import expect_fit, release
from tools.cli.options import json_option, print_json, yes_option
from tools.cli.stack_removal import PARAMETER, Stack, StackRemoval
from tools.cli.terminal import approve, on_ctrl_c
from tools.environment import Deployed, FailedError, NotDeployedError, RefusedError, connect, describe_error
from tools.releases import inspect

PREFIX = f"Carmen{PREVIEW_PREFIX.capitalize()}"
DAYS, MOST_DAYS = 3, 14
RunCdk = Callable[..., object]


@dataclass(frozen=True)
class Preview:
    """`stacks` in order of creation; `ends` is the last day."""

    name: str
    stacks: list[Stack]
    tagged_end: str | None = None

    @property
    def made(self) -> datetime:
        return self.stacks[0].made

    @property
    def ends(self) -> date:
        """The latest possible day where no stack has the tag, as after a failed removal."""
        return date.fromisoformat(self.tagged_end) if self.tagged_end else (self.made + timedelta(days=MOST_DAYS)).date()


@dataclass
class Previews(StackRemoval):
    """All previews in the account of these credentials."""

    def all(self) -> list[Preview]:
        """Stacks with a preview's tag and its name, grouped by preview."""
        found: dict[str, list[tuple[Stack, dict[str, str]]]] = {}
        for region in self.regions:
            for page in self.client("cloudformation", region).get_paginator("describe_stacks").paginate():
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
        """Delete a preview completely, the newest stack first: a stack depends on older ones. After a failure, a second call continues.

        Raises FailedError with the stack that was not deleted.
        """
        from settings.loader import preview_environment

        environment = preview_environment(name)
        preview = next((one for one in self.all() if one.name == name), None)
        for stack in reversed(preview.stacks if preview else []):
            self.say(f"deleting {stack.name}")
            with on_ctrl_c(f"The deletion of {stack.name} continues in AWS; `./carmen preview remove {name}` deletes the rest."):
                self.delete(stack)
        self.delete_parameter(PARAMETER.format(environment))
        self.say(f"{name} is removed." if preview else f"No stack of a preview {name} exists: nothing is left of it.")


def make(deployed: Deployed, ends: date, image: str, run_cdk: RunCdk) -> str:
    """Deploy a preview, or its changes, until `ends`, and release `image` if given; returns its URL.

    The image is checked first: a deployment takes half an hour. Raises RefusedError when it is unfit.
    """
    settings = deployed.settings
    if image:
        try:
            image = expect_fit(deployed, image)
        except NotDeployedError as error:
            raise RefusedError(
                f"{error}: the image cannot be in the preview's repository yet. Run the same command without --image, push the image to "
                "the repository that it prints, then repeat it with --image."
            ) from None
    run_cdk(
        "deploy", *settings.targets, "--context", f"env={settings.name}", "--context", f"preview-ends={ends}",
        "--require-approval", "never",
    )  # fmt: skip
    deployed = replace(deployed, approve=partial(approve, settings.name, True))  # without the outputs read before
    if image and image != inspect(deployed).runs:
        release(deployed, image)
    return deployed.output("Url")


def last_day(previews: Iterable[Preview], name: str, wanted: date) -> date:
    """`wanted`, or the preview's present last day if that is later: a deployment never shortens a preview."""
    return max([wanted, *(one.ends for one in previews if one.name == name and one.tagged_end)])


def is_over(preview: Preview, today: date, is_closed: Callable[[str], bool]) -> bool:
    """Whether the last day has passed, or the pull request is closed."""
    return preview.ends < today or is_closed(preview.name)


def pull_request_is_closed(name: str) -> bool:
    """Whether `pr-123` is a closed pull request of the GitHub repository of this job; False outside GitHub."""
    repository, token = os.environ.get("GITHUB_REPOSITORY", ""), os.environ.get("GITHUB_TOKEN", "")
    number = name.removeprefix("pr-")
    if not (repository and token and name.startswith("pr-") and number.isdecimal()):
        return False
    api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    request = urllib.request.Request(f"{api}/repos/{repository}/pulls/{number}", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return bool(json.load(answer)["state"] == "closed")
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 404:
            return False  # no pull request has that number: its last day counts
        raise FailedError(f"GitHub did not answer whether pull request {number} is closed: {error}") from error


def prune(deployed: Deployed) -> None:
    """Remove every preview that is over. A failure, also of a question to GitHub, does not stop the others."""
    previews, failed, today = _previews(deployed), [], datetime.now(UTC).date()
    for one in previews.all():
        try:
            if is_over(one, today, pull_request_is_closed):
                with on_ctrl_c(f"Stopping. {one.name} may be removed in part; `./carmen preview prune` continues."):
                    previews.remove(one.name)
        except (FailedError, ClientError) as error:
            failed.append(f"{one.name}: {describe_error(error)}")
    if failed:
        raise FailedError("\n".join(failed))


def print_previews(previews: list[Preview], today: date) -> None:
    for one in previews:
        wrong = [f"{stack.name} is {stack.status}" for stack in one.stacks if not stack.status.endswith("E_COMPLETE")]
        left = (one.ends - today).days
        until = f"until {one.ends} ({left} days left)" if left >= 0 else f"over since {one.ends}: `./carmen preview prune` removes it"
        print(f"{one.name:<14} {(today - one.made.date()).days} days old, {until}{'; ' + ', '.join(wrong) if wrong else ''}")
    if not previews:
        print("There is no preview.")


def _previews(deployed: Deployed) -> Previews:
    return Previews(deployed.session, deployed.settings.regions)


def _connect(name: str) -> Deployed:
    """Raises SettingsError for a name that a preview cannot have."""
    from settings.loader import preview_environment

    return connect(preview_environment(name))


def _run_cdk(name: str, *arguments: str) -> None:
    continues = f"The deployment continues in AWS. `./carmen preview up {name}` completes it, `./carmen preview remove {name}` removes it."
    if run_cdk([*arguments, *OFFLINE], continues):
        raise FailedError(f"{name} was not deployed: see the CDK's error above. `./carmen preview remove {name}` removes what exists.")


@click.group(name="preview")
def group() -> None:
    """Create, list and remove previews: small environments for some days."""


@group.command("up")
@click.argument("name")
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=DAYS, show_default=True, help="Days from today until it is removed, at least."
)
@click.option("--image", default="", help="Release this image in it, given by digest.")
def up_command(name: str, days: int, image: str) -> None:
    """Create a preview, or deploy changes and prolong it.

    \b
    Example:
      ./carmen preview up pr-123 --days 7
    """
    deployed, today = _connect(name), datetime.now(UTC).date()
    expect_changeable(deployed, otherwise=f"Or, if its data may be lost: `./carmen preview remove {name}`, then the same command.")
    ends = last_day(_previews(deployed).all(), name, today + timedelta(days=days))
    url = make(deployed, ends, image, lambda *arguments: _run_cdk(name, *arguments))
    environment = deployed.settings.name
    print(f"{url} until {ends}. Other commands take it as `--env {environment}`.")
    print(f"Images: push to {deployed.output('ImageRepository')}, then `./carmen preview up {name} --image …@sha256:…`.")


@group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List all previews, their age and last day.

    \b
    Example:
      ./carmen preview list --json
    """
    found = _previews(_connect("any")).all()
    if as_json:
        print_json([
            {"name": one.name, "created": one.made, "ends": one.ends, "stacks": {stack.name: stack.status for stack in one.stacks}}
            for one in found
        ])  # fmt: skip
    else:
        print_previews(found, datetime.now(UTC).date())


@group.command("remove")
@click.argument("name")
@yes_option
def remove_command(name: str, yes: bool) -> None:
    """Remove a preview with all its data.

    \b
    Example:
      ./carmen preview remove pr-123
    """
    deployed = _connect(name)
    approve(name, yes, "the preview is removed with all its data", "not possible", always=True)
    _previews(deployed).remove(name)


@group.command("prune")
def prune_command() -> None:
    """Remove previews that are over.

    A preview is over when its last day has passed or its pull request is closed.

    \b
    Example:
      ./carmen preview prune
    """
    prune(_connect("any"))
