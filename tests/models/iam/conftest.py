"""All environments in one account, with readable names for their resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pytest

from tests.conftest import Built
from tools.reports.security.policies import ARNS, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account, Context

# The context of requests unless a test sets another: TLS 1.3, writes only of new objects, sent by the principal itself, and for a
# function's role by Lambda itself, which may do more than the function's code.
DEFAULT_CONTEXT: Context = {
    "s3:TlsVersion": "1.3",
    "s3:if-none-match": "*",
    "s3:ObjectCreationOperation": "true",
    "kms:ViaService": None,
    "kms:EncryptionContext:aws:s3:arn": None,
    "kms:EncryptionContext:purpose": None,
    "kms:GrantIsForAWSResource": None,
    "lambda:SourceFunctionArn": None,
}
HASH = re.compile(r"[0-9A-F]{8}([0-9a-f]{32})?$")


@dataclass(frozen=True)
class Environment:
    """One environment of the account. Its resources are named `Stack/LogicalId`, without the CDK's hash."""

    name: str
    assembly: ResolvedAssembly

    @cached_property
    def by_kind(self) -> dict[str, dict[str, str]]:
        """Type → readable name → ARN."""
        prefix = f"Carmen{self.name.capitalize()}"
        found: dict[str, dict[str, str]] = {kind: {} for kind in ARNS}
        for stack, template in self.assembly.templates.items():
            for logical_id, resource in template["Resources"].items():
                if re.match(rf"{prefix}([A-Z]|$)", stack) and resource["Type"] in ARNS:
                    name = f"{stack.removeprefix(prefix)}/{HASH.sub('', logical_id).removeprefix(stack)}"
                    found[resource["Type"]][name] = self.assembly.arn(stack, logical_id)
        return found

    @cached_property
    def by_name(self) -> dict[str, str]:
        """Readable name → ARN."""
        return {name: arn for named in self.by_kind.values() for name, arn in named.items()}

    @cached_property
    def _code(self) -> dict[str, str]:
        """`code of <function, layer or task>` → its key in the CDK's bucket."""
        prefix = f"Carmen{self.name.capitalize()}"
        tasks = {
            f"code of {stack.removeprefix(prefix)}/{HASH.sub('', logical_id)}": variable["Value"].partition("/")[2]
            for stack, logical_id, resource in self.assembly.resources("AWS::ECS::TaskDefinition")
            for container in resource["Properties"]["ContainerDefinitions"]
            for variable in container.get("Environment", [])
            if stack.startswith(prefix) and variable["Name"] == "TASK_CODE"
        }
        return tasks | {
            f"code of {stack.removeprefix(prefix)}/{HASH.sub('', logical_id)}": resource["Properties"][where]["S3Key"]
            for kind, where in (("AWS::Lambda::Function", "Code"), ("AWS::Lambda::LayerVersion", "Content"))
            for stack, logical_id, resource in self.assembly.resources(kind)
            if stack.startswith(prefix) and "S3Key" in resource["Properties"][where]
        }

    @property
    def roles(self) -> dict[str, str]:
        """Readable name → ARN of each role."""
        return self.by_kind["AWS::IAM::Role"]

    def names(self, kind: str) -> list[str]:
        """The physical names of its resources of a type."""
        return [physical_name(arn) for arn in self.by_kind[kind].values()]

    def has(self, reference: str) -> bool:
        """Return whether the environment has this resource."""
        return reference.startswith(("arn:", "*")) or reference.partition(" ")[0] in self.by_name

    def pattern(self, reference: str) -> str:
        """Return the Resource of a policy for `Stack/Name`, `Stack/Name /path`, `arn:…{Stack/Name}…{environment}…`, or `*`."""
        if reference.startswith(("arn:", "*")):
            names = {name: physical_name(arn) for name, arn in self.by_name.items()} | {"environment": self.name} | self._code
            return re.sub(r"\{([^}]+)\}", lambda match: names[match[1]], reference)
        name, _, rest = reference.partition(" ")
        return self.by_name[name] + rest

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Deployed:
    """All environments, deployed to one account."""

    account: Account
    assembly: ResolvedAssembly
    environments: dict[str, Environment]

    def arns(self, reference: str) -> list[str]:
        """Return the ARNs of all resources of a type, or of a name, in all environments."""
        kind, _, rest = reference.partition(" ")
        found = [
            example_of(pattern) + (rest if kind in ARNS else "")
            for environment in self.environments.values()
            for pattern in (environment.by_kind[kind].values() if kind in ARNS else [environment.pattern(reference)])
        ]
        return list(dict.fromkeys(found))

    def granted(self, role: str) -> set[tuple[str, str]]:
        """Return every (action, resource) of the role's Allow statements, as written."""
        return {
            (action, resource)
            for document in self.account.roles[role].policies.values()
            for statement in document["Statement"]
            if statement["Effect"] == "Allow"
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }

    def roles(self) -> Iterator[tuple[Environment, str, str]]:
        """Yield (environment, readable name, ARN) of every role."""
        for environment in self.environments.values():
            for name, arn in environment.roles.items():
                yield environment, name, arn


@pytest.fixture(scope="session")
def deployed(built: Built) -> Deployed:
    return deployed_from(built)


def deployed_from(built: Built) -> Deployed:
    """Return an account with the built environments."""
    assembly = ResolvedAssembly(built.assembly)
    return Deployed(Account.of(assembly), assembly, {name: Environment(name, assembly) for name in built.tops})


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def physical_name(arn: str) -> str:
    """Return the last part of an ARN."""
    return re.split("[:/]", arn.removesuffix(":*"))[-1]


def example_of(pattern: str) -> str:
    """Return a resource that matches a policy's pattern; for a log group, a stream (CloudWatch Logs User Guide, "Resources and operations")."""
    if ":log-group:" in pattern:
        return pattern.removesuffix("*") + "log-stream:one"
    return pattern if pattern == "*" else pattern.replace("*", "one")
