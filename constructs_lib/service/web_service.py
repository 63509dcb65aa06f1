"""The Fargate service that runs Carmen, its scaling and its rollback alarms."""

from __future__ import annotations

from functools import partial

from aws_cdk import CfnCondition, CfnParameter, Duration, Fn, RemovalPolicy, Stack, TimeZone, Token
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.compute.fargate import allow_application_pull, fargate_task, without_capabilities
from constructs_lib.edge.load_balancer import CONTAINER_PORT, LoadBalancer
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.alarm import Alarm, Alerting
from constructs_lib.foundation.inline_code import inline_code
from constructs_lib.foundation.log_retention import retention_days
from constructs_lib.network.vpc import Network
from constructs_lib.service.container_environment import ContainerEnvironment
from constructs_lib.storage.buckets import allow_key, bucket_in_finding
from constructs_lib.storage.image_repository import PLACEHOLDER
from settings import sections
from settings.schedules import daily_cron, format_time, minute_of_day
from settings.working_hours import WARM_UP_MINUTES

NON_ROOT = "1001"  # the user of container/Dockerfile


class ApplicationImage(Construct):
    """The image to run: CloudFormation reads it from the image parameter at deployment. `placeholder` selects the placeholder."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Service, parameter_name: str) -> None:
        super().__init__(scope, construct_id)
        parameter = CfnParameter(
            self,
            "Parameter",
            type="AWS::SSM::Parameter::Value<String>",
            default=parameter_name,
            description="Digest of the application image; 'placeholder' until the first release",
        )
        self._health_path = settings.health_path
        self._is_placeholder = CfnCondition(self, "IsPlaceholder", expression=Fn.condition_equals(parameter.value_as_string, PLACEHOLDER))
        self.image = Fn.condition_if(self._is_placeholder.logical_id, settings.placeholder_image, parameter.value_as_string).to_string()
        self.state = Fn.condition_if(
            self._is_placeholder.logical_id,
            f"awaiting first image: a placeholder answers; push an image and release it (parameter {parameter_name})",
            parameter.value_as_string,
        ).to_string()

    def placeholder_command(self) -> list[str]:
        """Return the placeholder's command; a released image uses its own command."""
        code = inline_code("placeholder.js", HEALTH_PATH=self._health_path)
        choice = Fn.condition_if(self._is_placeholder.logical_id, ["node", "-e", code], Fn.ref("AWS::NoValue"))
        return Token.as_list(choice)


class WebService(Construct):
    """Carmen behind the load balancer: non-root, read-only root file system, automatic rollback of failed deployments."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Service,
        network: Network,
        cluster: ecs.ICluster,
        image: ApplicationImage,
        repository: ecr.IRepository,
        environment: ContainerEnvironment,
        balancer: LoadBalancer,
        alerting: Alerting,
        working_hours: sections.WorkingHours | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._working_hours = working_hours
        self.log_group = logs.LogGroup(
            self, "LogGroup", retention=retention_days(settings.log_retention_days), removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
        )
        self.task_definition = self._define_task(image, repository, environment)
        self.service = self._define_service(network, cluster, balancer.task_security_group, environment)
        self.service.attach_to_application_target_group(balancer.target_group)
        self.connections = self.service.connections
        self._add_scaling(balancer.target_group)
        self.rollback_alarms = self._define_rollback_alarms(balancer, alerting)

    @property
    def task_role(self) -> iam.Role:
        """The role of the application's own calls to AWS."""
        role = self.task_definition.task_role
        assert isinstance(role, iam.Role)
        return role

    def _define_task(
        self, image: ApplicationImage, repository: ecr.IRepository, environment: ContainerEnvironment
    ) -> ecs.FargateTaskDefinition:
        task = fargate_task(self, "Task", settings=self._settings, cpu=self._settings.cpu, memory_mib=self._settings.memory_mib)
        container = task.add_container(
            "Carmen",
            container_name="carmen",
            image=ecs.ContainerImage.from_registry(image.image),
            command=image.placeholder_command(),
            environment=environment.variables,
            secrets=environment.secrets,
            user=NON_ROOT,
            readonly_root_filesystem=True,
            port_mappings=[ecs.PortMapping(container_port=CONTAINER_PORT, name="http")],
            logging=ecs.LogDriver.aws_logs(stream_prefix="carmen", log_group=self.log_group, mode=ecs.AwsLogDriverMode.NON_BLOCKING),
            stop_timeout=Duration.seconds(30),
            linux_parameters=without_capabilities(self, "LinuxParameters"),
        )
        for number, path in enumerate(self._settings.writable_paths, start=1):
            volume = f"scratch-{number}"
            task.add_volume(name=volume)
            container.add_mount_points(ecs.MountPoint(container_path=path, source_volume=volume, read_only=False))
        allow_application_pull(task, repository, [self._settings.placeholder_image])
        acknowledge(
            task,
            {"AwsSolutions-ECS2": ("The plain values are settings, not secrets; every secret comes from Secrets Manager.")},
        )
        return task

    def _define_service(
        self, network: Network, cluster: ecs.ICluster, security_group: ec2.ISecurityGroup, environment: ContainerEnvironment
    ) -> ecs.FargateService:
        # No desired count: autoscaling owns it, and a deployment must not reset it (aws/aws-cdk#3919).
        service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=self.task_definition,
            capacity_provider_strategies=[
                ecs.CapacityProviderStrategy(capacity_provider="FARGATE_SPOT" if self._settings.spot else "FARGATE", weight=1)
            ],
            vpc_subnets=network.private_subnets,
            security_groups=[security_group],
            assign_public_ip=False,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            health_check_grace_period=Duration.seconds(self._settings.health_grace_seconds),
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            enable_ecs_managed_tags=True,
        )
        # Tasks need these to start and to stop: capacity providers, and permission to read image and secrets.
        service.node.add_dependency(cluster, self.task_definition.obtain_execution_role(), environment)
        return service

    def _add_scaling(self, target_group: elb.ApplicationTargetGroup) -> None:
        settings = self._settings
        scaling = self.service.auto_scale_task_count(min_capacity=settings.min_tasks, max_capacity=settings.max_tasks)
        scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=settings.cpu_target_percent)
        scaling.scale_on_memory_utilization("Memory", target_utilization_percent=settings.memory_target_percent)
        scaling.scale_on_request_count("Requests", requests_per_target=settings.requests_per_task_per_minute, target_group=target_group)
        for number, entry in enumerate(settings.scheduled_scaling, start=1):
            scaling.scale_on_schedule(
                f"Scheduled{number}",
                schedule=autoscaling.Schedule.expression(entry.schedule),
                time_zone=TimeZone.of(entry.time_zone),
                min_capacity=entry.min_tasks,
                max_capacity=entry.max_tasks,
            )
        if hours := self._working_hours:
            begins = format_time(minute_of_day(hours.starts) + WARM_UP_MINUTES)
            for name, time, tasks in (("Begin", begins, (settings.min_tasks, settings.max_tasks)), ("End", hours.ends, (0, 0))):
                scaling.scale_on_schedule(
                    f"WorkingHours{name}",
                    schedule=autoscaling.Schedule.expression(daily_cron(time, hours.days)),
                    time_zone=TimeZone.of(hours.time_zone),
                    min_capacity=tasks[0],
                    max_capacity=tasks[1],
                )

    def _define_rollback_alarms(self, balancer: LoadBalancer, alerting: Alerting) -> list[Alarm]:
        """ECS rolls a deployment back when one of these is in alarm. ServiceAlarms notifies people."""
        limit = alerting.settings.server_errors_per_minute
        errors = partial(alerting.always_enabled.alarm, self, severity="page", missing="notBreaching", actions_enabled=False)
        alarms = [
            errors(
                "ServerErrors",
                description="Tasks return 5xx errors to users. ECS rolls back a running deployment.",
                runbook="server-errors",
                metric=balancer.metric_of_targets("HTTPCode_Target_5XX_Count", label="5xx of the tasks"),
                at_least=limit,
                periods=2,
            ),
            errors(
                "UnreachableTasks",
                description="The load balancer reaches no task and returns 5xx errors to users. ECS rolls back a running deployment.",
                runbook="server-errors",
                metric=balancer.metric("HTTPCode_ELB_5XX_Count", label="5xx of the balancer"),
                at_least=limit,
                periods=2,
            ),
            errors(
                "UnhealthyTasks",
                description="Tasks fail their health checks. ECS rolls back a running deployment.",
                runbook="unhealthy-tasks",
                metric=balancer.metric_of_targets("UnHealthyHostCount", statistic="Maximum", label="unhealthy"),
                at_least=1,
                periods=5,
            ),
        ]
        # As a property: the CDK's method warns of a cycle that these alarms cannot cause, since they watch the target group.
        resource = self.service.node.default_child
        assert isinstance(resource, ecs.CfnService)
        names = [alarm.name for alarm in alarms]
        resource.add_property_override("DeploymentConfiguration.Alarms", {"AlarmNames": names, "Enable": True, "Rollback": True})
        return alarms


def allow_uploads(role: iam.Role, bucket: s3.IBucket, key: kms.IKey) -> None:
    """Allow reading, writing, deleting and listing users' files, but not the bucket's settings or old versions."""
    role.add_to_principal_policy(
        iam.PolicyStatement(
            sid="ReadAndWriteUploads",
            actions=["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            resources=[f"{bucket.bucket_arn}/*"],
        )
    )
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {
            f"AwsSolutions-IAM5[Resource::{bucket_in_finding(bucket, role)}/*]": (
                "Users' files are all objects of this bucket; it contains nothing else."
            )
        },
    )
    role.add_to_principal_policy(iam.PolicyStatement(sid="ListUploads", actions=["s3:ListBucket"], resources=[bucket.bucket_arn]))
    allow_key(role, key.key_arn, Stack.of(role).region)
