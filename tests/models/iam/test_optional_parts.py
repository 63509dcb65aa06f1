"""Settings that add permissions to production's roles: exactly those of the tables, to exactly those roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from settings.model import Settings
from tests.conftest import build
from tests.models.iam.conftest import DEFAULT_CONTEXT, Deployed, deployed_from, example_of
from tests.models.iam.grants import unusable
from tests.models.iam.permissions import AWS_BACKUP, COPY_GRANTS, FORBIDDEN, ROLES, SNAPSHOT_GRANTS, Grant, Trust
from tests.models.iam.questions import OTHER_SERVICES, STRANGER, context
from tools.reports.security.policy_evaluator import ANYONE


@dataclass(frozen=True)
class Part:
    """Settings, and the permissions they add by role."""

    settings: dict[str, Any]
    adds: dict[str, tuple[Grant, ...]]
    new: dict[str, Trust] = field(default_factory=dict)  # roles that exist only with these settings

    def rows(self, role: str) -> tuple[Grant, ...]:
        """Return all permissions of a role with these settings."""
        usual = ROLES[role].grants if role in ROLES else ()
        return (*(row for row in usual if "prod" in row.environments), *self.adds.get(role, ()))


PARTS = {
    "copies in a second region": Part(
        {"storage": {"backup_copy_region": "eu-west-1"}},
        {"Operations/BackupFunctionRole": COPY_GRANTS, "Operations/BackupFargateTaskRole": COPY_GRANTS},
    ),
    "snapshots by AWS Backup": Part(
        {"database": {"aws_backup_days": 35}}, {"Data/SnapshotsRole": SNAPSHOT_GRANTS}, {"Data/SnapshotsRole": AWS_BACKUP}
    ),
}


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest) -> Part:
    return PARTS[request.param]


@pytest.fixture(scope="module")
def deployed_with(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return deployed_from(build([Settings.model_validate({"name": "prod", **part.settings})], tmp_path_factory.mktemp("part")))


def test_roles_have_exactly_the_listed_permissions(part: Part, deployed_with: Deployed) -> None:
    for environment, name, arn in deployed_with.roles():
        expected = {(action, environment.pattern(row.resource)) for row in part.rows(name) for action in row.actions.split()}
        assert deployed_with.granted(arn) == expected, name
        for row in part.rows(name):
            there = example_of(environment.pattern(row.resource))
            refused = [
                a
                for a in row.actions.split()
                if not deployed_with.account.decide(arn, a, there, {**DEFAULT_CONTEXT, **context(environment, row)})
            ]
            assert refused == [], (name, there)


def test_every_permission_is_recorded_and_usable(deployed_with: Deployed) -> None:
    assert list(unusable(deployed_with.account)) == []


def test_new_role_is_assumed_only_by_its_service(part: Part, deployed_with: Deployed) -> None:
    (environment,) = deployed_with.environments.values()
    assert set(environment.roles) == {*(role for role, one in ROLES.items() if "prod" in one.environments), *part.new}
    for name, trust in part.new.items():
        arn = environment.roles[name]
        principals = {
            *OTHER_SERVICES,
            trust.service,
            "lambda.amazonaws.com",
            "rds.amazonaws.com",
            STRANGER,
            ANYONE,
            *deployed_with.account.roles,
        }
        assert {one for one in principals if deployed_with.account.decide(one, "sts:AssumeRole", arn)} == {trust.service}


def test_no_other_role_gets_the_added_permissions(part: Part, deployed_with: Deployed) -> None:
    for environment, name, arn in deployed_with.roles():
        for row in (row for other, rows in part.adds.items() for row in rows if name not in part.adds):
            there = example_of(environment.pattern(row.resource))
            allowed = [
                a
                for a in row.actions.split()
                if deployed_with.account.decide(arn, a, there, {**DEFAULT_CONTEXT, **context(environment, row)})
            ]
            assert allowed == [], (name, there)


def test_no_role_gets_forbidden_permissions(part: Part, deployed_with: Deployed, deployed: Deployed) -> None:
    asked = 0
    for reference, actions in FORBIDDEN.items():
        known = set(deployed.arns(reference))
        for resource in deployed_with.arns(reference):
            for environment, name, arn in deployed_with.roles():
                if resource in known and _unchanged(deployed_with, deployed, arn, resource):
                    continue  # tests/models/iam/test_least_privilege.py asks the same of the same policies
                given = {
                    a for row in part.rows(name) if example_of(environment.pattern(row.resource)) == resource for a in row.actions.split()
                }
                forbidden = [action for action in actions.split() if action not in given]
                asked += len(forbidden)
                allowed = [action for action in forbidden if deployed_with.account.decide(arn, action, resource, DEFAULT_CONTEXT)]
                assert allowed == [], (name, reference)
    assert asked > 500


def _unchanged(changed: Deployed, base: Deployed, role: str, resource: str) -> bool:
    """Return whether the policies of role and resource are those of the environments without these settings."""
    owner = resource.split("/")[0] if resource.startswith("arn:aws:s3:::") else resource
    policies = (one.account.resource_policies.get(owner) for one in (changed, base))
    roles = [[one.account.roles.get(arn) for arn in (role, resource)] for one in (changed, base)]
    return roles[0] == roles[1] and next(policies) == next(policies)
