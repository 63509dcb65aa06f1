"""Every role of every environment has exactly the listed permissions and no forbidden one, evaluated as AWS evaluates policies."""

from __future__ import annotations

import pytest

from tests.models.iam.conftest import DEFAULT_CONTEXT, Deployed, example_of
from tests.models.iam.permissions import ABSENT, EVERYWHERE, ROLES, THROUGH_S3, Trust
from tests.models.iam.questions import SERVICES, STRANGER, allowed_questions, context, forbidden_questions, rows
from tools.reports.security.authorization import RULES, NotRecorded, is_of_type, listed_types
from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import ANYONE


def test_table_has_every_role_of_every_environment(deployed: Deployed) -> None:
    expected = {name: {role for role, one in ROLES.items() if name in one.environments} - ABSENT.get(name, set()) for name in EVERYWHERE}
    assert {name: set(environment.roles) for name, environment in deployed.environments.items()} == expected


def test_roles_have_the_listed_permissions(deployed: Deployed) -> None:
    questions = list(allowed_questions(deployed))
    assert len(questions) > 200
    assert [question for question in questions if not deployed.account.decide(*question)] == []


def test_policies_grant_only_the_listed_permissions(deployed: Deployed) -> None:
    """Every (action, resource) of an Allow statement, as written, is in the table."""
    for environment, name, arn in deployed.roles():
        expected = {(action, environment.pattern(row.resource)) for row in rows(environment, name) for action in row.actions.split()}
        assert deployed.granted(arn) == expected, f"{environment} {name}: the table is tests/models/iam/permissions.py"


def test_no_role_has_forbidden_permissions(deployed: Deployed) -> None:
    questions = list(forbidden_questions(deployed))
    assert len(questions) > 10_000
    assert [question for question in questions if deployed.account.decide(*question)] == []


def test_roles_have_no_permissions_in_other_environments(deployed: Deployed) -> None:
    wrong = []
    for environment, name, arn in deployed.roles():
        for other in deployed.environments.values():
            for row in rows(environment, name) if other != environment else ():
                if not other.has(row.resource):
                    continue
                there = example_of(other.pattern(row.resource))
                own = example_of(environment.pattern(row.resource)), context(environment, row)
                if (there, context(other, row)) == own:
                    continue  # without resource-level permissions: tests/models/iam/test_wildcards.py
                wrong += [
                    f"{arn} {action} {there}"
                    for action in row.actions.split()
                    if deployed.account.decide(arn, action, there, {**DEFAULT_CONTEXT, **context(other, row)})
                ]
    assert wrong == []


def test_function_code_cannot_change_its_network_interfaces(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        role, function = environment.roles["Data/DatabaseRolesFunctionRole"], environment.by_name["Data/DatabaseRolesFunction"]
        own_code = {**DEFAULT_CONTEXT, "lambda:SourceFunctionArn": function}
        for row in ROLES["Data/DatabaseRolesFunctionRole"].grants:
            for action in row.actions.split():
                decision = deployed.account.decide(role, action, example_of(environment.pattern(row.resource)), own_code)
                assert bool(decision) is not action.startswith("ec2:"), (action, decision.reason)


def test_application_uses_its_key_only_through_s3(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        role, key = environment.roles["Service/WebTaskRole"], environment.by_name["Storage/Key"]
        assert deployed.account.decide(role, "kms:Decrypt", key, {**DEFAULT_CONTEXT, **THROUGH_S3})
        for service in (None, "rds.us-east-1.amazonaws.com", "secretsmanager.us-east-1.amazonaws.com"):
            assert not deployed.account.decide(role, "kms:Decrypt", key, {**DEFAULT_CONTEXT, "kms:ViaService": service})


# Who may assume a role


def test_role_is_assumed_only_by_its_service(deployed: Deployed) -> None:
    for _, name, arn in deployed.roles():
        trust = ROLES[name].trust
        source = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": trust.source or None}
        answers = {service for service in SERVICES if deployed.account.decide(service, "sts:AssumeRole", arn, source)}
        assert answers == {trust.service}, name
        for principal in (STRANGER, ANYONE, arn, *deployed.account.roles):
            assert not deployed.account.decide(principal, "sts:AssumeRole", arn), name


@pytest.mark.parametrize(
    "trust", sorted({expected.trust for expected in ROLES.values()}, key=str), ids=lambda trust: f"{trust.service} {bool(trust.source)}"
)
def test_service_acting_for_another_account_is_denied(deployed: Deployed, trust: Trust) -> None:
    """The confused deputy. Where AWS documents no condition, the table names the page."""
    foreign = {"aws:SourceAccount": "999999999999", "aws:SourceArn": trust.source.replace(ACCOUNT, "999999999999")}
    without_source = {"aws:SourceAccount": None, "aws:SourceArn": None}
    other_service = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": f"arn:aws:iot:us-east-1:{ACCOUNT}:thing/1"}
    assert bool(trust.source) is not bool(trust.page)
    for _, name, arn in deployed.roles():
        if ROLES[name].trust == trust:
            for context in (foreign, without_source, other_service):
                assert bool(deployed.account.decide(trust.service, "sts:AssumeRole", arn, context)) is not bool(trust.source), name


# The tables themselves


def test_actions_of_the_tables_exist_and_support_their_resource(deployed: Deployed) -> None:
    """A misspelt action is always denied, and would prove nothing."""
    questions = {(action, resource) for _, action, resource, _ in (*allowed_questions(deployed), *forbidden_questions(deployed))}
    assert [f"{action} on {resource}" for action, resource in questions if not takes(action, resource)] == []
    assert not takes("s3:DeleteObjects", "arn:aws:s3:::bucket/key")
    assert not takes("s3:DeleteObject", "arn:aws:sqs:us-east-1:1:queue")


def takes(action: str, resource: str) -> bool:
    """Return whether the action exists and a policy may name the resource for it."""
    try:
        return is_of_type(action, resource, (*listed_types(action), *(RULES[action].types if action in RULES else ())))
    except NotRecorded:
        return False
