"""Rotates the credentials that are due, or the requested kind: `{"rotate": "application"}`, `"owner"` or `"redis"`.

`{"action": "ages"}`, four times an hour, only publishes the credentials' ages.
"""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import Any

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import aws
from common.scrubbed_logs import scrubbed_logger

from rotation.alternation import Rotation
from rotation.database_login import ApplicationLogin, Database, OwnerLogin
from rotation.redis_token import RedisToken
from rotation.service import Service

RESERVE_SECONDS = 30.0  # for a clean end before Lambda's time-out

logger = scrubbed_logger()
metrics = Metrics(namespace="Carmen", service="rotation")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Called by the daily schedule or an operator. Waiting is not a failure: the next run continues."""
    begun = time.monotonic()
    deadline = begun + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    rotation = _rotation()
    requested = event.get("rotate")
    kinds = [credential.kind for credential in rotation.credentials]
    if requested is not None and requested not in kinds:
        raise ValueError(f'"rotate" is {requested!r}; it must be one of {", ".join(kinds)}')
    metrics.set_default_dimensions(Environment=os.environ["ENVIRONMENT"])
    if event.get("action") == "ages":
        _publish_ages(rotation)
        return {"rotated": [], "waiting": ""}
    try:
        outcome = rotation.run(deadline, requested)
    except Exception:
        metrics.add_metric("RotationFailed", MetricUnit.Count, 1)
        raise
    metrics.add_metric("RotationSucceeded", MetricUnit.Count, 1)
    metrics.add_metric("RotationSeconds", MetricUnit.Seconds, time.monotonic() - begun)
    logger.info("rotation run ended", rotated=outcome.rotated, waiting=outcome.waiting)
    _publish_ages(rotation)
    return {"rotated": list(outcome.rotated), "waiting": outcome.waiting}


def _publish_ages(rotation: Rotation) -> None:
    for kind, age in rotation.ages().items():
        with single_metric("RotationAgeDays", MetricUnit.NoUnit, age / timedelta(days=1), namespace="Carmen") as own:
            own.add_dimension("service", "rotation")
            own.add_dimension("Environment", os.environ["ENVIRONMENT"])
            own.add_dimension("Kind", kind)


def _rotation() -> Rotation:
    environment = os.environ
    secrets_manager, ecs = aws.client("secretsmanager"), aws.client("ecs")
    database = Database(
        host=environment["DATABASE_HOST"],
        proxy_host=environment["PROXY_HOST"],
        port=int(environment["DATABASE_PORT"]),
        name=environment["DATABASE_NAME"],
    )
    service = Service(ecs=ecs, cluster=environment["CLUSTER"], name=environment["SERVICE"])
    connection = environment["CONNECTION_SECRET"]
    return Rotation(
        secrets_manager=secrets_manager,
        connection=connection,
        database=database,
        service=service,
        credentials=(
            ApplicationLogin(
                secrets_manager=secrets_manager,
                database=database,
                connection=connection,
                users=json.loads(environment["APPLICATION_SECRETS"]),
            ),
            OwnerLogin(
                secrets_manager=secrets_manager,
                database=database,
                migration=environment["MIGRATION_SECRET"],
                service=service,
                family=environment["MIGRATION_FAMILY"],
            ),
            RedisToken(
                secrets_manager=secrets_manager,
                replication_group=environment["REPLICATION_GROUP"],
                host=environment["REDIS_HOST"],
                port=int(environment["REDIS_PORT"]),
                token=environment["REDIS_SECRET"],
                connection=connection,
            ),
        ),
        due_after={kind: timedelta(days=days) for kind, days in json.loads(environment["ROTATE_AFTER_DAYS"]).items()},
    )
