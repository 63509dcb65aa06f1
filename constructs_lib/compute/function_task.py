"""A function's code as a Fargate task, for work that exceeds Lambda's fifteen minutes. Needs no image build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from constructs_lib.compute.fargate import allow_pull, fargate_task, without_capabilities
from constructs_lib.compute.python_function import SOURCE, PythonFunction, https_security_group, package_asset
from constructs_lib.foundation.acknowledgements import acknowledge, resource_in_finding
from constructs_lib.foundation.arns import PARTITION, REGION, account_arn
from constructs_lib.network.vpc import Network
from settings import sections

BOOTSTRAP = (SOURCE / "common" / "task_bootstrap.py").read_text(encoding="utf-8")
# Amazon Linux's `nobody`. initdb looks its user up and refuses one without an entry in /etc/passwd
# (https://github.com/docker-library/postgres/pull/253), such as 1000 in Lambda's image.
NOBODY = "65534"


class FunctionTask(Construct):
    """Runs `python -m <package>` with the code and layers of `function`, which gets the permission and variables to start it.

    The image is AWS's Lambda image for Python; the task downloads code and layers from the CDK's bucket at its start. Grant `role` what
    the function's role has. The task uses the function's security group, or its own when the function is outside the VPC.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Service,
        function: PythonFunction,
        shared_packages: Sequence[str] = (),
        layers: Sequence[Path],
        environment: Mapping[str, str],
        cluster: ecs.ICluster,
        network: Network,
        cpu: int,
        memory_mib: int,
        ephemeral_storage_gib: int | None = None,
        init_process: bool = True,
    ) -> None:
        super().__init__(scope, construct_id)
        package = function.package
        on_arm = settings.model_copy(update={"architecture": "ARM64"})  # like the layers
        self.task_definition = fargate_task(
            self, "Task", settings=on_arm, cpu=cpu, memory_mib=memory_mib, ephemeral_storage_gib=ephemeral_storage_gib
        )
        role = self.task_definition.task_role
        assert isinstance(role, iam.Role)
        self.role = role
        self.log_group = logs.LogGroup(self, "LogGroup", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
        add_package(
            self,
            self.task_definition,
            image=settings.python_image,
            packages=[package, *shared_packages],
            layers=layers,
            environment={**environment, "POWERTOOLS_SERVICE_NAME": package},
            logging=ecs.LogDriver.aws_logs(stream_prefix=package, log_group=self.log_group),
            init_process=init_process,
        )
        allow_pull(self.task_definition, [settings.python_image])
        acknowledge(
            self.task_definition,
            {"AwsSolutions-ECS2": "The variables hold names and numbers but no secrets: the code logs in with its role."},
        )
        self._allow_start(function, cluster, network)

    def _allow_start(self, function: PythonFunction, cluster: ecs.ICluster, network: Network) -> None:
        """Allow `function` to run the task in one cluster, and to pass its two roles to ECS only."""
        security_group = function.security_group or https_security_group(self, "SecurityGroup", function.package, network)
        subnets = network.vpc.select_subnets(subnet_group_name=network.private_subnets.subnet_group_name).subnet_ids
        prefix = f"{function.package.upper()}_TASK"
        for name, value in {
            "CLUSTER": cluster.cluster_name,
            "DEFINITION": self.task_definition.task_definition_arn,
            "SUBNETS": ",".join(subnets),
            "SECURITY_GROUPS": security_group.security_group_id,
        }.items():
            function.add_environment(f"{prefix}_{name}", value)
        function.add_to_role_policy(
            iam.PolicyStatement(
                sid="RunFargateTask",
                actions=["ecs:RunTask"],
                resources=[self.task_definition.task_definition_arn],
                conditions={"ArnEquals": {"ecs:cluster": cluster.cluster_arn}},
            )
        )
        function.add_to_role_policy(
            iam.PolicyStatement(
                sid="PassFargateTaskRoles",
                actions=["iam:PassRole"],
                resources=[self.role.role_arn, self.task_definition.obtain_execution_role().role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            )
        )


def add_package(
    scope: Construct,
    task: ecs.FargateTaskDefinition,
    *,
    image: str,
    packages: Sequence[str],
    layers: Sequence[Path] = (),
    environment: Mapping[str, str],
    logging: ecs.LogDriver,
    user: str = NOBODY,
    init_process: bool = True,
) -> ecs.ContainerDefinition:
    """Add a container that runs the first of `packages`, and allow it to read only these objects of the CDK's bucket.

    The root file system is writable: a Fargate volume belongs to root where the image declares no VOLUME, as AWS's does not, and this user
    could not write to it (aws/containers-roadmap#863, #938).
    """
    code = assets.Asset(scope, "Code", **package_asset(packages))
    layer_assets = [assets.Asset(scope, f"Layer{number}", path=str(path)) for number, path in enumerate(layers, start=1)]
    _allow_download(task, [code, *layer_assets])
    return task.add_container(
        "Container",
        container_name=packages[0],
        image=ecs.ContainerImage.from_registry(image),
        entry_point=["python3", "-c"],
        command=[BOOTSTRAP],
        environment={
            **environment,
            "PYTHONPATH": "/var/runtime",  # boto3 in this image
            "HOME": "/tmp",  # noqa: S108 (inside the container)
            "TASK_PACKAGE": packages[0],
            "TASK_CODE": _place(code),
            "TASK_LAYERS": " ".join(map(_place, layer_assets)),
        },
        user=user,
        linux_parameters=without_capabilities(scope, "LinuxParameters", init_process=init_process),
        logging=logging,
        stop_timeout=Duration.seconds(120),
    )


def _place(asset: assets.Asset) -> str:
    return f"{asset.s3_bucket_name}/{asset.s3_object_key}"


def _allow_download(task: ecs.FargateTaskDefinition, downloads: Sequence[assets.Asset]) -> None:
    """Allow the task to read these objects, also when `cdk bootstrap` encrypts the bucket with a customer key.

    A template cannot name that key: the bootstrap stack exports the text AWS_MANAGED_KEY instead of an ARN when there is none
    (aws-cdk's bootstrap-template.yaml, FileAssetKeyArn; https://github.com/aws/aws-cdk/issues/25100). So the statement names every key of
    the account, for S3 and for these objects only. S3 gives KMS the object's ARN as the encryption context, or the bucket's with a bucket
    key (S3 User Guide, "Using server-side encryption with AWS KMS keys", Encryption context).
    """
    objects = [f"arn:{PARTITION}:s3:::{_place(asset)}" for asset in downloads]
    for one in objects:
        task.add_to_task_role_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[one]))
    keys = account_arn("kms", "key/*")
    task.add_to_task_role_policy(
        iam.PolicyStatement(
            sid="DecryptCode",
            actions=["kms:Decrypt"],
            resources=[keys],
            conditions={
                "StringEquals": {
                    "kms:ViaService": f"s3.{REGION}.amazonaws.com",
                    "kms:EncryptionContext:aws:s3:arn": [f"arn:{PARTITION}:s3:::{downloads[0].s3_bucket_name}", *objects],
                }
            },
        )
    )
    acknowledge(
        task.task_role.node.find_child("DefaultPolicy"),
        {
            f"AwsSolutions-IAM5[Resource::{resource_in_finding(task, keys)}]": (
                "The key of the CDK's bucket is unknown here; the conditions allow only S3 to use it, for the task's code."
            )
        },
    )
