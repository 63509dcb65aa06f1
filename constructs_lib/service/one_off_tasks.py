"""Tasks that run once: database migrations, and a shell for operators."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.compute.fargate import allow_application_pull, allow_pull, fargate_task, without_capabilities
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.log_retention import retention_days
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from constructs_lib.service.web_service import NON_ROOT, ApplicationImage
from settings import sections


class MigrationTask(Construct):
    """Runs the migration command in the application's image, as the schema's owner, connected to the instance directly.

    Not through RDS Proxy: the migration's advisory lock pins the session (prisma/orm#27636). The root file system is writable, because
    Prisma's CLI writes into its working directory and its own package (prisma/orm#20768, #25020).
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
        connection: secretsmanager.ISecret,
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ClosedSecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="Migration task: to PostgreSQL, and to AWS over HTTPS"
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Image, secrets and logs")
        self.connections = self.security_group.connections
        self.task_definition = fargate_task(self, "Task", settings=settings, cpu=512, memory_mib=1024)
        self.task_definition.add_container(
            "Migration",
            container_name="migration",
            image=ecs.ContainerImage.from_registry(image.image),
            command=list(settings.migration_command),
            environment={"NODE_ENV": "production", "HOME": "/tmp"},
            secrets={name: ecs.Secret.from_secrets_manager(connection, name) for name in ("DATABASE_URL", "DIRECT_URL")},
            user=NON_ROOT,
            linux_parameters=without_capabilities(self, "LinuxParameters"),
            logging=task_log(self, settings, "migration"),
            stop_timeout=Duration.seconds(30),
        )
        allow_application_pull(self.task_definition, repository, [settings.placeholder_image])
        acknowledge(
            self.task_definition,
            {"AwsSolutions-ECS2": "The two plain values are not secret; the database URLs come from Secrets Manager."},
        )


class OperationsTask(Construct):
    """psql, redis-cli and a shell by ECS Exec, instead of a bastion: two public images, nothing to build or patch.

    The root file system is writable and capabilities stay, because ECS Exec's agent needs the first and does not document the second
    (aws/containers-roadmap#1359, #1360). The agent and its shells run as root whatever the container's user is (ECS Developer Guide,
    "Monitor Amazon ECS containers with ECS Exec"). The task ends itself after an hour.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Service,
        network: Network,
        connection: secretsmanager.ISecret,
        database: dict[str, str],
        cache: dict[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ClosedSecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="Operations task: to data stores, and to AWS over HTTPS"
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Images, secrets, logs and ECS Exec")
        self.connections = self.security_group.connections
        self.task_definition = fargate_task(self, "Task", settings=settings, cpu=256, memory_mib=512)
        logging = task_log(self, settings, "operations")
        for name, image, environment, secrets in (
            ("psql", settings.psql_image, {**database, "PGSSLMODE": "require"}, ("PGUSER", "PGPASSWORD")),
            ("redis", settings.redis_cli_image, cache, ("REDISCLI_AUTH",)),
        ):
            self.task_definition.add_container(
                name.capitalize(),
                container_name=name,
                image=ecs.ContainerImage.from_registry(image),
                entry_point=["sleep"],
                command=["3600"],
                user=NON_ROOT,
                environment=environment,
                secrets={variable: ecs.Secret.from_secrets_manager(connection, variable) for variable in secrets},
                linux_parameters=ecs.LinuxParameters(self, f"{name.capitalize()}Init", init_process_enabled=True),
                logging=logging,
                essential=name == "psql",
            )
        allow_pull(self.task_definition, [settings.psql_image, settings.redis_cli_image])
        self._allow_exec()
        acknowledge(
            self.task_definition,
            {"AwsSolutions-ECS2": "Host names and ports are plain text; user names and passwords come from Secrets Manager."},
        )

    def _allow_exec(self) -> None:
        """ECS Exec's channels; these actions support no resource-level permissions."""
        self.task_definition.task_role.add_to_principal_policy(
            iam.PolicyStatement(
                sid="OpenEcsExecChannels",
                actions=[f"ssmmessages:{verb}{channel}Channel" for verb in ("Create", "Open") for channel in ("Control", "Data")],
                resources=["*"],
            )
        )
        acknowledge(
            self.task_definition.task_role.node.find_child("DefaultPolicy"),
            {
                "AwsSolutions-IAM5[Resource::*]": (
                    "ssmmessages actions support no resource-level permissions (AWS Service Authorization Reference, "
                    "Session Manager Message Gateway)."
                )
            },
        )


def task_log(scope: Construct, settings: sections.Service, prefix: str) -> ecs.LogDriver:
    """Create a separate log group for a one-off task."""
    group = logs.LogGroup(scope, "LogGroup", retention=retention_days(settings.log_retention_days), removal_policy=RemovalPolicy.DESTROY)
    return ecs.LogDriver.aws_logs(stream_prefix=prefix, log_group=group)
