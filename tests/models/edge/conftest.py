"""A distribution with redirects and rewrites, and one process that runs viewer functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.constructs.edge.conftest import distribution
from tests.models.edge.functions import Runtime

RULES: dict[str, Any] = {
    "redirects": [
        {"source": "/dashboard/", "destination": "/dashboard"},
        {"source": "/", "destination": "/start", "permanent": False},
        {"source": "/shop", "destination": "/procurement/catalogue"},
        {"source": "/a(b)+c", "destination": "/plain"},
        {"source": "/caf%C3%A9", "destination": "/cafe"},
        {"source": "/constructor", "destination": "/builders"},
        {"source": "/images/old.png", "destination": "/images/new.png"},
        {"source": "/old:path;v=1,2@x", "destination": "/new:path;v=3,4@y"},
    ],
    "rewrites": [
        {"source": "/healthz", "destination": "/api/health/live"},
        {"source": "/__proto__", "destination": "/prototype"},
        {"source": "/images/logo.png", "destination": "/images/logo-2026.png"},
        {"source": "/logo", "destination": "/images/logo.png"},
        {"source": "/_next/static/v1/app.js", "destination": "/_next/static/v2/app.js"},
        {"source": "/start/here", "destination": "/dashboard/"},
    ],
}


@pytest.fixture(scope="session")
def with_rules() -> dict[str, Any]:
    """The template of a distribution with redirects and rewrites of many shapes."""
    return distribution(**RULES).body


@pytest.fixture(scope="session")
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime
