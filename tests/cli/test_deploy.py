"""`./carmen deploy` while CloudFormation works on a stack of the environment."""

from __future__ import annotations

from typing import Any

import pytest

from settings.loader import load
from tools.cli.commands import deployment
from tools.environment import Deployed, FailedError


class CloudFormation:
    """Stacks in progress at each question, one list after the other, then always the last."""

    def __init__(self, *answers: dict[str, str]) -> None:
        self._answers = list(answers)

    def get_paginator(self, name: str) -> CloudFormation:
        assert name == "list_stacks"
        return self

    def paginate(self, *, StackStatusFilter: list[str]) -> list[dict[str, Any]]:
        stacks = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        assert "REVIEW_IN_PROGRESS" not in StackStatusFilter
        assert set(stacks.values()) <= set(StackStatusFilter)
        return [{"StackSummaries": [{"StackName": name, "StackStatus": status} for name, status in stacks.items()]}]


def wait(*answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.reports.drift.lookup_client", lambda *_: CloudFormation(*answers))
    deployment.wait_for_others(Deployed(load("prod"), None))


def test_deployment_waits_for_a_cancelled_one(
    waited: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = {"CarmenProdService": "UPDATE_IN_PROGRESS", "CarmenStaging": "CREATE_IN_PROGRESS"}
    wait(busy, busy, {"CarmenStaging": "CREATE_IN_PROGRESS"}, monkeypatch=monkeypatch)
    assert len(waited) == 2
    shown = capsys.readouterr().out
    assert shown.count("waiting: CarmenProdService is UPDATE_IN_PROGRESS in us-east-1") == 1
    assert "CarmenStaging" not in shown


def test_deployment_gives_up_after_an_hour(waited: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailedError, match=r"Nothing was changed: CarmenProd is DELETE_IN_PROGRESS in us-east-1 for an hour"):
        wait({"CarmenProd": "DELETE_IN_PROGRESS"}, monkeypatch=monkeypatch)
    assert 3_600 < sum(waited) < 3_700
