"""Clients of AWS's services: one a process, and no dearer at a cold start than they must be (`make bench-functions`).

botocore alone: what `import boto3` adds to it, transfers of files and resources, nothing needs at the start.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def session() -> Any:
    """botocore's session: credentials and region as it finds them."""
    from botocore.session import get_session

    from common.service_models import FileLoader, ServiceLoader

    found = get_session()
    found.register_component("data_loader", ServiceLoader(file_loader=FileLoader()))
    return found


@cache
def client(service: str, region: str | None = None, *, patient: bool = True) -> Any:
    """The process's client of one of service_models.SERVICES.

    Not `patient`: with time-outs that leave room to tidy up. Threads may use it; several must not be the first to ask for it.
    """
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": 4}
    config = None if patient else Config(connect_timeout=5, read_timeout=30, retries=retries)
    return session().create_client(service, region_name=region, config=config)
