"""The release role may update the service's stack, and a request may contain any template: what such a template reaches.

IAM has no key for a template in the request. `ResourceTypes` cannot protect: "Only one of the Capabilities and ResourceType parameters can
be specified" (CloudFormation API Reference, UpdateStack), and the stack's roles need a capability. So CloudFormation's role limits it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Built
from tests.models.iam.test_boundary import needed, schema
from tests.pipelines.conftest import role
from tests.pipelines.permissions import HERE
from tests.pipelines.test_permissions import UNKNOWN_CONTEXT, listed
from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import Account, Context

STACK = f"arn:aws:cloudformation:{HERE}:stack/CarmenProdService/1"
UPDATE = f"arn:aws:iam::{ACCOUNT}:role/CarmenProdRelease"
EXECUTION = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"
CLUSTER = f"arn:aws:ecs:{HERE}:cluster/CarmenProdService-Cluster1"
# What a release changes: a resource is replaced by creating the new one and deleting the old one.
CHANGED = {"AWS::ECS::TaskDefinition": ("create", "delete", "read"), "AWS::ECS::Service": ("update", "read")}
IN_RELEASE: dict[str, list[str]] = {
    "ecs:RegisterTaskDefinition": ["*"],
    "ecs:DeregisterTaskDefinition": ["*"],
    "ecs:DescribeTaskDefinition": ["*"],
    "iam:GetRole": [f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdService-{one}Role1" for one in ("WebTask", "MigrationTaskExecution")],
    "iam:PassRole": [f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdService-{one}Role1" for one in ("WebTask", "ReleaseFilesTask")],
    "ecs:DescribeServiceDeployments": [f"arn:aws:ecs:{HERE}:service-deployment/CarmenProdService-Cluster1/CarmenProdService-Web1/1"],
    "ecs:StopServiceDeployment": [f"arn:aws:ecs:{HERE}:service-deployment/CarmenProdService-Cluster1/CarmenProdService-Web1/1"],
}
SERVICE = f"arn:aws:ecs:{HERE}:service/CarmenProdService-Cluster1/CarmenProdService-Web1"
UNUSED = {"ecs:UntagResource": "a release removes no tag"}


def decide(account: Account, name: str, action: str, resource: str, **context: Any) -> bool:
    keys = {key.replace("_", ":"): value for key, value in context.items()}
    return bool(account.decide(role(account, name), action, resource, {**UNKNOWN_CONTEXT, **keys}))


@pytest.mark.parametrize(
    ("passed", "url", "allowed"),
    [
        (UPDATE, None, True),
        (None, None, False),  # CloudFormation would use the stack's role
        (EXECUTION, None, False),
        (UPDATE.replace("Prod", "Staging"), None, False),
        (UPDATE, "https://example.com/template.json", False),
    ],
)
def test_update_needs_the_role_of_releases(account: Account, passed: str | None, url: str | None, allowed: bool) -> None:
    context = {"cloudformation_RoleArn": passed, "cloudformation_TemplateUrl": url}
    assert decide(account, "ProdRelease", "cloudformation:UpdateStack", STACK, **context) is allowed


def test_release_role_passes_only_the_role_of_releases(account: Account) -> None:
    to_cloudformation = {"iam_PassedToService": "cloudformation.amazonaws.com"}
    assert decide(account, "ProdRelease", "iam:PassRole", UPDATE, **to_cloudformation)
    for other in (EXECUTION, UPDATE.replace("Prod", "Staging"), f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdService-MigrationTaskRole1"):
        assert not decide(account, "ProdRelease", "iam:PassRole", other, **to_cloudformation)


def test_release_changes_task_definitions_and_the_service_only(built: Built) -> None:
    """What refers to the image parameter, and what refers to a resource that is replaced then."""
    template = built.templates["CarmenProdService"]
    changing = {name for name in template["Parameters"] if name.startswith("Image")} | set(template["Conditions"])
    kinds: dict[str, str] = {}
    while found := {
        name: resource["Type"]
        for name, resource in template["Resources"].items()
        if name not in kinds and (resource.get("Condition") in changing or set(_references(resource.get("Properties", {}))) & changing)
    }:
        kinds |= found
        changing = {name for name, kind in found.items() if kind == "AWS::ECS::TaskDefinition"}  # the service keeps its name
    assert sorted(kinds.values()) == ["AWS::ECS::Service", *["AWS::ECS::TaskDefinition"] * 3]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0]
            else:
                yield from ([inner[0], *_references(inner[1:])] if key == "Fn::If" else _references(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@pytest.mark.parametrize("kind", CHANGED)
def test_role_of_releases_may_change_what_a_release_changes(account: Account, kind: str) -> None:
    """The actions of the types' handlers (CloudFormation's resource schemas)."""
    actions = {action for handler in CHANGED[kind] for action in schema(kind)["handlers"][handler]["permissions"]}
    for action in actions - set(UNUSED):
        for resource in IN_RELEASE.get(action, [SERVICE]):
            assert decide(account, "ProdUpdate", action, resource, iam_PassedToService="ecs-tasks.amazonaws.com"), (action, resource)


def test_foreign_template_can_create_no_other_resource(account: Account, built: Built) -> None:
    """Of every type that a template of ours has: each needs an action that the role may not take on any resource."""
    kinds = {resource["Type"] for template in built.templates.values() for resource in template["Resources"].values()}
    actions = {
        action for document in account.roles[UPDATE].policies.values() for one in document["Statement"] for action in listed(one["Action"])
    }
    reachable = {kind for kind in kinds if needed(kind) and not _creation(kind) - actions}
    assert reachable == {"AWS::ECS::TaskDefinition"}
    assert not {action for kind in kinds for action in needed(kind) if action.partition(":")[2].startswith("Delete")} & actions


def _creation(kind: str) -> set[str]:
    if kind.startswith("Custom::"):
        return needed(kind)
    return set(schema(kind)["handlers"]["create"]["permissions"]) & needed(kind)


OTHERS_ROLES = ("OperationsTaskRole1", "SdkCallRole1", "ServiceRole1")


@pytest.mark.parametrize(
    "arn",
    [
        *(f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdService-{one}" for one in OTHERS_ROLES),
        f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenStagingService-WebTaskRole1",
        f"arn:aws:iam::{ACCOUNT}:role/carmen/CarmenProdOperations-BackupFunctionRole1",
        f"arn:aws:iam::{ACCOUNT}:role/CarmenAdmin",
    ],
)
def test_foreign_template_runs_with_no_other_role(account: Account, arn: str) -> None:
    for service in ("ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "cloudformation.amazonaws.com"):
        assert not decide(account, "ProdUpdate", "iam:PassRole", arn, iam_PassedToService=service)


def test_foreign_template_changes_no_other_service(account: Account) -> None:
    context: Context = {"ecs:cluster": CLUSTER}
    for other in (
        SERVICE.replace("Prod", "Staging"),
        SERVICE.replace("CarmenProdService-Web1", "other"),
        f"arn:aws:ecs:{HERE}:service/other/web",
    ):
        assert not account.decide(role(account, "ProdUpdate"), "ecs:UpdateService", other, {**UNKNOWN_CONTEXT, **context})
