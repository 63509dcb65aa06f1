"""Every setting can be changed on a deployed environment and changed back, or its field says why not and what works.

Each row changes one setting of production, staging or development; CloudFormation's rules judge the two sets of templates
(tests/updates/judge.py). `make test` runs known faults and a sample; `make nightly` runs the whole matrix.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from settings.changes import FIXED, IN_ORDER, kind, record, refusals, restrictions
from settings.field_metadata import InOrder
from settings.loader import load, merge
from settings.model import Settings
from tests.rules.generated_settings import DOMAIN, REASON
from tests.updates.judge import Synthesis, judge
from tests.updates.rows import ENVIRONMENTS, NOT_SETTINGS, Row, keys, rows
from tools.reports.diff.findings import Finding

SAMPLE, SEED = 3, 16
ALL = [row for environment in ENVIRONMENTS for row in rows(environment)]
# Working hours are not for production: settings/validation.py.
NOT_IN = {"prod": "working_hours"}


@pytest.fixture(scope="module")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synthesis]:
    made = Synthesis(tmp_path_factory.mktemp("updates"))
    yield made
    made.close()


def _check(synthesis: Synthesis, row: Row) -> None:
    """Both directions: no finding, unless the field declares this change as fixed or in a stated order."""
    for old, new in ((row.base, row.head), (row.head, row.base)):
        found = judge(synthesis.assembly(old), synthesis.assembly(new))
        declared = refusals(*(record(Settings.model_validate(settings)) for settings in (old, new)))
        assert not found or row.key in {refusal.key for refusal in declared}, [finding.words for finding in found]
    synthesis.forget(row.head)


def test_every_setting_has_a_row() -> None:
    """Without one: add another value to tests/updates/rows.py, or what must be set with it."""
    for environment in ENVIRONMENTS:
        missing = set(keys()) - {row.key for row in rows(environment)}
        assert {key for key in missing if key.split(".")[0] != NOT_IN.get(environment)} == set(), environment


def test_a_setting_without_declaration_is_changeable() -> None:
    assert kind("edge.price_class") == "changeable"
    assert (kind("network.cidr"), kind("alarms.watched"), kind("database.engine_major")) == (FIXED, IN_ORDER, FIXED)
    assert set(restrictions()) < {*keys(), *NOT_SETTINGS}


def test_every_declaration_refuses_a_row() -> None:
    """A declaration that no change needs is deleted."""
    refused = {
        (refusal.key, type(refusal.restriction))
        for row in ALL
        for old, new in ((row.base, row.head), (row.head, row.base))
        for refusal in refusals(*(record(Settings.model_validate(settings)) for settings in (old, new)))
    }
    declared = {(key, type(one)) for key, several in restrictions().items() for one in several if key not in NOT_SETTINGS}
    assert refused == declared


def test_steps_name_commands() -> None:
    """Each restriction has a reason and at least one step that a person can take."""
    for key, several in restrictions().items():
        for one in several:
            assert one.reason.endswith("."), key
            assert all(step.endswith((".", ")")) for step in one.steps), key
            assert any("--steps-taken {key}" in step for step in one.steps) == isinstance(one, InOrder), key


def test_record_has_no_value_that_is_not_compared() -> None:
    assert record(load("prod"))["network.cidr"] == "10.20.0.0/16"
    assert set(record(load("prod"))) == set(restrictions())


def _values(**settings: Any) -> dict[str, Any]:
    return Settings.model_validate(merge({"name": "prod"}, settings)).model_dump(mode="json")


def _kinds(found: list[Finding]) -> set[str]:
    return {finding.kind for finding in found}


@pytest.mark.slow
def test_known_faults_are_changeable(synthesis: Synthesis) -> None:
    """Each was refused half-way: exports that vanish while imported, a second default route, a bucket that is replaced."""
    base = _values()
    head = _values(
        domain=DOMAIN,
        network={"nat_instances": True},
        storage={"object_lock": False, "object_lock_opt_out_reason": REASON},
        operations={"scheduled_backups": False, "scheduled_backups_opt_out_reason": REASON},
    )
    assert judge(synthesis.assembly(base), synthesis.assembly(head)) == []
    assert judge(synthesis.assembly(head), synthesis.assembly(base)) == []


@pytest.mark.slow
def test_steps_in_order_deploy(synthesis: Synthesis) -> None:
    """What a person takes steps for must not be refused half-way; a stack may leave the app."""
    base = _values()
    head = _values(
        alarms={"watched": False, "watched_opt_out_reason": REASON},
        database={"proxy": False, "proxy_opt_out_reason": REASON},
        network={"zones": ("use1-az1", "use1-az2", "use1-az4")},
    )
    found = judge(synthesis.assembly(base), synthesis.assembly(head))
    assert _kinds(found) == {"State"}, [finding.words for finding in found]
    assert judge(synthesis.assembly(head), synthesis.assembly(base)) == []


@pytest.mark.slow
def test_a_third_zone_can_be_added(synthesis: Synthesis) -> None:
    two, three = (_values(network={"zones": zones}) for zones in (("use1-az1", "use1-az2"), ("use1-az1", "use1-az2", "use1-az4")))
    assert judge(synthesis.assembly(two), synthesis.assembly(three)) == []
    assert _kinds(judge(synthesis.assembly(three), synthesis.assembly(two))) == {"Deployment"}


@pytest.mark.slow
@pytest.mark.parametrize("row", random.Random(SEED).sample(ALL, SAMPLE), ids=str)
def test_sample_of_the_matrix(row: Row, synthesis: Synthesis) -> None:
    _check(synthesis, row)


@pytest.mark.nightly
@pytest.mark.parametrize("row", ALL, ids=str)
def test_matrix(row: Row, synthesis: Synthesis) -> None:
    _check(synthesis, row)
