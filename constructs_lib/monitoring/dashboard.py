"""The CloudWatch dashboard: alarms first, then metrics from the user down to the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aws_cdk import Aws, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.foundation.alarm import FIVE_MINUTES, Alarm, AlarmMetric, Alerting, Metric
from constructs_lib.monitoring.cache_alarms import CacheAlarms
from constructs_lib.monitoring.database_alarms import DatabaseAlarms
from constructs_lib.monitoring.edge_alarms import EdgeAlarms
from constructs_lib.monitoring.service_alarms import ServiceAlarms
from constructs_lib.monitoring.slo import WINDOW_DAYS, Slo
from constructs_lib.monitoring.staleness_alarms import StalenessAlarms
from constructs_lib.monitoring.uptime_alarms import UptimeAlarms

WIDTH = 24  # CloudWatch's grid
GRAPH_HEIGHT, TEXT_HEIGHT, STATUS_HEIGHT = 5, 2, 6
THRESHOLD_COLOUR = "#d62728"
STALENESS_DAYS = 14  # two occurrences of weekly tasks
Shown = Alarm | AlarmMetric | str | None  # an alarm is drawn with its threshold; text is a search expression; None is skipped


@dataclass(frozen=True)
class Graph:
    """A graph over three hours, or over `days`. `region`: of the metrics."""

    title: str
    shown: Sequence[Shown]
    region: str = Aws.REGION
    days: int | None = None
    as_number: bool = False  # one number for the whole time, instead of lines


@dataclass(frozen=True)
class Section:
    """A heading with links to runbooks, and a row of graphs."""

    title: str
    runbooks: Iterable[Alarm]
    graphs: Sequence[Graph]


class Dashboard(Construct):
    """The dashboard. Graphs of alarms' metrics show the alarms' thresholds."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerting: Alerting,
        repository: str,
        edge_region: str,
        balancer: LoadBalancer,
        uptime: UptimeAlarms,
        slo: Slo,
        edge: EdgeAlarms,
        service: ServiceAlarms,
        database: DatabaseAlarms,
        cache: CacheAlarms,
        staleness: StalenessAlarms,
        functions: Sequence[Alarm],
    ) -> None:
        super().__init__(scope, construct_id)
        self._alerting, self._repository = alerting, repository
        sections = [
            _users(alerting, uptime, slo),
            _edge(edge, edge_region),
            _balancer(balancer, service),
            _service(service),
            _database(database),
            _proxy_and_redis(database, cache),
            _staleness(staleness),
            _functions(Stack.of(self).stack_name, functions),
        ]
        notifying = [
            *uptime.notifying, *slo.notifying, *edge.notifying, service.degraded, service.overloaded, *database.notifying, *cache.notifying,
            *staleness.notifying, *functions,
        ]  # fmt: skip
        body = {"start": "-PT3H", "periodOverride": "inherit", "widgets": self._lay_out(notifying, sections)}
        self.dashboard = cloudwatch.CfnDashboard(self, "Dashboard", dashboard_body=Stack.of(self).to_json_string(body))

    @property
    def name(self) -> str:
        """The dashboard's name in the console."""
        return self.dashboard.ref

    def _lay_out(self, notifying: Sequence[Alarm], sections: Sequence[Section]) -> list[dict[str, Any]]:
        widgets = [_place(_status(f"Carmen {self._alerting.environment}: alarms", notifying), 0, 0, WIDTH, STATUS_HEIGHT)]
        top = STATUS_HEIGHT
        for section in sections:
            widgets.append(_place(self._heading(section), 0, top, WIDTH, TEXT_HEIGHT))
            top += TEXT_HEIGHT
            width = WIDTH // len(section.graphs) if len(section.graphs) <= 4 else WIDTH // 4
            for number, graph in enumerate(section.graphs):
                row, column = divmod(number, WIDTH // width)
                widgets.append(_place(_metric_widget(graph), column * width, top + row * GRAPH_HEIGHT, width, GRAPH_HEIGHT))
            top += GRAPH_HEIGHT * -(-len(section.graphs) * width // WIDTH)
        return widgets

    def _heading(self, section: Section) -> dict[str, Any]:
        names = dict.fromkeys(alarm.runbook for alarm in section.runbooks)  # each once, in order
        links = " · ".join(self._link(name) for name in names)
        return {"type": "text", "properties": {"markdown": f"## {section.title}\n{links}", "background": "transparent"}}

    def _link(self, runbook: str) -> str:
        """Return a link to the runbook, or its path if the repository's address is unknown."""
        page = f"docs/runbooks/{runbook}.md"
        if not re.match(r"(https://)?[\w-]+(\.[\w-]+)+/", self._repository):
            return page
        return f"[{runbook}](https://{self._repository.removeprefix('https://')}/blob/main/{page})"


def _users(alerting: Alerting, uptime: UptimeAlarms, slo: Slo) -> Section:
    answer_time = (
        f'SEARCH(\'{{Carmen,Endpoint,Environment,service}} MetricName="EndpointMilliseconds" Environment="{alerting.environment}"\', '
        f"'Maximum', {FIVE_MINUTES})"
    )
    kinds = ("Availability", "Latency")
    return Section(
        "Users: availability and latency",
        [uptime.down, uptime.certificate, *slo.notifying],
        [
            Graph(
                f"Error budget left, {WINDOW_DAYS} days (%)", [slo.budget_left(kind) for kind in kinds], days=WINDOW_DAYS, as_number=True
            ),
            Graph("Bad answers (%)", [replace(slo.bad_percent(kind, FIVE_MINUTES), label=kind.lower()) for kind in kinds]),
            Graph("Public endpoints down", [uptime.endpoints, uptime.challenged]),
            Graph("Response time of public endpoints (ms)", [answer_time]),
        ],
    )


def _edge(edge: EdgeAlarms, region: str) -> Section:
    return Section(
        "Edge: CloudFront and WAF",
        [edge.failing, edge.blocks, *([edge.latency] if edge.latency else [])],
        [
            Graph("Requests", [edge.requests], region),
            Graph("5xx of CloudFront (%)", [edge.errors], region),
            *([Graph("Origin latency, p90 (ms)", [edge.latency], region)] if edge.latency else []),
            Graph("Blocked by WAF (%)", [edge.blocks], region),
        ],
    )


def _balancer(balancer: LoadBalancer, service: ServiceAlarms) -> Section:
    return Section(
        "Load balancer and its targets",
        [service.server_errors, service.unhealthy, service.slow],
        [
            Graph("Requests per minute", [balancer.metric("RequestCount", label="requests")]),
            Graph("5xx per minute", [service.server_errors, service.unreachable]),
            Graph("Response time (s)", [_median(service.slow), service.slow]),
            Graph("Targets", [balancer.metric_of_targets("HealthyHostCount", statistic="Minimum", label="healthy"), service.unhealthy]),
        ],
    )


def _service(service: ServiceAlarms) -> Section:
    return Section(
        "Service: tasks",
        [service.overloaded, service.memory],
        [
            Graph("CPU of tasks (%)", [service.cpu]),
            Graph("Memory of tasks (%)", [service.memory]),
            Graph("Running tasks", [service.at_maximum or service.running]),
            *([Graph("Missing tasks", [service.tasks_missing])] if service.tasks_missing else []),
        ],
    )


def _database(database: DatabaseAlarms) -> Section:
    return Section(
        "Database: PostgreSQL",
        [database.down, database.overloaded, database.storage, database.transaction, database.transaction_ids, database.deadlocks],
        [
            Graph("Database answers the probe", [database.unreachable]),
            Graph("CPU (%)", [database.cpu]),
            Graph("Connections", [database.connections]),
            Graph("Free memory (bytes)", [database.free_memory]),
            Graph("Longest transaction (s)", [database.transaction]),
            Graph("Disk latency (s)", [database.read_latency, database.write_latency.metric]),
            Graph("Free storage (bytes)", [database.storage]),
            Graph("Days until the disk is full", [database.days_until_full], days=7),
            Graph("Transaction ids used (%)", [database.transaction_ids], days=7),
            Graph("Deadlocks in five minutes", [database.deadlocks]),
            Graph("Replication lag (s)", [database.replication_lag]),
            *([Graph("CPU credits", [database.credits])] if database.credits else []),
        ],
    )


def _proxy_and_redis(database: DatabaseAlarms, cache: CacheAlarms) -> Section:
    titles = ("Wait for a connection (µs)", "Pinned connections (% of maximum)", "Clients of RDS Proxy")
    return Section(
        "RDS Proxy and Redis" if database.proxy_unreachable else "Redis",
        [database.connections, cache.down],
        [
            *([Graph("RDS Proxy answers the probe", [database.proxy_unreachable])] if database.proxy_unreachable else []),
            *(Graph(title, [alarm]) for title, alarm in zip(titles, database.pool)),  # noqa: B905 (none without a proxy)
            Graph("Redis answers the probe", [cache.down]),
            Graph("Memory of Redis (%)", [cache.memory]),
            Graph("Evictions in five minutes", [cache.evictions]),
            Graph("CPU of Redis (%)", [cache.cpu]),
            *([Graph("Replication lag of Redis (s)", [cache.lag])] if cache.lag else []),
        ],
    )


def _staleness(staleness: StalenessAlarms) -> Section:
    graphs: dict[str, Sequence[Shown]] = {}
    if staleness.backup and staleness.drill and staleness.backup_shrunk:
        daily, weekly, monthly = staleness.backup.children
        graphs = {
            "Daily backup (hours)": [daily],
            "Weekly and monthly backup (hours)": [weekly, monthly],
            "Size of the newest backup (% of median)": [staleness.backup_shrunk],
            "Restore drill (days)": staleness.drill.children,
        }
    graphs |= {
        "Maintenance (days)": staleness.maintenance.children,
        "Rotation (days)": staleness.rotation.children,
    }
    return Section(
        "Time since backup, drill, maintenance and rotation",
        staleness.notifying,
        [Graph(title, shown, days=STALENESS_DAYS) for title, shown in graphs.items()],
    )


def _functions(stack: str, functions: Sequence[Alarm]) -> Section:
    def search(metric: str, statistic: str) -> str:
        return f"SEARCH('{{AWS/Lambda,FunctionName}} MetricName=\"{metric}\" FunctionName=\"{stack}\"', '{statistic}', {FIVE_MINUTES})"

    return Section(
        "Functions",
        functions[:1],
        [
            Graph("Errors", [search("Errors", "Sum")]),
            Graph("Throttles", [search("Throttles", "Sum")]),
            Graph("Duration (ms)", [search("Duration", "Maximum")]),
        ],
    )


def _median(slow: Alarm) -> Metric:
    assert isinstance(slow.metric, Metric)
    return replace(slow.metric, statistic="p50", label="p50 (s)")


def _status(title: str, alarms: Sequence[Alarm]) -> dict[str, Any]:
    return {"type": "alarm", "properties": {"title": title, "alarms": [alarm.arn for alarm in alarms], "sortBy": "stateUpdatedTimestamp"}}


def _place(widget: dict[str, Any], x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"x": x, "y": y, "width": width, "height": height, **widget}


def _metric_widget(graph: Graph) -> dict[str, Any]:
    shown = [item for item in graph.shown if item is not None]
    lines = [line for number, item in enumerate(shown) for line in _lines(item, number)]
    properties: dict[str, Any] = {"title": graph.title, "region": graph.region, "view": "timeSeries", "metrics": lines}
    if graph.days:
        properties |= {"start": f"-P{graph.days}D", "end": "P0D"}
    if graph.as_number:
        properties |= {"view": "singleValue", "setPeriodToTimeRange": True, "sparkline": False}
    thresholds = {item.threshold: item for item in shown if isinstance(item, Alarm) and item.threshold is not None}
    if thresholds:
        drawn = [{"value": value, "label": "alarm", "color": THRESHOLD_COLOUR} for value in thresholds]
        properties |= {"annotations": {"horizontal": drawn}, "yAxis": {"left": {"min": 0}}}
    return {"type": "metric", "properties": properties}


def _lines(item: Alarm | AlarmMetric | str, number: int) -> list[list[Any]]:
    """Return the graph lines of one item. `number` makes the ids of expressions unique."""
    if isinstance(item, str):
        return [[{"expression": item, "id": f"found{number}", "label": ""}]]
    watched = item.metric if isinstance(item, Alarm) else item
    assert watched is not None
    if isinstance(watched, Metric):
        return [_line(watched, {"label": watched.label or watched.name})]
    ids = {key: f"{key}{number}" for key in watched.metrics}
    text = re.sub(r"\b(" + "|".join(ids) + r")\b", lambda found: ids[found[0]], watched.text)
    hidden = [_line(metric, {"id": ids[key], "visible": False}) for key, metric in watched.metrics.items()]
    return [[{"expression": text, "id": f"shown{number}", "label": watched.label}], *hidden]


def _line(metric: Metric, more: dict[str, Any]) -> list[Any]:
    dimensions = [part for pair in metric.dimensions.items() for part in pair]
    return [metric.namespace, metric.name, *dimensions, {"stat": metric.statistic, "period": metric.period_seconds, **more}]
