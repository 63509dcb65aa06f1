from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs

from constructs_lib.compute.fargate import allow_application_pull, allow_pull, fargate_task
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, settings, stack, template
from tests.constructs.neighbours import allowed, statements

PUBLIC = "public.ecr.aws/docker/library/python:3.14"
MIRROR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/python:3.14"


def build(images: list[str], *, application: bool = False, **service: Any) -> Synthesized:
    one = stack()
    task = fargate_task(one, "Task", settings=settings(service=service).service, cpu=512, memory_mib=1024)
    task.add_container("Container", image=ecs.ContainerImage.from_registry(PUBLIC))
    if application:
        allow_application_pull(task, ecr.Repository(one, "Repository"), images)
    else:
        allow_pull(task, images)
    return template(one)


@pytest.mark.parametrize("architecture", ["ARM64", "X86_64"])
def test_task_runs_on_the_architecture_of_the_settings(architecture: str) -> None:
    built = build([], architecture=architecture)
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    assert task["RuntimePlatform"] == {"CpuArchitecture": architecture, "OperatingSystemFamily": "LINUX"}
    assert (task["Cpu"], task["Memory"], task["NetworkMode"]) == ("512", "1024", "awsvpc")
    assert "EphemeralStorage" not in task
    (trust,) = by_id(built.resources("AWS::IAM::Role"), "/TaskRole")["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_private_images_may_be_pulled_from_their_repository_only() -> None:
    token, pull = sorted(statements(build([MIRROR]), "TaskExecutionRole"), key=lambda one: one["Resource"] != "*")
    assert (token["Action"], token["Resource"]) == ("ecr:GetAuthorizationToken", "*")
    assert "ecr:BatchGetImage" in pull["Action"]
    arn = "".join(part if isinstance(part, str) else part["Ref"] for part in pull["Resource"]["Fn::Join"][1])
    assert arn == "arn:AWS::Partition:ecr:eu-west-1:123456789012:repository/mirror/python"


def test_public_images_need_no_permission() -> None:
    assert not build([PUBLIC]).resources("AWS::IAM::Policy")


def test_application_image_and_placeholder_may_be_pulled() -> None:
    pull = allowed(build([MIRROR], application=True), "TaskExecutionRole", "ecr:BatchGetImage")
    application, placeholder = sorted(pull["Resource"], key=lambda one: "Fn::Join" in one)
    assert application["Fn::GetAtt"][0].startswith("Repository")
    assert "mirror/python" in str(placeholder)
