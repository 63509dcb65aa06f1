"""AWS clients, one per process, built for a fast cold start (`make bench-functions`).

Uses botocore alone: `import boto3` adds file transfers and resources, which no function needs at its start.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def session() -> Any:
    """The botocore session. Credentials and region come from the usual places."""
    from botocore.session import get_session

    from common.service_models import FileLoader, ServiceLoader

    new = get_session()
    new.register_component("data_loader", ServiceLoader(file_loader=FileLoader()))
    return new


@cache
def client(service: str, region: str | None = None, *, short_timeouts: bool = False) -> Any:
    """The process's client of a service in service_models.SERVICES.

    `short_timeouts` leave time to clean up. Threads may use the client, but create it before they start.
    """
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": 4}
    config = Config(connect_timeout=5, read_timeout=30, retries=retries) if short_timeouts else None
    return session().create_client(service, region_name=region, config=config)
