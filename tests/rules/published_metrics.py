"""What is published of each metric that an alarm or a graph uses, and how, by the documentation of the service.

CloudWatch aggregates every data point in a period. A gauge that is published each minute therefore counts five times in a Sum over five
minutes, and a period shorter than the publishing interval has gaps. A metric without a row here fails `metrics_are_used_as_published`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MINUTE, FIVE_MINUTES, QUARTER_HOUR = 60, 300, 900
Kind = Literal["gauge", "counter", "latency"]
PERCENTILE = r"p\d+(\.\d+)?|PR\(:[\d.]+\)"
# The statistics that make sense at any period of at least the publishing interval.
STATISTICS: dict[Kind, str] = {
    "gauge": "Average|Minimum|Maximum",  # a value at one moment; its Sum depends on how often it is published
    "counter": "Sum",  # events since the last data point; ALB: "Minimum, Maximum, and Average all return 1"
    "latency": f"Average|Minimum|Maximum|{PERCENTILE}",
}
SYMBOLS = {"Seconds": "s", "Milliseconds": "ms", "Microseconds": "µs", "Percent": "%", "Bytes": "bytes", "Hours": "hours", "Days": "days"}
# Thresholds outside are mistaken by a factor of a thousand: milliseconds compared with seconds, for example.
PLAUSIBLE = {
    "Seconds": (0.001, 86_400),
    "Milliseconds": (50, 1e6),
    "Microseconds": (1000, 1e8),
    "Percent": (0, 100),
    "Bytes": (10e6, 1e14),
    "Hours": (1, 5000),
    "Days": (1, 400),
}

AWS = "https://docs.aws.amazon.com/"
RDS = f"{AWS}AmazonRDS/latest/UserGuide/rds-metrics.html"  # one-minute periods: monitoring-cloudwatch.html
PROXY = f"{AWS}AmazonRDS/latest/UserGuide/rds-proxy.monitoring.html"
CACHE = f"{AWS}AmazonElastiCache/latest/dg/CacheMetrics.html"  # "published for each Cache node in 60-second intervals"
BALANCER = f"{AWS}elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html"  # "in 60-second intervals"
ECS = f"{AWS}AmazonECS/latest/developerguide/available-metrics.html"  # "every minute"
INSIGHTS = f"{AWS}AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html"
CLOUDFRONT = f"{AWS}AmazonCloudFront/latest/DeveloperGuide/programming-cloudwatch-metrics.html"  # one valid statistic for each
FIREWALL = f"{AWS}waf/latest/developerguide/waf-metrics.html"  # "once a minute"; "there is a nonzero value"
LAMBDA = f"{AWS}lambda/latest/dg/monitoring-metrics-types.html"  # "in 1-minute intervals"
QUEUES = f"{AWS}AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-monitoring-using-cloudwatch.html"  # "at one-minute intervals"
PROBE = "lambda_src/probe: the schedule Minutely"
AGES = "lambda_src/probe and lambda_src/rotation: the schedules MeasureAges"
UPTIME = "lambda_src/uptime: the schedule Minutely"


@dataclass(frozen=True)
class Published:
    """One metric. `seconds` is its publishing interval; `at_interval` are statistics that are right only at this period.

    `sparse`: no data point is published while there is nothing to report, so missing data is normal.
    """

    kind: Kind
    unit: str
    dimensions: str  # names, in alphabetical order
    source: str
    seconds: int = MINUTE
    statistics: str = ""  # fewer than those of its kind
    at_interval: str = ""
    sparse: bool = False

    def misuse(self, statistic: str, period: int, dimensions: set[str]) -> Iterator[str]:
        """Yield what is wrong with using the metric with this statistic, over this many seconds, and these names of dimensions."""
        if period < self.seconds or period % self.seconds:
            yield f"is read every {period} s and published every {self.seconds} s"
        allowed = self.statistics or STATISTICS[self.kind]
        if not re.fullmatch(allowed, statistic):
            exact = bool(re.fullmatch(self.at_interval, statistic)) if self.at_interval else False
            if not exact:
                yield f"is a {self.kind}, whose {statistic} means nothing; use {allowed.replace('|', ' or ')}"
            elif period != self.seconds:
                yield f"counts {period / self.seconds:g} times in a {statistic} over {period} s: it is published every {self.seconds} s"
        if dimensions != set(self.dimensions.split()):
            yield f"is published by {self.dimensions}, not by {' '.join(sorted(dimensions))}"


def _instance(unit: str, kind: Kind = "gauge", seconds: int = MINUTE) -> Published:
    return Published(kind, unit, "DBInstanceIdentifier", RDS, seconds)


def _proxy() -> Published:
    """A current number, "reported every minute. The most useful statistic for this metric is Sum": over the proxy's hosts."""
    return Published("gauge", "Count", "ProxyName", PROXY, at_interval="Sum", statistics="(?!)")


def _node(unit: str, kind: Kind = "gauge") -> Published:
    return Published(kind, unit, "CacheClusterId", CACHE)


def _answers(dimensions: str) -> Published:
    return Published("counter", "Count", dimensions, BALANCER, sparse=True)


def _probed(unit: str, kind: Kind = "gauge", at_interval: str = "") -> Published:
    return Published(kind, unit, "Environment service", PROBE, at_interval=at_interval)


def _age(unit: str, dimensions: str = "Environment service") -> Published:
    return Published("gauge", unit, dimensions, AGES, QUARTER_HOUR)


PUBLISHED: dict[str, dict[str, Published]] = {
    "AWS/RDS": {
        "CPUUtilization": _instance("Percent"),
        "CPUCreditBalance": _instance("Count", seconds=FIVE_MINUTES),  # "at a five-minute frequency only"
        "FreeableMemory": _instance("Bytes"),
        "FreeStorageSpace": _instance("Bytes"),
        "DatabaseConnections": _instance("Count"),
        "ReadLatency": _instance("Seconds", "latency"),
        "WriteLatency": _instance("Seconds", "latency"),
        "ClientConnections": _proxy(),
        "DatabaseConnectionsCurrentlySessionPinned": _proxy(),
        "MaxDatabaseConnectionsAllowed": _proxy(),
        "DatabaseConnectionsBorrowLatency": Published("latency", "Microseconds", "ProxyName", PROXY, statistics="Average"),
    },
    "AWS/ElastiCache": {
        "DatabaseMemoryUsageCountedForEvictPercentage": _node("Percent"),
        "EngineCPUUtilization": _node("Percent"),
        "Evictions": _node("Count", "counter"),
        "ReplicationLag": _node("Seconds"),  # only of replicas
    },
    "AWS/ApplicationELB": {
        "RequestCount": _answers("LoadBalancer"),
        "HTTPCode_ELB_5XX_Count": _answers("LoadBalancer"),
        "HTTPCode_Target_5XX_Count": _answers("LoadBalancer TargetGroup"),
        "TargetResponseTime": Published(
            "latency", "Seconds", "LoadBalancer TargetGroup", BALANCER, statistics=f"Average|{PERCENTILE}", sparse=True
        ),
        "HealthyHostCount": Published("gauge", "Count", "LoadBalancer TargetGroup", BALANCER),
        "UnHealthyHostCount": Published("gauge", "Count", "LoadBalancer TargetGroup", BALANCER),
    },
    "AWS/ECS": {
        # "One sample count is actually the aggregate of multiple data points during one minute": one for each running task.
        "CPUUtilization": Published("gauge", "Percent", "ClusterName ServiceName", ECS, at_interval="SampleCount"),
        "MemoryUtilization": Published("gauge", "Percent", "ClusterName ServiceName", ECS),
    },
    "ECS/ContainerInsights": {
        "DesiredTaskCount": Published("gauge", "Count", "ClusterName ServiceName", INSIGHTS),
        "RunningTaskCount": Published("gauge", "Count", "ClusterName ServiceName", INSIGHTS),
    },
    "AWS/CloudFront": {
        "Requests": Published("counter", "None", "DistributionId Region", CLOUDFRONT),
        "5xxErrorRate": Published("gauge", "Percent", "DistributionId Region", CLOUDFRONT, statistics="Average"),
        "OriginLatency": Published("latency", "Milliseconds", "DistributionId Region", CLOUDFRONT, statistics=PERCENTILE, sparse=True),
    },
    "AWS/WAFV2": {
        # Without Region, which CloudFront's web ACLs do not have.
        "AllowedRequests": Published("counter", "Count", "Rule WebACL", FIREWALL, sparse=True),
        "BlockedRequests": Published("counter", "Count", "Rule WebACL", FIREWALL, sparse=True),
    },
    "AWS/Lambda": {
        "Errors": Published("counter", "Count", "FunctionName", LAMBDA, sparse=True),  # none without invocations
        "Throttles": Published("counter", "Count", "FunctionName", LAMBDA, sparse=True),
        "Duration": Published("latency", "Milliseconds", "FunctionName", LAMBDA, sparse=True),
    },
    "AWS/SQS": {
        # An idle queue publishes nothing; after a message it takes up to 15 minutes until it does.
        "ApproximateNumberOfMessagesVisible": Published("gauge", "Count", "QueueName", QUEUES, sparse=True),
    },
    "Carmen": {
        "DatabaseUp": _probed("Count", at_interval="SampleCount"),
        "ProxyUp": _probed("Count"),
        "RedisUp": _probed("Count"),
        "DatabaseLongestTransaction": _probed("Seconds"),
        "DatabaseTransactionIdsUsed": _probed("Percent"),
        "DatabaseDeadlocks": _probed("Count", "counter"),  # since the last probe
        "DatabaseReplicationLag": _probed("Seconds"),
        "TablesBackupCannotRead": _probed("Count"),
        "BackupAgeHoursDaily": _age("Hours"),
        "BackupAgeHoursWeekly": _age("Hours"),
        "BackupAgeHoursMonthly": _age("Hours"),
        "BackupSizeOfMedian": _age("Percent"),
        "DrillAgeDays": _age("Days"),
        "MaintenanceAgeDaysWeekly": _age("Days"),
        "MaintenanceAgeDaysMonthly": _age("Days"),
        "RotationAgeDays": _age("Days", "Environment Kind service"),
        "EndpointsDown": Published("gauge", "Count", "Environment service", UPTIME),
        "EndpointsChallenged": Published("gauge", "Count", "Environment service", UPTIME, sparse=True),  # in attack mode
        "EndpointMilliseconds": Published("latency", "Milliseconds", "Endpoint Environment service", UPTIME, sparse=True),
        "CertificateDays": Published("gauge", "Days", "Environment service", UPTIME),
    },
}
