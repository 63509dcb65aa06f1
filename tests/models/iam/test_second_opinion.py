"""The embedded AWS's own evaluator, written by others, answers every question of the tables as tools/reports/security/policy_evaluator.py does."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from ministack.core import iam_evaluator as ministack

from tests.models.iam.conftest import Deployed
from tests.models.iam.questions import Question, allowed_questions, forbidden_questions
from tools.reports.security.policies import ACCOUNT


def opinion(deployed: Deployed, question: Question) -> bool:
    principal, action, resource, request = question
    context = ministack.EvalContext(
        principal_arn=f"{principal.replace(':iam:', ':sts:').replace(':role/carmen/', ':assumed-role/')}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region="us-east-1",
        secure_transport=True,
        service_context={key.lower(): value for key, value in request.items() if value is not None},
    )
    policies = [ministack.parse_policy_document(document) for document in deployed.account.roles[principal].policies.values()]
    guard = deployed.account.resource_policies.get(resource.split("/")[0] if resource.startswith("arn:aws:s3:") else resource)
    if resource in deployed.account.roles and action == "sts:AssumeRole":
        guard = deployed.account.roles[resource].trust
    decided = ministack.combine_resource_policy(
        ministack.evaluate(context, policies), context, guard, ACCOUNT, required=action.startswith("kms:") and guard is not None
    )
    return str(decided.decision) == "Allow"


def _disagreements(deployed: Deployed, questions: Iterable[Question]) -> list[Question]:
    return [question for question in questions if opinion(deployed, question) is not bool(deployed.account.decide(*question))]


def test_evaluators_agree_on_permissions_and_a_sample(deployed: Deployed) -> None:
    sample = random.Random(15).sample(list(forbidden_questions(deployed)), 5_000)
    assert _disagreements(deployed, [*allowed_questions(deployed), *sample]) == []


@pytest.mark.long
def test_evaluators_agree_on_everything(deployed: Deployed) -> None:
    assert _disagreements(deployed, [*allowed_questions(deployed), *forbidden_questions(deployed)]) == []
