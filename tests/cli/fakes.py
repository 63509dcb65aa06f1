"""A deployed production environment whose AWS returns the answers of a test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from settings.loader import load
from tools.environment import Deployed

REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/carmen"
DIGEST = "sha256:" + "a" * 64
CONTAINERS = {"ReleaseFiles": {"copy": "old", "release_files": "python"}, "Migration": {"migration": "old"}}
OUTPUTS = {
    **{"ImageRepository": REPOSITORY, "ImageParameter": "/carmen/prod/image", "Cluster": "c", "Service": "s"},
    **{f"{name}Task": name for name in CONTAINERS},
}
TOP_STACK = {
    "Stacks": [
        {
            "CreationTime": datetime(2026, 11, 20, tzinfo=UTC),
            "StackStatus": "UPDATE_COMPLETE",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()],
        }
    ]
}


class Aws:
    """Returns the answers of a test; another call fails."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def client(self, service: str, **_: Any) -> Aws:
        return self

    def get_paginator(self, method: str) -> Aws:
        return Aws(paginate=self._answers[method])

    def __getattr__(self, method: str) -> Any:
        answer = self._answers[method]
        return lambda **_: answer


def deployed(**answers: Any) -> Deployed:
    return Deployed(load("prod"), Aws(describe_stacks=TOP_STACK, describe_scalable_targets={"ScalableTargets": []}, **answers))
