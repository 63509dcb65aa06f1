"""What a setting adds to the roles of production: all that the tables say, to whom they say, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from settings.model import Settings
from tests.conftest import build
from tests.models.iam.conftest import PLAIN, House, house_of, one_of
from tests.models.iam.permissions import AWS_BACKUP, COPIES, NEVER, ROLES, SNAPSHOTS, May, Trust
from tests.models.iam.questions import OTHERS, STRANGER, context
from tools.reports.security.policy_evaluator import ANYONE


@dataclass(frozen=True)
class Part:
    """Settings, and the rows they add by role."""

    settings: dict[str, Any]
    adds: dict[str, tuple[May, ...]]
    new: dict[str, Trust] = field(default_factory=dict)  # of those, the roles that are there only with it

    def rows(self, role: str) -> tuple[May, ...]:
        """All that a role of production may with this part."""
        usual = ROLES[role].may if role in ROLES else ()
        return (*(row for row in usual if "prod" in row.environments), *self.adds.get(role, ()))


PARTS = {
    "copies in a second region": Part(
        {"storage": {"backup_copy_region": "eu-west-1"}},
        {"Operations/BackupFunctionRole": COPIES, "Operations/BackupFargateTaskRole": COPIES},
    ),
    "snapshots by AWS Backup": Part(
        {"database": {"aws_backup_days": 35}}, {"Data/SnapshotsRole": SNAPSHOTS}, {"Data/SnapshotsRole": AWS_BACKUP}
    ),
}


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest) -> Part:
    return PARTS[request.param]


@pytest.fixture(scope="module")
def house_with(part: Part, tmp_path_factory: pytest.TempPathFactory) -> House:
    return house_of(build([Settings.model_validate({"name": "prod", **part.settings})], tmp_path_factory.mktemp("part")))


def test_every_role_may_what_the_tables_say_and_no_more(part: Part, house_with: House) -> None:
    for environment, name, arn in house_with.roles():
        told = {(action, environment.pattern(row.resource)) for row in part.rows(name) for action in row.actions.split()}
        assert house_with.given(arn) == told, name
        for row in part.rows(name):
            there = one_of(environment.pattern(row.resource))
            refused = [
                a for a in row.actions.split() if not house_with.account.decide(arn, a, there, {**PLAIN, **context(environment, row)})
            ]
            assert refused == [], (name, there)


def test_what_is_new_is_assumed_by_its_service_alone(part: Part, house_with: House) -> None:
    (environment,) = house_with.environments.values()
    assert set(environment.roles) == {*(role for role, one in ROLES.items() if "prod" in one.environments), *part.new}
    for name, trust in part.new.items():
        arn = environment.roles[name]
        asked = {*OTHERS, trust.service, "lambda.amazonaws.com", "rds.amazonaws.com", STRANGER, ANYONE, *house_with.account.roles}
        assert {one for one in asked if house_with.account.decide(one, "sts:AssumeRole", arn)} == {trust.service}


def test_no_other_role_may_it(part: Part, house_with: House) -> None:
    for environment, name, arn in house_with.roles():
        for row in (row for other, rows in part.adds.items() for row in rows if name not in part.adds):
            there = one_of(environment.pattern(row.resource))
            allowed = [a for a in row.actions.split() if house_with.account.decide(arn, a, there, {**PLAIN, **context(environment, row)})]
            assert allowed == [], (name, there)


def test_no_role_may_what_none_must(part: Part, house_with: House) -> None:
    for told, actions in NEVER.items():
        for resource in house_with.everything(told):
            for environment, name, arn in house_with.roles():
                given = {a for row in part.rows(name) if one_of(environment.pattern(row.resource)) == resource for a in row.actions.split()}
                assert [a for a in actions.split() if a not in given and house_with.account.decide(arn, a, resource, PLAIN)] == [], (
                    name,
                    told,
                )
