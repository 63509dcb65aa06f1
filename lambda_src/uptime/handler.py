"""Every minute, from outside: does each endpoint answer as it should, within its deadline, and how long does the certificate last.

Metrics, not messages: alarms decide what is bad. One line of the log for each endpoint that failed says in words why.

`EndpointsDown` counts those that failed, the placeholder's answers apart: a new environment has nothing to be up until its first
image, and `EndpointsAwaitingImage` says so. `EndpointUp` is what a user sees, 0 in both cases.
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
    """Asks all of `ENDPOINTS` (JSON) at `SITE_URL`; answers with path → what is wrong, of those that are not up."""
    environment = os.environ["ENVIRONMENT"]
    metrics.set_default_dimensions(Environment=environment)
    site = _site(os.environ["SITE_URL"], environment, os.environ.get("UPTIME_CA_FILE"))
    results = check_all(Endpoint.all_in(os.environ["ENDPOINTS"]), site)
    for result in results:
        _tell(result, environment)
    awaiting = sum(result.awaits_image for result in results)
    metrics.add_metric("EndpointsDown", MetricUnit.Count, sum(result.reason is not None for result in results) - awaiting)
    metrics.add_metric("EndpointsAwaitingImage", MetricUnit.Count, awaiting)
    days = [result.certificate_days for result in results if result.certificate_days is not None]
    if days:
        metrics.add_metric("CertificateDays", MetricUnit.NoUnit, min(days))
    return {result.endpoint: result.reason for result in results if result.reason}


@cache
def _site(url: str, environment: str, ca_file: str | None) -> Site:
    """Once a process: reading the authorities takes longer than a check."""
    return Site.at(url, f"carmen-uptime (environment {environment})", ca_file=ca_file)


def _tell(result: Result, environment: str) -> None:
    """The endpoint's own metrics, the steps beside them as fields of the log; and a line when it is not up."""
    published = EphemeralMetrics(namespace="Carmen", service="uptime")
    published.add_dimension("Environment", environment)
    published.add_dimension("Endpoint", result.endpoint)
    published.add_metric("EndpointUp", MetricUnit.Count, int(result.reason is None))
    if result.reason is None:  # a failure may be quick, and says nothing of how fast the endpoint is
        published.add_metric("EndpointMilliseconds", MetricUnit.Milliseconds, result.milliseconds["total"])
    published.add_metadata("milliseconds", result.milliseconds)
    published.add_metadata("request_id", result.request_id)
    published.flush_metrics()
    if result.reason:
        told = logger.info if result.awaits_image else logger.error
        told(
            "endpoint is not up",
            endpoint=result.endpoint,
            reason=result.reason,
            step=result.step,
            status=result.status,
            milliseconds=result.milliseconds,
            request_id=result.request_id,
        )
