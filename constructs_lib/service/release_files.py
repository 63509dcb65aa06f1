"""The task that copies an image's static files to S3, so that open pages of a replaced release still find theirs (ADR 0019)."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.compute.fargate import allow_application_pull, fargate_task, without_capabilities
from constructs_lib.compute.function_task import add_package
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from constructs_lib.service.one_off_tasks import task_log
from constructs_lib.service.web_service import NON_ROOT, ApplicationImage
from constructs_lib.storage.buckets import bucket_in_finding
from settings import sections

VOLUME = "files"


class ReleaseFilesTask(Construct):
    """Two containers and a volume: the application's image copies its static folder, then our code uploads it to the bucket.

    The image needs only `cp`, nothing for AWS. tools/cli/commands/release.py runs the task.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Service,
        network: Network,
        image: ApplicationImage,
        repository: ecr.IRepository,
        bucket: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ClosedSecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="Task that copies static files: to AWS over HTTPS"
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Images, code, files and logs")
        self.task_definition = fargate_task(self, "Task", settings=settings, cpu=512, memory_mib=1024)
        self.task_definition.add_volume(name=VOLUME)
        logging = task_log(self, settings, "release-files")
        copy = self._add_copy(settings, image, logging)
        publish = add_package(
            self,
            self.task_definition,
            image=settings.python_image,
            packages=["release_files"],
            environment={"FILES_FOLDER": "/files/static", "FILES_BUCKET": bucket.bucket_name},
            logging=logging,
            user=NON_ROOT,  # the copy container's user
        )
        publish.add_mount_points(ecs.MountPoint(container_path="/files", source_volume=VOLUME, read_only=True))
        publish.add_container_dependencies(ecs.ContainerDependency(container=copy, condition=ecs.ContainerDependencyCondition.SUCCESS))
        self._allow_upload(settings, repository, bucket)

    def _add_copy(self, settings: sections.Service, image: ApplicationImage, logging: ecs.LogDriver) -> ecs.ContainerDefinition:
        """Mount the volume at /tmp, which all users may write (container/Dockerfile): elsewhere a volume belongs to root."""
        copy = self.task_definition.add_container(
            "Copy",
            container_name="copy",
            image=ecs.ContainerImage.from_registry(image.image),
            entry_point=["cp"],
            command=["-RP", settings.static_folder, "/tmp/static"],  # noqa: S108 (in a separate container)
            essential=False,
            user=NON_ROOT,
            readonly_root_filesystem=True,
            linux_parameters=without_capabilities(self, "CopyLinuxParameters"),
            logging=logging,
        )
        copy.add_mount_points(ecs.MountPoint(container_path="/tmp", source_volume=VOLUME, read_only=False))  # noqa: S108 (in a separate container)
        return copy

    def _allow_upload(self, settings: sections.Service, repository: ecr.IRepository, bucket: s3.IBucket) -> None:
        """Allow uploads only: the task neither reads nor deletes existing files."""
        self.task_definition.add_to_task_role_policy(
            iam.PolicyStatement(actions=["s3:PutObject"], resources=[bucket.arn_for_objects("_next/static/*")])
        )
        allow_application_pull(self.task_definition, repository, [settings.placeholder_image, settings.python_image])
        role = self.task_definition.task_role
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{bucket_in_finding(bucket, self)}/_next/static/*]": (
                    "The names of static files depend on the build; the bucket contains nothing else."
                )
            },
        )
        acknowledge(self.task_definition, {"AwsSolutions-ECS2": "The values are names and folders; the task has no secrets."})
