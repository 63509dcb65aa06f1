"""Checks Carmen's public endpoints every minute."""

from __future__ import annotations

import json

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.foundation.alarm import Alerting
from settings import sections

EVERY_MINUTE = "cron(* * * * ? *)"
MARGIN_SECONDS = 10  # for the function's start; with the longest deadline it must stay below a minute
MEMORY_MIB = 512  # CPU depends on memory: with less, three concurrent TLS handshakes would distort the measured times


class Uptime(Construct):
    """A function outside the VPC, so that requests go over the internet. It publishes metrics; UptimeAlarms evaluates them."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Uptime,
        alerting: Alerting,
        environment: str,
        url: str,
        libraries: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        longest = max(endpoint.deadline_seconds for endpoint in settings.endpoints)
        self.function = PythonFunction(
            self,
            "Function",
            package="uptime",
            description="Checks the public endpoints: status, body, redirects, certificate, response time",
            timeout=Duration.seconds(longest + MARGIN_SECONDS),
            layers=[libraries],
            environment={"ENVIRONMENT": environment, "SITE_URL": url, "ENDPOINTS": endpoints_as_json(settings)},
            memory_mib=MEMORY_MIB,
            alerting=alerting,
            failures_tolerated=2,  # it runs every minute
        )
        self.function.add_schedule("Minutely", EVERY_MINUTE, description="Checks every public endpoint")


def endpoints_as_json(settings: sections.Uptime) -> str:
    """Return the endpoints in the format of lambda_src/uptime."""
    return json.dumps([endpoint.model_dump(mode="json") for endpoint in settings.endpoints], separators=(",", ":"))
