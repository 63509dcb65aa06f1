"""The deployed stacks of the credentials' account as the base of a comparison: CloudFormation's copy of each template.

Nothing is written: a change set would be a write, and templates above 51,200 bytes would have to be uploaded to the CDK's asset
bucket (ADR 0014). The CDK's lookup role reads the stacks, if the credentials may assume it (tools/reports/drift.py).
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
from tools.environment import RefusedError, find_stack
from tools.reports import drift
from tools.reports.assembly import LOGICAL_ID, Assembly, Body, Constructs, Stack, importance, logical_ids, read_metadata

STACK = "aws:cloudformation:stack"
CLI_METADATA = ("aws:cdk:path", "aws:asset:")  # from the CDK CLI's `enable-path-metadata` and `enable-asset-metadata`
WITHOUT_RESOURCES = ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE")  # such a stack has no resources


@dataclass(frozen=True)
class Live:
    """Facts that only the account knows."""

    environments: tuple[str, ...]  # compared ones
    tops: dict[str, str]  # top stack of each deployed stack
    notes: tuple[str, ...]
    drift: tuple[drift.StackDrift, ...]


@dataclass(frozen=True)
class Deployed:
    """A deployed stack. `place` is account and region as in manifests."""

    name: str
    place: str
    status: str
    protected: bool
    template: Body

    @property
    def region(self) -> str:
        return _region(self.place)


class CloudFormation:
    """Reads stacks in each region; `client` returns the client for a region."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.client = functools.cache(client)
        self.names = functools.cache(self._names)

    def stack(self, name: str, place: str) -> Deployed | None:
        """The stack; None if it does not exist or has no resources."""
        client = self.client(_region(place))
        found = find_stack(client, name)
        if found is None or found["StackStatus"] in WITHOUT_RESOURCES:
            return None
        template = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
        return Deployed(name, place, found["StackStatus"], found.get("EnableTerminationProtection", False), _read(template))

    def _names(self, region: str) -> list[str] | None:
        """All stacks of the region except nested ones; None if the credentials may not list them."""
        try:
            pages = self.client(region).get_paginator("list_stacks").paginate()
            stacks = [stack for page in pages for stack in page["StackSummaries"]]
        except ClientError as error:
            if "AccessDenied" in error.response["Error"]["Code"]:
                return None
            raise
        return sorted({stack["StackName"] for stack in stacks if stack["StackStatus"] not in WITHOUT_RESOURCES and "ParentId" not in stack})


def environments(name: str) -> list[Settings]:
    """The named environment, or all of them, production first, if `name` is empty. SettingsError for invalid files."""
    return load_all([name] if name else sorted(environment_names(), key=importance))


def account(wanted: Sequence[Settings]) -> CloudFormation:
    """CloudFormation in the credentials' account. RefusedError if an environment belongs to another account."""
    session = boto3.Session(region_name=wanted[0].region)
    given = session.client("sts").get_caller_identity()["Account"]
    for settings in wanted:
        if settings.account not in (None, given):
            raise RefusedError(
                f"{settings.name} belongs to the account {settings.account} (environments/{settings.name}.toml), but these credentials "
                f"belong to {given}: set AWS_PROFILE to other credentials, or --env to an environment of this account."
            )
    return CloudFormation(lambda region: drift.lookup_client(session, wanted[0], region))


def read(cloudformation: CloudFormation, wanted: Sequence[Settings], head: Path, base: Path, *, named: bool) -> Live:
    """Write the deployed stacks of these environments as an assembly to `base`, and keep only their environments in `head`.

    An environment without deployed stacks is omitted with a note, unless it is `named`: then everything is new.
    RefusedError if nothing is deployed at all and no environment is named.
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
            notes.append(_not_deployed(settings, named))
    if not found:
        looked = ", ".join(f"{settings.name} (in {settings.region})" for settings in wanted)
        raise RefusedError(
            f"None of these environments is deployed in the account of these credentials: {looked}. "
            "Set AWS_PROFILE to other credentials, or --env prod to report on a first deployment."
        )
    there = {stack.name: stack for stacks in found.values() for stack in stacks}
    _keep(head, {stack.name for stack in ours.values() if stack.environment in found})
    _write(base, there.values(), head)
    notes += [f"`{one.name}` is {one.status}: its resources may differ from its template." for one in there.values() if not _settled(one)]
    clients = {region: cloudformation.client(region) for region in {stack.region for stack in there.values()}}
    drifts = drift.detect(clients, [(stack.name, stack.region) for stack in there.values()])
    tops = {stack.name: settings.stack_prefix for settings in wanted for stack in found.get(settings.name, ())}
    return Live(tuple(found), tops, tuple(notes), tuple(drifts))


def _deployed(cloudformation: CloudFormation, settings: Settings, stacks: list[Stack], notes: list[str]) -> Iterator[Deployed]:
    """The deployed stacks of the head, then other stacks whose names belong to this environment."""
    known = set()
    for stack in stacks:
        if there := cloudformation.stack(stack.name, stack.place):
            known.add(stack.name)
            yield there
    ours = re.compile(rf"{settings.stack_prefix}([A-Z]\w*)?")  # names of other environments continue with a small letter or digit
    for place in sorted({stack.place for stack in stacks}):
        names = cloudformation.names(_region(place))
        if names is None:
            notes.append(
                f"**{settings.name}**: these credentials may not list stacks in {_region(place)}: stacks that left the app are not found."
            )
        for name in names or ():
            if name not in known and ours.fullmatch(name) and (there := cloudformation.stack(name, place)):
                known.add(name)
                yield there


def _not_deployed(settings: Settings, named: bool) -> str:
    where = f"**{settings.name}** is not deployed in {settings.region}, in the account of these credentials"
    if not named:
        return f"{where}: omitted."
    return (
        f"{where}: everything is new. If this is wrong, use other credentials (AWS_PROFILE) or correct `region` "
        f"(environments/{settings.name}.toml)."
    )


def _settled(stack: Deployed) -> bool:
    return stack.status.endswith("_COMPLETE")


def _region(place: str) -> str:
    return place.rsplit("/", 1)[1]


def _read(template: Body | str) -> Body:
    """A template from boto3: parsed already, or YAML text if it was deployed manually."""
    if not isinstance(template, str):
        return template
    from cfnlint.decode.cfn_yaml import loads  # knows CloudFormation's tags; loading takes half a second, and the CDK deploys JSON

    read: Body = json.loads(json.dumps(loads(template)))
    return read


def _keep(folder: Path, names: set[str]) -> None:
    """Keep only these stacks in an assembly."""
    file = folder / "manifest.json"
    manifest = _json(file)
    artifacts = {name: one for name, one in manifest["artifacts"].items() if one["type"] != STACK or name in names}
    file.write_text(json.dumps({**manifest, "artifacts": artifacts}), encoding="utf-8")


def _write(folder: Path, stacks: Iterable[Deployed], head: Path) -> None:
    """Write an assembly of the deployed stacks."""
    folder.mkdir()
    artifacts: Body = {}
    for stack in stacks:
        file = f"{stack.name}.template.json"
        ours = _json(head / file)
        resources = stack.template.get("Resources", {})
        template = {**stack.template, "Resources": {name: _without_cli_metadata(one, ours, name) for name, one in resources.items()}}
        (folder / file).write_text(json.dumps(_with_non_ascii(template, ours)), encoding="utf-8")
        constructs = _constructs(resources, read_metadata(head, stack.name))
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


def _constructs(resources: Body, ours: Constructs) -> Constructs:
    """Metadata of an assembly: a resource's construct by its own metadata, or by the head's for the same logical id."""
    paths = {name: path for path, name in logical_ids(ours)}
    paths |= {name: path for name, one in resources.items() if (path := one.get("Metadata", {}).get("aws:cdk:path"))}
    found: Constructs = {}
    for name in filter(paths.__contains__, resources):
        found.setdefault(paths[name], []).append({"type": LOGICAL_ID, "data": name})
    return found


def _without_cli_metadata(resource: Body, ours: Body, name: str) -> Body:
    """Replace the metadata that only `cdk deploy` adds by the head's."""
    here, there = (one.get("Metadata", {}) for one in (resource, ours.get("Resources", {}).get(name, {})))
    metadata = {key: value for key, value in here.items() if not key.startswith(CLI_METADATA)}
    metadata |= {key: value for key, value in there.items() if key.startswith(CLI_METADATA)}
    return {**{key: value for key, value in resource.items() if key != "Metadata"}, **({"Metadata": metadata} if metadata else {})}


def _with_non_ascii(deployed: Any, ours: Body) -> Any:
    """Restore non-ASCII characters from the head's texts: CloudFormation returns each one as `?`.

    Source: aws-cloudformation/cloudformation-coverage-roadmap#1220; the CDK's diff does the same (`mangleLikeCloudFormation`).
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
