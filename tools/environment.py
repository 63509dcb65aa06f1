"""A deployed environment as people's tools see it, and one way for all of them to fail: a message, and 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError, PartialCredentialsError

from settings.loader import SettingsError, load
from settings.model import Settings

NOT_THERE = "ValidationError"  # what CloudFormation calls a stack that is not there


class NotDeployedError(Exception):
    """The stack is not there, or its deployment has not ended."""


class RefusedError(Exception):
    """What was asked for cannot be done, or must not be: the message says why, and what can."""


FAILURES = (SettingsError, RefusedError, BotoCoreError, ClientError)  # what a tool ends with


@dataclass(frozen=True)
class Deployed:
    """An environment in the account of these credentials."""

    settings: Settings
    session: Any
    _listed: dict[tuple[str, str | None], list[dict[str, Any]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Those of the top stack. NotDeployedError when there is none."""
        name = self.settings.stack_prefix
        try:
            found = self.session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        except ClientError as error:
            if error.response["Error"]["Code"] == NOT_THERE:
                raise NotDeployedError(f"{name} is not there") from None
            raise
        return {output["OutputKey"]: output["OutputValue"] for output in found}

    def output(self, key: str) -> str:
        """One of them. NotDeployedError when it is not there (yet)."""
        try:
            return self.outputs[key]
        except KeyError:
            raise NotDeployedError(f"{self.settings.stack_prefix} has no output {key} yet") from None

    def resource(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> str:
        """The physical id of the one resource of a type in the stack called so, whose logical id begins so."""
        found = self.resources(stack, kind, starts, region=region)
        if len(found) != 1:
            raise NotDeployedError(
                f"{self.settings.stack_prefix}{stack} has {len(found)} resources {kind} {starts}… where there should be one"
            )
        return found[0]

    def resources(self, stack: str, kind: str, starts: str = "", *, region: str | None = None) -> list[str]:
        """The physical ids of all of them. NotDeployedError when the stack is not there."""
        return [
            str(resource["PhysicalResourceId"])
            for resource in self._resources(self.settings.stack_prefix + stack, region)
            if resource["ResourceType"] == kind and resource["LogicalResourceId"].startswith(starts)
        ]

    def network(self, security_group: str) -> dict[str, Any]:
        """Where a task beside the service's runs: its subnets, behind the security group of the service's stack that begins so."""
        found = self.session.client("ecs").describe_services(cluster=self.output("Cluster"), services=[self.output("Service")])
        network = dict(found["services"][0]["networkConfiguration"]["awsvpcConfiguration"])
        group = self.resource("Service", "AWS::EC2::SecurityGroup", security_group)
        return {"awsvpcConfiguration": {**network, "securityGroups": [group], "assignPublicIp": "DISABLED"}}

    def _resources(self, name: str, region: str | None) -> list[dict[str, Any]]:
        """Of a stack; listed once."""
        if (name, region) not in self._listed:
            pages = self.session.client("cloudformation", region_name=region).get_paginator("list_stack_resources").paginate(StackName=name)
            try:
                self._listed[name, region] = [resource for page in pages for resource in page["StackResourceSummaries"]]
            except ClientError as error:
                if error.response["Error"]["Code"] == NOT_THERE:
                    raise NotDeployedError(f"{name} is not there") from None
                raise
        return self._listed[name, region]


def run(name: str, action: Callable[[Deployed], object]) -> int:
    """What a tool returns: 0, or 1 after a message that says what to do."""
    try:
        settings = load(name)
        try:
            action(Deployed(settings, boto3.Session(region_name=settings.region)))
        except NotDeployedError as error:
            return _failed(f"{error} in {settings.region}, in the account of these credentials: `make deploy ENV={name}` makes it.")
    except FAILURES as error:
        return _failed(in_words(error))
    return 0


def in_words(error: Exception) -> str:
    """What one of `FAILURES` tells a person."""
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return f"No AWS credentials that can be used ({error}): sign in, say with `aws sso login`, or set AWS_PROFILE."
    return f"AWS did not answer as hoped: {error}" if isinstance(error, (BotoCoreError, ClientError)) else str(error)


def _failed(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
