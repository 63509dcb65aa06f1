"""What is deployed in the account of the credentials, as a base like any other: CloudFormation's own copy of each stack's template.

It is read and nothing is written: a change set would be a write, and a template of more than 51,200 bytes would have to be put
where the CDK keeps its assets (ADR 0014). The CDK's lookup role reads, where the credentials may take it (tools/reports/drift.py).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from settings.loader import environment_names, load_all
from settings.model import Settings
from tools.environment import NOT_THERE, RefusedError
from tools.reports import drift
from tools.reports.assembly import Assembly, Body, Stack, importance

STACK = "aws:cloudformation:stack"
LOGICAL_ID = "aws:cdk:logicalId"
CLIS = ("aws:cdk:path", "aws:asset:")  # metadata that the CDK CLI's `enable-path-metadata` and `enable-asset-metadata` bring
NOTHING = ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE")  # nothing of such a stack is there


@dataclass(frozen=True)
class Live:
    """What only the account can tell."""

    environments: tuple[str, ...]  # that are compared
    tops: dict[str, str]  # of each deployed stack
    notes: tuple[str, ...]
    drift: tuple[drift.StackDrift, ...]


@dataclass(frozen=True)
class Deployed:
    """A stack in the account, in a place as manifests call it: account and region."""

    name: str
    place: str
    status: str
    protected: bool
    template: Body

    @property
    def region(self) -> str:
        return _region(self.place)


class CloudFormation:
    """What it tells of stacks in each region. `client` gives the client of one."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.client = functools.cache(client)
        self.names = functools.cache(self._names)

    def stack(self, name: str, place: str) -> Deployed | None:
        """The stack, or None where there is none, or nothing of it."""
        client = self.client(_region(place))
        try:
            (told,) = client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == NOT_THERE:
                return None
            raise
        if told["StackStatus"] in NOTHING:
            return None
        template = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
        return Deployed(name, place, told["StackStatus"], told.get("EnableTerminationProtection", False), _read(template))

    def _names(self, region: str) -> list[str] | None:
        """All stacks of the region but nested ones; None when the credentials may not list them."""
        try:
            pages = self.client(region).get_paginator("list_stacks").paginate()
            stacks = [stack for page in pages for stack in page["StackSummaries"]]
        except ClientError as error:
            if "AccessDenied" in error.response["Error"]["Code"]:
                return None
            raise
        return sorted({stack["StackName"] for stack in stacks if stack["StackStatus"] not in NOTHING and "ParentId" not in stack})


def environments(name: str) -> list[Settings]:
    """The one named; all, production first, for an empty name. SettingsError for mistakes in their files."""
    return load_all([name] if name else sorted(environment_names(), key=importance))


def account(wanted: Sequence[Settings]) -> CloudFormation:
    """That of the credentials. RefusedError when an environment belongs to another one."""
    session = boto3.Session(region_name=wanted[0].region)
    given = session.client("sts").get_caller_identity()["Account"]
    for settings in wanted:
        if settings.account not in (None, given):
            raise RefusedError(
                f"{settings.name} is in the account {settings.account} (environments/{settings.name}.toml), and these credentials are of "
                f"{given}: AWS_PROFILE chooses others, ENV=… one environment of this account."
            )
    return CloudFormation(lambda region: drift.lookup_client(session, wanted[0], region))


def read(cloudformation: CloudFormation, wanted: Sequence[Settings], head: Path, base: Path, *, named: bool) -> Live:
    """Writes what is deployed of these environments into `base`, an assembly beside `head`, and leaves in `head` what it is compared with.

    An environment of which nothing is there is told and left out, unless it is the one that was `named`: then all of it is new.
    RefusedError when nothing is there at all and none was named.
    """
    ours = Assembly(head).stacks
    notes: list[str] = []
    found: dict[str, list[Deployed]] = {}
    for settings in wanted:
        stacks = [stack for stack in ours.values() if stack.environment == settings.name]
        deployed = list(_deployed(cloudformation, settings, stacks, notes))
        if deployed or named:
            found[settings.name] = deployed
        if not deployed:
            notes.append(_nothing(settings, named))
    if not found:
        looked = ", ".join(f"{settings.name} (in {settings.region})" for settings in wanted)
        raise RefusedError(
            f"Nothing is deployed in the account of these credentials, of none of {looked}. "
            "AWS_PROFILE chooses other credentials; ENV=prod reports on what a first deployment makes."
        )
    there = {stack.name: stack for stacks in found.values() for stack in stacks}
    _keep(head, {stack.name for stack in ours.values() if stack.environment in found})
    _write(base, there.values(), head)
    notes += [f"`{one.name}` is {one.status}: what is there may differ from its template." for one in there.values() if not _settled(one)]
    clients = {region: cloudformation.client(region) for region in {stack.region for stack in there.values()}}
    drifts = drift.detect(clients, [(stack.name, stack.region) for stack in there.values()])
    tops = {stack.name: settings.stack_prefix for settings in wanted for stack in found.get(settings.name, ())}
    return Live(tuple(found), tops, tuple(notes), tuple(drifts))


def _deployed(cloudformation: CloudFormation, settings: Settings, stacks: list[Stack], notes: list[str]) -> Iterator[Deployed]:
    """The head's stacks as they are deployed, then those that are called as this environment's, and are none of the head's there."""
    known = set()
    for stack in stacks:
        if there := cloudformation.stack(stack.name, stack.place):
            known.add(stack.name)
            yield there
    ours = re.compile(rf"{settings.stack_prefix}([A-Z]\w*)?")  # no other environment's: names of those go on with a small letter or digit
    for place in sorted({stack.place for stack in stacks}):
        names = cloudformation.names(_region(place))
        if names is None:
            notes.append(
                f"**{settings.name}**: these credentials may not list stacks in {_region(place)}, so none that left the app is seen."
            )
        for name in names or ():
            if name not in known and ours.fullmatch(name) and (there := cloudformation.stack(name, place)):
                known.add(name)
                yield there


def _nothing(settings: Settings, named: bool) -> str:
    where = f"**{settings.name}** is not deployed in {settings.region}, in the account of these credentials"
    if not named:
        return f"{where}: left out."
    return (
        f"{where}: all of it is new. If it should be there, other credentials (AWS_PROFILE) or another `region` "
        f"(environments/{settings.name}.toml) are meant."
    )


def _settled(stack: Deployed) -> bool:
    return stack.status.endswith("_COMPLETE")


def _region(place: str) -> str:
    return place.rsplit("/", 1)[1]


def _read(template: Body | str) -> Body:
    """A template as boto3 gives it: read already, or the text of one in YAML, such as somebody deployed by hand."""
    if not isinstance(template, str):
        return template
    from cfnlint.decode.cfn_yaml import loads  # knows CloudFormation's tags; half a second, for what the CDK never deploys

    read: Body = json.loads(json.dumps(loads(template)))
    return read


def _keep(folder: Path, names: set[str]) -> None:
    """Leaves only these stacks in an assembly."""
    file = folder / "manifest.json"
    manifest = _json(file)
    artifacts = {name: one for name, one in manifest["artifacts"].items() if one["type"] != STACK or name in names}
    file.write_text(json.dumps({**manifest, "artifacts": artifacts}), encoding="utf-8")


def _write(folder: Path, stacks: Iterable[Deployed], head: Path) -> None:
    """An assembly of what is deployed."""
    folder.mkdir()
    artifacts: Body = {}
    for stack in stacks:
        file = f"{stack.name}.template.json"
        ours = _json(head / file)
        resources = stack.template.get("Resources", {})
        told = {**stack.template, "Resources": {name: _without_the_clis_words(one, ours, name) for name, one in resources.items()}}
        (folder / file).write_text(json.dumps(_with_its_letters(told, ours)), encoding="utf-8")
        constructs = _constructs(resources, _json(head / f"{stack.name}.metadata.json"))
        (folder / f"{stack.name}.metadata.json").write_text(json.dumps(constructs), encoding="utf-8")
        artifacts[stack.name] = {
            "type": STACK,
            "environment": f"aws://{stack.place}",
            "properties": {"templateFile": file, "terminationProtection": stack.protected},
        }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}), encoding="utf-8")


def _json(file: Path) -> Body:
    found: Body = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _constructs(resources: Body, ours: Body) -> Body:
    """Metadata of an assembly: of which construct a resource is by its own word, or by the head's for the same logical id."""
    told = {entry["data"]: path for path, entries in ours.items() for entry in entries if entry["type"] == LOGICAL_ID}
    told |= {name: f"/{path}" for name, one in resources.items() if (path := one.get("Metadata", {}).get("aws:cdk:path"))}
    found: Body = {}
    for name in resources:
        if name in told:
            found.setdefault(told[name], []).append({"type": LOGICAL_ID, "data": name})
    return found


def _without_the_clis_words(resource: Body, ours: Body, name: str) -> Body:
    """What `cdk deploy` adds to every resource, and no other synthesis does, is as the head has it."""
    here, there = (one.get("Metadata", {}) for one in (resource, ours.get("Resources", {}).get(name, {})))
    metadata = {key: value for key, value in here.items() if not key.startswith(CLIS)}
    metadata |= {key: value for key, value in there.items() if key.startswith(CLIS)}
    return {**{key: value for key, value in resource.items() if key != "Metadata"}, **({"Metadata": metadata} if metadata else {})}


def _with_its_letters(deployed: Any, ours: Body) -> Any:
    """CloudFormation gives every character beyond ASCII back as `?`: ours stand in for them, where all else is the same.

    Source: aws-cloudformation/cloudformation-coverage-roadmap#1220; the CDK's diff does likewise (`mangleLikeCloudFormation`).
    """
    originals = {_mangled(text): text for text in _texts(ours) if not text.isascii()}

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return {restored(key): restored(one) for key, one in value.items()}
        if isinstance(value, list):
            return [restored(one) for one in value]
        return originals.get(value, value) if isinstance(value, str) else value

    return restored(deployed)


def _mangled(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]", "?", text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
