"""Alarms of Carmen itself: the load balancer's view of its tasks, their number and their load."""

from __future__ import annotations

from functools import partial

from aws_cdk import aws_ecs as ecs
from constructs import Construct

from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.foundation.alarm import Alarm, Alerting, Expression, Metric
from constructs_lib.service.web_service import WebService
from settings import sections


class ServiceAlarms(Construct):
    """`degraded`: users get errors or slow answers. `overloaded`: they may soon.

    `origin_down` does not notify: it suppresses alarms of the edge, uptime and SLOs, which would report the same problem.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        settings: sections.Service,
        balancer: LoadBalancer,
        cluster: ecs.ICluster,
        web: WebService,
        data_stores_down: Alarm,
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, self._settings = alerting, settings
        self._service = {"ClusterName": cluster.cluster_name, "ServiceName": web.service.service_name}
        # ECS Developer Guide, "CloudWatch metrics": the sample count is the number of running tasks.
        self.running = Metric("AWS/ECS", "CPUUtilization", self._service, "SampleCount", label="running")
        self.server_errors, self.unreachable, self.unhealthy = web.rollback_alarms
        self.slow = self._define_slow_responses(balancer)
        self.tasks_missing = self._define_tasks_missing()
        self.cpu, self.memory = self._define_load_alarms()
        self.at_maximum = self._define_at_maximum()
        self.degraded = self._define_degraded(web, data_stores_down)
        self.overloaded = self._define_overloaded()
        self.origin_down = alerting.composite(
            self,
            "OriginDown",
            description="Carmen or a data store is down. Suppresses alarms of the edge, uptime and SLOs about the same problem.",
            runbook="server-errors",
            severity="page",
            alarms=[data_stores_down, self.degraded],
            actions_enabled=False,
        )

    def _define_slow_responses(self, balancer: LoadBalancer) -> Alarm:
        return self._alerting.alarm(
            self,
            "SlowResponses",
            description="Answers are slow: one in a hundred takes longer than the limit.",
            runbook="slow-responses",
            severity="page",
            metric=balancer.metric_of_targets("TargetResponseTime", statistic="p99", period_seconds=300, label="p99 (s)"),
            at_least=self._alerting.settings.slow_response_seconds,
            periods=3,
            missing="notBreaching",
            actions_enabled=False,
        )

    def _define_tasks_missing(self) -> Alarm | None:
        """Without Container Insights the desired number is unknown: compare with the smallest number in the settings."""
        smallest = min(self._settings.min_tasks, *(entry.min_tasks for entry in self._settings.scheduled_scaling), 100)
        tasks_missing = partial(
            self._alerting.alarm,
            self,
            "TasksMissing",
            description="Fewer tasks run than desired: tasks stop, or new ones cannot start.",
            runbook="unhealthy-tasks",
            severity="page",
            periods=10,  # replacing a task in a deployment takes less
            missing="breaching",
            actions_enabled=False,
        )
        if self._settings.container_insights != "disabled":
            counts = {
                name: Metric("ECS/ContainerInsights", metric, self._service, "Average", label=name)
                for name, metric in (("wanted", "DesiredTaskCount"), ("running", "RunningTaskCount"))
            }
            return tasks_missing(metric=Expression("wanted - running", counts, label="tasks missing"), at_least=1)
        return tasks_missing(metric=self.running, below=smallest) if smallest else None

    def _define_load_alarms(self) -> tuple[Alarm, Alarm]:
        limits = self._alerting.settings
        watch = partial(self._alerting.alarm, self, severity="ticket", missing="notBreaching", actions_enabled=False, periods=3)
        return (
            watch(
                "Cpu",
                description="The tasks' CPU has been fully used for 15 minutes. Answers take longer.",
                runbook="service-at-its-limit",
                metric=Metric("AWS/ECS", "CPUUtilization", self._service, period_seconds=300, label="CPU (%)"),
                at_least=limits.service_cpu_percent,
            ),
            watch(
                "Memory",
                description="The tasks' memory is almost full. At the limit, the kernel kills them.",
                runbook="high-memory",
                metric=Metric("AWS/ECS", "MemoryUtilization", self._service, period_seconds=300, label="memory (%)"),
                at_least=limits.service_memory_percent,
            ),
        )

    def _define_at_maximum(self) -> Alarm | None:
        """None if the number of tasks is fixed: it would always be at its maximum."""
        ranges = [(self._settings.min_tasks, self._settings.max_tasks)]
        ranges += [(entry.min_tasks, entry.max_tasks) for entry in self._settings.scheduled_scaling]
        most = max(highest for _, highest in ranges)
        if any(lowest == most for lowest, _ in ranges):
            return None
        return self._alerting.alarm(
            self,
            "AtMaximum",
            description="The service has run its maximum number of tasks for 30 minutes. More load would slow it down.",
            runbook="service-at-its-limit",
            severity="ticket",
            metric=self.running,
            at_least=most,
            periods=30,  # a deployment runs old and new tasks together for some minutes
            missing="notBreaching",
            actions_enabled=False,
        )

    def _define_degraded(self, web: WebService, data_stores_down: Alarm) -> Alarm:
        return self._alerting.composite(
            self,
            "Unhealthy",
            description="Carmen is degraded: errors, slow answers, or too few tasks.",
            runbook="server-errors",
            severity="page",
            alarms=[alarm for alarm in (*web.rollback_alarms, self.slow, self.tasks_missing) if alarm],
            suppressor=data_stores_down,
        )

    def _define_overloaded(self) -> Alarm:
        return self._alerting.composite(
            self,
            "Overloaded",
            description="Carmen works at its limit. Users may soon notice.",
            runbook="service-at-its-limit",
            severity="ticket",
            alarms=[alarm for alarm in (self.cpu, self.memory, self.at_maximum) if alarm],
            suppressor=self.degraded,
        )
