"""A deployed environment: its stack outputs and physical ids, and the errors of everything that works on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from settings.constants import PREVIEW_PREFIX

if TYPE_CHECKING:  # loading the settings takes half a second, which `./carmen --help` does not need
    from settings.model import Settings

NOT_THERE = "ValidationError"  # CloudFormation's code for a stack that does not exist
NO_CREDENTIALS = (*(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound, SSOError, TokenRetrievalError),)
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")
SIGN_IN = (
    "Sign in with `aws sso login`, choose a profile with `export AWS_PROFILE=NAME` (`aws configure sso` creates one), "
    "or export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)


def unless(missing: str, call: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any] | None:
    """The answer of a call; None if AWS answers with the error code `missing`. Raises ClientError for other codes."""
    try:
        return call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] != missing:
            raise
        return None


def find_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """CloudFormation's description of a stack; None if it does not exist."""
    found = unless(NOT_THERE, cloudformation.describe_stacks, StackName=name)
    return dict(found["Stacks"][0]) if found else None


class NotDeployedError(Exception):
    """A stack, output or resource does not exist; `advice` says where it was looked for and which command creates it."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


class RefusedError(Exception):
    """A command refuses, for safety, to do what was asked: the message says why and what is possible."""


class FailedError(Exception):
    """An operation failed: the message says where, why and what to do."""


def describe_error(error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    if isinstance(error, NotDeployedError):
        return str(error) + error.advice
    if isinstance(error, NO_CREDENTIALS):
        return f"No usable AWS credentials ({error}). {SIGN_IN}"
    if isinstance(error, ClientError):
        details = error.response["Error"]
        message = f"AWS refused {error.operation_name}: {details.get('Message') or details.get('Code')}"
        return f"{message.rstrip('.')}. {SIGN_IN}" if details.get("Code") in EXPIRED else message
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return f"AWS cannot be reached: {error}" if isinstance(error, BotoCoreError) else str(error)


def missing_credentials() -> str | None:
    """What to do when no AWS credentials are configured; None when there are some, valid or not."""
    import boto3

    try:
        found = boto3.Session().get_credentials() is not None
    except BotoCoreError as error:
        return describe_error(error)
    return None if found else describe_error(NoCredentialsError())


def refused_credentials() -> str | None:
    """STS's own refusal of the configured credentials, such as a pipeline's token; None when it accepts them or cannot be reached.

    The CDK CLI only says "Unable to resolve AWS account to use".
    """
    import boto3
    from botocore.config import Config

    quick = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1})
    try:
        boto3.client("sts", region_name="us-east-1", config=quick).get_caller_identity()
    except ClientError as error:
        return describe_error(error)
    except BotoCoreError:
        return None
    return None


def _approved(change: str, undo: str) -> None:
    """Local deployments and tests do not ask."""


@dataclass(frozen=True)
class Deployed:
    """An environment in the account of `session`'s credentials. `approve` states a change and its undo, and may refuse it."""

    settings: Settings
    session: Any
    approve: Callable[[str, str], None] = field(default=_approved, repr=False, compare=False)
    _listed: dict[tuple[str, str | None], list[dict[str, Any]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Outputs of the top stack. Raises NotDeployedError."""
        name = self.settings.stack_prefix
        try:
            found = self.session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        except ClientError as error:
            raise self._translated(error, name) from None
        return {output["OutputKey"]: output["OutputValue"] for output in found}

    def output(self, key: str) -> str:
        """One output of the top stack. Raises NotDeployedError."""
        try:
            return self.outputs[key]
        except KeyError:
            raise self._missing(f"{self.settings.stack_prefix} has no output {key} yet") from None

    def resource(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> str:
        """Physical id of the only resource of type `kind` in a stack whose logical id starts with `starts`."""
        found = self.resources(stack, kind, starts, region=region)
        if len(found) != 1:
            raise self._missing(f"{self.settings.stack_prefix}{stack} has {len(found)} resources {kind} {starts}… instead of one")
        return found[0]

    def resources(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> list[str]:
        """Physical ids of all such resources. Raises NotDeployedError when the stack does not exist."""
        return [
            str(resource["PhysicalResourceId"])
            for resource in self._resources(self.settings.stack_prefix + stack, region)
            if resource["ResourceType"] == kind and resource["LogicalResourceId"].startswith(starts)
        ]

    def network(self, security_group: str) -> dict[str, Any]:
        """Network configuration of a one-off task: the service's subnets and the service stack's security group of that logical id."""
        found = self.session.client("ecs").describe_services(cluster=self.output("Cluster"), services=[self.output("Service")])
        network = dict(found["services"][0]["networkConfiguration"]["awsvpcConfiguration"])
        group = self.resource("Service", "AWS::EC2::SecurityGroup", security_group)
        return {"awsvpcConfiguration": {**network, "securityGroups": [group], "assignPublicIp": "DISABLED"}}

    def _resources(self, name: str, region: str | None) -> list[dict[str, Any]]:
        """All resources of a stack, listed once."""
        if (name, region) not in self._listed:
            pages = self.session.client("cloudformation", region_name=region).get_paginator("list_stack_resources").paginate(StackName=name)
            try:
                self._listed[name, region] = [resource for page in pages for resource in page["StackResourceSummaries"]]
            except ClientError as error:
                raise self._translated(error, name) from None
        return self._listed[name, region]

    def _translated(self, error: ClientError, stack: str) -> Exception:
        return self._missing(f"{stack} is not deployed") if error.response["Error"]["Code"] == NOT_THERE else error

    def _missing(self, what: str) -> NotDeployedError:
        name = self.settings.name
        preview = name.removeprefix(PREVIEW_PREFIX)
        create = f"./carmen deploy --env {name}" if preview == name else f"./carmen preview up {preview}"
        return NotDeployedError(what, f" in {self.settings.region}, in the account of these credentials. Create it with `{create}`.")


def connect(name: str, approve: Callable[[str, str], None] = _approved) -> Deployed:
    """The environment `name`, with the credentials of this shell. Raises SettingsError."""
    import boto3

    from settings.loader import load

    settings = load(name)
    return Deployed(settings, boto3.Session(region_name=settings.region), approve)
