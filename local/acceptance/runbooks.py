"""Run the runbooks' reading commands: each `aws … describe, list or get` without a placeholder, and each SELECT."""

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

from local.acceptance.runbook_parser import MARK, AwsCall, aws_call, pages, placeholders
from local.deployment import Deployment
from tools.cli.commands.names import names

# Error codes of the emulator for an operation or service that it does not have.
MISSING = ("400", "InvalidAction", "UnknownOperationException")
WRITING_FUNCTIONS = ("pg_terminate_backend", "pg_cancel_backend", "pg_drop_replication_slot")
TASK_VARIABLES = {"REDIS_HOST": "redis", "REDIS_PORT": "6379"}  # variables inside the operations task


def run(deployment: Deployment, application: Connection) -> str:
    """Run the commands and count them; raise what the emulator or PostgreSQL refuses, except operations that the emulator lacks."""
    client = cache(deployment.client)
    variables = names(deployment.deployed) | TASK_VARIABLES
    counts: Counter[str] = Counter()
    lacking: set[str] = set()
    for page in pages():
        printed: dict[str, str] = {}  # mark → what the command printed
        for command in page.commands(variables):
            words = _fill_in(command.words, printed)
            if placeholders(command) or any(MARK.search(word) for word in words):
                counts["open"] += words[0] in ("aws", "psql")
            elif words[0] == "psql" and "-c" in words:
                counts["queries"] += _select(application, words[words.index("-c") + 1])
            elif words[0] == "aws" and (call := aws_call(words)).reads:
                try:
                    printed[command.mark] = _as_text(_call(client, call), call.query)
                    counts["calls"] += 1
                except ClientError as error:
                    if error.response["Error"]["Code"] not in MISSING:
                        raise
                    lacking.add(f"{call.service} {call.operation}")
            else:
                counts["acting"] += words[0] == "aws"
    return (
        f"runbook commands: {counts['calls']} reading calls and {counts['queries']} queries ran; {counts['open']} contain a placeholder and "
        f"{counts['acting']} change something: parsed only; the emulator lacks {', '.join(sorted(lacking)) or 'none'}"
    )


def _fill_in(words: Sequence[str], printed: Mapping[str, str]) -> list[str]:
    """The words with the output of earlier commands filled in."""
    return [MARK.sub(lambda mark: printed.get(mark.group(), mark.group()), word) for word in words]


def _select(application: Connection, sql: str) -> bool:
    """Run a SELECT that only reads, as the application, like the operations shell; return whether it ran."""
    if not sql.startswith("SELECT") or any(function in sql for function in WRITING_FUNCTIONS):
        return False
    application.run(sql)
    return True


def _call(client: Callable[..., Any], call: AwsCall) -> Any:
    """The complete answer, all pages."""
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


def _as_text(answer: Any, query: str) -> str:
    """The answer as `--output text` prints it."""
    found = jmespath.search(query, answer) if query else answer
    return "\t".join(map(str, found)) if isinstance(found, list) else str(found)
