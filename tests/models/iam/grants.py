"""Permissions that AWS would not use: every Allow statement of roles, compared with what AWS checks requests against."""

from __future__ import annotations

from collections.abc import Iterator

from tests.models.iam.conftest import example_of, listed
from tools.reports.security.authorization import NotRecorded, checked_against, condition_keys, is_of_type
from tools.reports.security.policies import Document
from tools.reports.security.policy_evaluator import Account


def unusable(account: Account) -> Iterator[str]:
    """Yield every granted action that is not recorded, on a resource that no request is checked against, or under a condition on a key
    that no request carries."""
    for role in account.roles.values():
        for document in role.policies.values():
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow":
                    yield from (f"{role.name}: {why}" for action in listed(statement["Action"]) for why in _problems(action, statement))


def _problems(action: str, statement: Document) -> Iterator[str]:
    try:
        types, carried = checked_against(action), condition_keys(action)
    except NotRecorded as error:
        yield str(error)
        return
    for resource in listed(statement["Resource"]):
        if not is_of_type(action, example_of(resource), types):
            yield f"{action} on {resource}: AWS checks it against {' or '.join(types)}"
    for key in {key.lower() for keys in statement.get("Condition", {}).values() for key in keys}:
        if not key.startswith("aws:") and not any(key == one or (one[-1] in ":/" and key.startswith(one)) for one in carried):
            yield f"{action} under a condition on {key}, which its requests do not carry"
