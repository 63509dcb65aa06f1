"""The embedded AWS's own evaluator, written by others, answers every question of the tables as tools/reports/security/policy_evaluator.py does."""

from __future__ import annotations

from ministack.core import iam_evaluator as ministack

from tests.models.iam.conftest import House
from tests.models.iam.questions import Question, allowed_questions, never_questions
from tools.reports.security.policies import ACCOUNT


def opinion(house: House, question: Question) -> bool:
    principal, action, resource, told = question
    context = ministack.EvalContext(
        principal_arn=f"{principal.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region="us-east-1",
        secure_transport=True,
        service_context={key.lower(): value for key, value in told.items() if value is not None},
    )
    policies = [ministack.parse_policy_document(document) for document in house.account.roles[principal].policies.values()]
    guard = house.account.resource_policies.get(resource.split("/")[0] if resource.startswith("arn:aws:s3:") else resource)
    if resource in house.account.roles and action == "sts:AssumeRole":
        guard = house.account.roles[resource].trust
    decided = ministack.combine_resource_policy(
        ministack.evaluate(context, policies), context, guard, ACCOUNT, required=action.startswith("kms:") and guard is not None
    )
    return str(decided.decision) == "Allow"


def test_the_emulators_evaluator_says_the_same(house: House) -> None:
    questions = [*allowed_questions(house), *never_questions(house)]
    assert [question for question in questions if opinion(house, question) is not bool(house.account.decide(*question))] == []
