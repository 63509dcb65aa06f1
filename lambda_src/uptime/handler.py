"""Every minute, from outside: whether each endpoint answers correctly within its deadline, and how long the certificate is valid.

Publishes metrics; alarms evaluate them. One log line per failed endpoint gives the reason.

`EndpointsDown` counts failed endpoints without the placeholder's answers: until its first image a new environment has no endpoint
that could be up. `EndpointsAwaitingImage` counts those. `EndpointUp` is the users' view, 0 in both cases.

In attack mode the firewall answers pages with a challenge, which says nothing about them: `EndpointsChallenged` counts these, and they are
neither up nor down. Endpoints below /api/ are not challenged; they show an outage (ADR 0027).
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common.scrubbed_logs import scrubbed_logger

from uptime.checks import Endpoint, Result, check_all
from uptime.exchange import Site

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="uptime")


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Check all `ENDPOINTS` (JSON) at `SITE_URL`. Return the reasons by path of those that are not up."""
    environment = os.environ["ENVIRONMENT"]
    metrics.set_default_dimensions(Environment=environment)
    site = _site(os.environ["SITE_URL"], environment)
    results = check_all(Endpoint.parse_list(os.environ["ENDPOINTS"]), site)
    for result in results:
        _publish(result, environment)
    awaiting, challenged = (sum(getattr(result, state) for result in results) for state in ("awaits_image", "challenged"))
    metrics.add_metric("EndpointsDown", MetricUnit.Count, sum(result.reason is not None for result in results) - awaiting - challenged)
    metrics.add_metric("EndpointsAwaitingImage", MetricUnit.Count, awaiting)
    if challenged:  # a metric costs for each hour with data
        metrics.add_metric("EndpointsChallenged", MetricUnit.Count, challenged)
    days = [result.certificate_days for result in results if result.certificate_days is not None]
    if days:
        metrics.add_metric("CertificateDays", MetricUnit.NoUnit, min(days))
    return {result.endpoint: result.reason for result in results if result.reason}


@cache
def _site(url: str, environment: str) -> Site:
    """Cached, because reading the authorities takes longer than a check."""
    return Site.at(url, f"carmen-uptime (environment {environment})")


def _publish(result: Result, environment: str) -> None:
    """Publish the endpoint's metrics, with the steps as fields of the same line. Log a line if it is not up."""
    if not result.challenged:
        published = EphemeralMetrics(namespace="Carmen", service="uptime")
        published.add_dimension("Environment", environment)
        published.add_dimension("Endpoint", result.endpoint)
        published.add_metric("EndpointUp", MetricUnit.Count, int(result.reason is None))
        if result.reason is None:  # the time of a failure is not the endpoint's response time
            published.add_metric("EndpointMilliseconds", MetricUnit.Milliseconds, result.milliseconds["total"])
        published.add_metadata("milliseconds", result.milliseconds)
        published.add_metadata("request_id", result.request_id)
        published.flush_metrics()
    if result.reason:
        log = logger.info if result.awaits_image or result.challenged else logger.error
        log(
            "endpoint is not up",
            endpoint=result.endpoint,
            reason=result.reason,
            step=result.step,
            status=result.status,
            milliseconds=result.milliseconds,
            request_id=result.request_id,
        )
