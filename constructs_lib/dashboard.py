"""The page a person looks at first."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_rds as rds
from constructs import Construct


class Dashboard(Construct):
    """Edge, load balancer, tasks and database on one page, from the user down to the disk."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        distribution: cloudfront.Distribution,
        target_group: elb.ApplicationTargetGroup,
        service: ecs.FargateService,
        database: rds.DatabaseInstance,
    ) -> None:
        super().__init__(scope, construct_id)
        metrics = target_group.metrics
        edge = {"DistributionId": distribution.distribution_id, "Region": "Global"}
        rows: list[list[tuple[str, list[cloudwatch.IMetric]]]] = [
            [
                ("Requests at the edge", [_edge_metric("Requests", "Sum", edge)]),
                ("Error rate at the edge (%)", [_edge_metric(name, "Average", edge) for name in ("4xxErrorRate", "5xxErrorRate")]),
            ],
            [
                ("Response time (s)", [metrics.target_response_time(statistic=statistic) for statistic in ("p50", "p99")]),
                ("Tasks", [metrics.healthy_host_count(), metrics.unhealthy_host_count()]),
            ],
            [
                ("CPU and memory of tasks (%)", [service.metric_cpu_utilization(), service.metric_memory_utilization()]),
                ("CPU of the database (%)", [database.metric_cpu_utilization()]),
            ],
            [
                ("Connections of the database", [database.metric_database_connections()]),
                ("Free storage of the database (bytes)", [database.metric_free_storage_space()]),
            ],
        ]
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.hours(3))
        for row in rows:
            self.dashboard.add_widgets(*(cloudwatch.GraphWidget(title=title, left=graphs, width=12) for title, graphs in row))


def _edge_metric(name: str, statistic: str, dimensions: dict[str, str]) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/CloudFront", metric_name=name, statistic=statistic, dimensions_map=dimensions, region="us-east-1"
    )
