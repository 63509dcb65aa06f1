"""The tables as questions to an evaluator."""

from __future__ import annotations

from collections.abc import Iterator

from tests.models.iam.conftest import PLAIN, Environment, House, one_of
from tests.models.iam.permissions import NEVER, ROLES, May
from tools.reports.security.policy_evaluator import Context

Question = tuple[str, str, str, Context]  # principal, action, resource, context
STRANGER = "arn:aws:iam::999999999999:role/admin"
OTHERS = {"codebuild.amazonaws.com", "ec2.amazonaws.com", "states.amazonaws.com"}
SERVICES = OTHERS | {expected.trust.service for expected in ROLES.values()}


def rows(environment: Environment, role: str) -> tuple[May, ...]:
    """What the table gives a role there."""
    return tuple(row for row in ROLES[role].may if environment.name in row.environments)


def allowed_questions(house: House) -> Iterator[Question]:
    """All that the table gives."""
    for environment, name, arn in house.roles():
        for row in rows(environment, name):
            for action in row.actions.split():
                yield arn, action, one_of(environment.pattern(row.resource)), {**PLAIN, **context(environment, row)}


def context(environment: Environment, row: May) -> Context:
    """The row's, whose ARNs name resources as the table does."""
    return {
        key: environment.pattern(value) if isinstance(value, str) and value.startswith("arn:") else value
        for key, value in row.context.items()
    }


def never_questions(house: House) -> Iterator[Question]:
    """All that no role may, but by a row of its own that names the very resource."""
    given = {(role, action, resource) for role, action, resource, _ in allowed_questions(house)}
    for told, actions in NEVER.items():
        for resource in house.everything(told):
            for _, _, role in house.roles():
                yield from ((role, action, resource, PLAIN) for action in actions.split() if (role, action, resource) not in given)
