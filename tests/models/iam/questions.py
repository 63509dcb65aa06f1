"""The tables of permissions as questions to an evaluator."""

from __future__ import annotations

from collections.abc import Iterator

from tests.models.iam.conftest import DEFAULT_CONTEXT, Deployed, Environment, example_of
from tests.models.iam.permissions import FORBIDDEN, ROLES, Grant
from tools.reports.security.policy_evaluator import Context

Question = tuple[str, str, str, Context]  # principal, action, resource, context
STRANGER = "arn:aws:iam::999999999999:role/admin"
OTHER_SERVICES = {"codebuild.amazonaws.com", "ec2.amazonaws.com", "states.amazonaws.com"}
SERVICES = OTHER_SERVICES | {expected.trust.service for expected in ROLES.values()}


def rows(environment: Environment, role: str) -> tuple[Grant, ...]:
    """Return the role's permissions in the environment."""
    return tuple(row for row in ROLES[role].grants if environment.name in row.environments)


def allowed_questions(deployed: Deployed) -> Iterator[Question]:
    """Yield a question for every permission of the table."""
    for environment, name, arn in deployed.roles():
        for row in rows(environment, name):
            for action in row.actions.split():
                yield arn, action, example_of(environment.pattern(row.resource)), {**DEFAULT_CONTEXT, **context(environment, row)}


def context(environment: Environment, row: Grant) -> Context:
    """Return the row's context with references in ARNs resolved."""
    return {
        key: environment.pattern(value) if isinstance(value, str) and value.startswith("arn:") else value
        for key, value in row.context.items()
    }


def forbidden_questions(deployed: Deployed) -> Iterator[Question]:
    """Yield a question for every forbidden action, unless the role has a permission for this very resource."""
    given = {(role, action, resource) for role, action, resource, _ in allowed_questions(deployed)}
    for reference, actions in FORBIDDEN.items():
        for resource in deployed.arns(reference):
            for _, _, role in deployed.roles():
                yield from (
                    (role, action, resource, DEFAULT_CONTEXT) for action in actions.split() if (role, action, resource) not in given
                )
