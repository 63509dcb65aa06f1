"""`./carmen account check`: exit codes, JSON, confirmation; and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.account.conftest import skip_slow_parts
from tests.account.fakes import Account, Refusal
from tests.cli.conftest import main
from tools.account import proofs
from tools.account.assumptions import Assumption
from tools.account.proofs import PROOFS
from tools.account.readings import READINGS
from tools.cli import options
from tools.environment import Deployed
from tools.reports import docs

Run = Callable[..., int]
EVERY: tuple[Assumption[Any], ...] = (*READINGS, *PROOFS)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    skip_slow_parts(monkeypatch)

    def run(account: Account, *words: str) -> int:
        monkeypatch.setattr(options, "connect", lambda name, *approve: Deployed(account.settings, account, *approve))
        monkeypatch.setattr(proofs, "session_of_role", lambda credentials, region: account)
        return main(["account", "check", *words])

    return run


def changes(account: Account) -> list[str]:
    return [name for name in account.aws.operations if not name.partition(".")[2].startswith(("Describe", "Get", "List"))]


def test_reading_changes_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    account = Account()
    assert run(account) == 0
    assert changes(account) == []
    output = capsys.readouterr().out
    assert output.count("✓") == len(READINGS)
    assert "\n    Answer: the quota is 100, others use 0, this environment needs 2 addresses of NAT\n" in output


def test_wrong_assumption_is_exit_code_1_with_what_to_change(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    account = Account(
        answers={"ssm.GetParameter": {"Parameter": {"Value": "1"}}, "ec2.DescribeAddresses": Refusal("UnauthorizedOperation")}
    )
    assert run(account) == 1
    output, errors = capsys.readouterr()
    assert "✗ bootstrap-version: " in output
    assert "    Change: Run `./carmen bootstrap aws://ACCOUNT/REGION`" in output
    assert "? quota-addresses: " in output
    assert errors == f"1 of {len(READINGS)} assumptions are wrong: bootstrap-version\n"


def test_proofs_need_a_confirmation(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    account = Account()
    assert run(account, "--prove") == 3
    assert changes(account) == []
    errors = capsys.readouterr().err
    assert "cost: less than 1 USD, time: about 40 minutes" in errors
    assert "Nothing was changed: a change of the account needs confirmation" in errors


def test_json_has_every_answer_and_nothing_else(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    account = Account()
    assert run(account, "--prove", "--yes", "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in found] == [one.id for one in EVERY]
    assert found[0].keys() == {"id", "assumed", "check", "holds", "answer", "if_wrong"}
    assert account.is_empty


def test_at_least_twenty_assumptions_are_complete_and_documented() -> None:
    assert len({one.id for one in EVERY}) == len(EVERY) >= 20
    for one in EVERY:
        for text in (one.assumed, one.why, one.method, one.if_wrong, one.source):
            assert text, one.id
    assert docs.current(docs.ASSUMPTIONS, docs.assumptions_document()), "run `make docs`"
