"""Fargate task definitions and their permission to pull images."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aws_cdk import Annotations
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.arns import PARTITION
from constructs_lib.foundation.service_principals import same_account_principal
from settings import sections

PRIVATE_IMAGE = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)")


def fargate_task(
    scope: Construct, construct_id: str, *, settings: sections.Service, cpu: int, memory_mib: int, ephemeral_storage_gib: int | None = None
) -> ecs.FargateTaskDefinition:
    """Define a task for the settings' architecture; without `ephemeral_storage_gib` it has Fargate's default of 20 GiB."""
    return ecs.FargateTaskDefinition(
        scope,
        construct_id,
        cpu=cpu,
        memory_limit_mib=memory_mib,
        ephemeral_storage_gib=ephemeral_storage_gib,
        task_role=iam.Role(scope, f"{construct_id}Role", assumed_by=same_account_principal("ecs-tasks.amazonaws.com")),
        runtime_platform=ecs.RuntimePlatform(
            cpu_architecture=ecs.CpuArchitecture.of(settings.architecture), operating_system_family=ecs.OperatingSystemFamily.LINUX
        ),
    )


def without_capabilities(scope: Construct, construct_id: str, *, init_process: bool = True) -> ecs.LinuxParameters:
    """No Linux capability, and an init process that passes signals on; for every container except those of ECS Exec.

    Without `init_process`, the container's command gets the signals itself.

    Fargate supports `drop`, and `add` of SYS_PTRACE only. Source: ECS API Reference, KernelCapabilities.
    """
    parameters = ecs.LinuxParameters(scope, construct_id, init_process_enabled=init_process)
    parameters.drop_capabilities(ecs.Capability.ALL)
    return parameters


def allow_application_pull(task: ecs.FargateTaskDefinition, repository: ecr.IRepository, others: Sequence[str]) -> None:
    """Allow a task to pull the application's image and `others`, such as the placeholder that runs until the first release."""
    repository.grant_pull(task.obtain_execution_role())
    acknowledge_pull(task.obtain_execution_role())
    allow_pull(task, others)


def allow_pull(task: ecs.FargateTaskDefinition, images: Sequence[str]) -> None:
    """Allow a task to pull those of `images` that are in private ECR repositories; public images need no permission."""
    for number, image in enumerate(images, start=1):
        if match := PRIVATE_IMAGE.match(image):
            repository = ecr.Repository.from_repository_attributes(
                task,
                f"Image{number}",
                repository_arn=f"arn:{PARTITION}:ecr:{match['region']}:{match['account']}:repository/{match['name']}",
                repository_name=match["name"],
            )
            repository.grant_pull(task.obtain_execution_role())
            acknowledge_pull(task.obtain_execution_role())
            Annotations.of(task).acknowledge_warning("@aws-cdk/aws-ecs:ecrImageRequiresPolicy", "The line above grants the pull.")


def acknowledge_pull(execution_role: iam.IRole) -> None:
    """Accept the findings about a role that may pull images."""
    policy = execution_role.node.find_child("DefaultPolicy")
    reason = "ecr:GetAuthorizationToken does not support resources (AWS Service Authorization Reference, ECR)"
    acknowledge(
        policy,
        {
            "AwsSolutions-IAM5[Resource::*]": f"{reason}.",
            "Cloudsplaining::CredentialsExposure[ecr:GetAuthorizationToken]": (
                f"{reason}; the token gives access only to repositories that this role may pull from."
            ),
        },
    )
