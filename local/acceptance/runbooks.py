"""Runs what runbooks look at: each `aws … describe, list or get` that needs nobody to fill anything in, and each SELECT."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jmespath
from botocore import xform_name
from botocore.exceptions import ClientError
from pg8000.native import Connection

from local.acceptance.runbook_parser import MARK, AwsCall, aws_call, pages, to_fill_in
from local.deployment import Deployment
from tools.cli.commands.names import names

# What the emulator answers for an operation or a whole service that it does not have.
LACKING = ("400", "InvalidAction", "UnknownOperationException")
ACTING = ("pg_terminate_backend", "pg_cancel_backend", "pg_drop_replication_slot")
OF_THE_TASK = {"REDIS_HOST": "redis", "REDIS_PORT": "6379"}  # variables of a session of the operations task


def run(deployment: Deployment, application: Connection) -> str:
    """What was run; raises what the emulator or PostgreSQL refuses for another reason than that it lacks the operation."""
    client = cache(deployment.client)
    variables = names(deployment.deployed) | OF_THE_TASK
    counts: Counter[str] = Counter()
    lacking: set[str] = set()
    for page in pages():
        printed: dict[str, str] = {}  # mark → what the command printed
        for command in page.commands(variables):
            words = _filled(command.words, printed)
            if to_fill_in(command) or any(MARK.search(word) for word in words):
                counts["open"] += words[0] in ("aws", "psql")
            elif words[0] == "psql" and "-c" in words:
                counts["queries"] += _selected(application, words[words.index("-c") + 1])
            elif words[0] == "aws" and (call := aws_call(words)).reads:
                try:
                    printed[command.mark] = _shown(_asked(client, call), call.query)
                    counts["calls"] += 1
                except ClientError as error:
                    if error.response["Error"]["Code"] not in LACKING:
                        raise
                    lacking.add(f"{call.service} {call.operation}")
            else:
                counts["acting"] += words[0] == "aws"
    return (
        f"of the runbooks' commands, {counts['calls']} calls that look and {counts['queries']} queries ran; {counts['open']} wait for a person "
        f"to fill them in, {counts['acting']} act and were parsed only; the emulator lacks {', '.join(sorted(lacking)) or 'none'}"
    )


def _filled(words: Sequence[str], printed: Mapping[str, str]) -> list[str]:
    """With what commands before it have printed."""
    return [MARK.sub(lambda mark: printed.get(mark.group(), mark.group()), word) for word in words]


def _selected(application: Connection, sql: str) -> bool:
    """Whether it was run: a SELECT that only looks, as the application, as which the operations shell logs in."""
    if not sql.startswith("SELECT") or any(function in sql for function in ACTING):
        return False
    application.run(sql)
    return True


def _asked(client: Callable[..., Any], call: AwsCall) -> Any:
    """The answer, all pages of it."""
    if (call.service, call.operation) == ("logs", "tail"):
        pattern = {"filterPattern": call.parameters["--filter-pattern"]} if "--filter-pattern" in call.parameters else {}
        (group,) = call.parameters["words"]
        return client("logs").filter_log_events(logGroupName=group, startTime=int((time.time() - 86_400) * 1000), **pattern)
    if (call.service, call.operation) == ("s3", "ls"):
        bucket, _, prefix = call.parameters["words"][0].removeprefix("s3://").partition("/")
        return client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    assert call.model
    api, method = client(call.service, **({"region_name": call.region} if call.region else {})), xform_name(call.model.name)
    if api.can_paginate(method):
        return api.get_paginator(method).paginate(**call.parameters).build_full_result()
    return getattr(api, method)(**call.parameters)


def _shown(answer: Any, query: str) -> str:
    """As `--output text` would print it."""
    found = jmespath.search(query, answer) if query else answer
    return "\t".join(map(str, found)) if isinstance(found, list) else str(found)
