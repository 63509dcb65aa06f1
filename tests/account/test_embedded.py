"""`./carmen account check --prove` on the embedded AWS: the real stack is created there, asked, and removed.

Nothing answers inside its database and its cache, so that those questions stay open; what counts is that no proof fails, and that nothing
remains.
"""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.account.fakes import PROD
from tools.account import proof_stack, proofs
from tools.account.proof_stack import NAME
from tools.account.proofs import PROOFS, prove
from tools.environment import Deployed

pytestmark = pytest.mark.deployment


@pytest.fixture
def deployed(aws: str, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setattr(proof_stack, "POLL_SECONDS", 1)
    monkeypatch.setattr(proofs, "BUDGET_SECONDS", 0)
    monkeypatch.setattr(proofs, "BUDGET_POLL_SECONDS", 0)
    monkeypatch.setattr(proofs, "MODIFYING_SECONDS", 0)
    return Deployed(PROD, boto3.Session(region_name=PROD.region))


def test_proofs_run_and_leave_nothing(deployed: Deployed) -> None:
    said: list[str] = []
    results = {one.id: one for one in prove(deployed, said.append)}
    assert said[-1] == f"{NAME} is removed"
    assert results.keys() == {one.id for one in PROOFS}
    assert results["origin-security-group"].holds
    assert results["list-tasks"].holds is not None  # the policy of the release role was evaluated
    open_questions = {name for name, one in results.items() if one.holds is None}
    assert open_questions >= {"instance-certificate", "master-password", "proxy-secret", "rotated-token", "budget-notice"}
    with pytest.raises(ClientError, match="does not exist"):
        deployed.session.client("cloudformation").describe_stacks(StackName=NAME)
