"""Saved CloudWatch Logs Insights queries for runbooks, in the console below the environment's name.

The application's fields are those of docs/logging.md. Lines without a field are found too; their column stays empty.
Source: CloudWatch Logs User Guide, "Logs Insights QL"; WAF Developer Guide, "Log fields".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import aws_logs as logs
from constructs import Construct


@dataclass(frozen=True)
class SavedQuery:
    """`steps` are commands of Logs Insights QL; `parameters` maps each `{{name}}` in a step to its description."""

    name: str
    steps: Sequence[str]
    parameters: Mapping[str, str] = field(default_factory=dict)


_MESSAGE = "coalesce(msg, message, @message) as what"
REQUEST_ID = {"requestId": "The request's x-request-id: in the application's log, or on the user's error page"}

APPLICATION = (
    SavedQuery(
        "Slowest requests",
        [
            "fields @timestamp, durationMs, status, method, path, userId, requestId",
            "filter ispresent(durationMs)",
            "sort durationMs desc",
            "limit 50",
        ],
    ),
    SavedQuery(
        "Slowest pages",
        [
            "filter ispresent(durationMs)",
            "stats count(*) as requests, pct(durationMs, 95) as p95, max(durationMs) as slowest by method, path",
            "sort p95 desc",
            "limit 30",
        ],
    ),
    SavedQuery(
        "Error groups",
        [
            'filter level in ["error", "fatal"] or (not ispresent(level) and @message like /(?i)error|exception|unhandled/)',
            f"fields {_MESSAGE}, err.type as kind",
            "stats count(*) as errors, latest(@timestamp) as last, latest(requestId) as example by kind, what",
            "sort errors desc",
            "limit 50",
        ],
    ),
    SavedQuery(
        "Requests of one user",
        [
            'filter userId = "{{userId}}"',
            f"fields @timestamp, level, {_MESSAGE}, method, path, status, durationMs, requestId",
            "sort @timestamp asc",
            "limit 1000",
        ],
        {"userId": "The user's id in the application's log"},
    ),
    SavedQuery(
        "Log of one request",
        [
            'filter @message like "{{requestId}}"',  # also finds stack traces on separate lines and lines of other libraries
            f"fields @timestamp, level, {_MESSAGE}, err.stack, status, durationMs",
            "sort @timestamp asc",
            "limit 1000",
        ],
        REQUEST_ID,
    ),
)
FIREWALL = (
    SavedQuery(
        "Refused requests by rule and address",
        [
            'filter action = "BLOCK"',
            "stats count(*) as requests, latest(httpRequest.uri) as path, latest(labels.0.name) as label"
            " by terminatingRuleId, httpRequest.clientIp, httpRequest.country",
            "sort requests desc",
            "limit 50",
        ],
    ),
    SavedQuery(
        "Refused requests by path",
        [
            'filter action = "BLOCK"',
            "stats count(*) as requests, count_distinct(httpRequest.clientIp) as addresses by terminatingRuleId, httpRequest.uri",
            "sort requests desc",
            "limit 50",
        ],
    ),
    SavedQuery(
        "One refused request",
        [
            'filter httpRequest.requestId = "{{requestId}}"',
            "fields @timestamp, action, terminatingRuleId, labels.0.name, httpRequest.clientIp, httpRequest.httpMethod, httpRequest.uri",
        ],
        REQUEST_ID,
    ),
)
FUNCTIONS = (
    SavedQuery(
        "Failures",
        [
            'filter level in ["ERROR", "CRITICAL"] or record.status in ["error", "failure", "timeout"]',
            "fields @timestamp, service, coalesce(message, errorMessage, record.status, @message) as what, function_request_id",
            "sort @timestamp desc",
            "limit 100",
        ],
    ),
    SavedQuery(
        "Log of one run",
        ['filter @message like "{{runId}}"', "fields @timestamp, level, @message", "sort @timestamp asc", "limit 1000"],
        {"runId": "The run's function_request_id, from the query Failures"},
    ),
)


class SavedQueries(Construct):
    """`queries` over `log_groups` of the same stack. The slashes of `<environment>/<folder>/<query>` are folders in the console."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        folder: str,
        log_groups: Sequence[logs.ILogGroup],
        queries: Sequence[SavedQuery],
    ) -> None:
        super().__init__(scope, construct_id)
        names = [group.log_group_name for group in log_groups]
        for query in queries:
            logs.CfnQueryDefinition(
                self,
                "".join(letter for letter in query.name.title() if letter.isalnum()),
                name=f"{environment}/{folder}/{query.name}",
                query_string="\n| ".join(query.steps),
                log_group_names=names,
                parameters=[
                    logs.CfnQueryDefinition.QueryParameterProperty(name=name, description=description)
                    for name, description in query.parameters.items()
                ]
                or None,
            )
