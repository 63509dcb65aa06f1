"""No intact backup is condemned: generated schemas over many kinds of object."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local.services.postgres import LocalRds
from tests.lambdas.restore import ddl
from tests.lambdas.restore.intact import Restores, original
from tools.build.postgres_wheels import MAJORS

SCHEMAS = 20  # in one database: creating databases takes most of the time


@pytest.mark.long
def test_every_kind_of_object_is_accepted(server: LocalRds, restores: Restores) -> None:
    """Each kind once, in a schema of its own."""
    assert len(ddl.KINDS) >= 60
    text = []
    for number, kind in enumerate(ddl.KINDS):
        text.append(_one(number, kind))
    with original(server, *text) as name:
        restores.restore(name)


def _one(number: int, kind: str) -> str:
    return ddl.schema(number, [kind], "t", "'paid'", "'it''s'", 3, 7)


@pytest.mark.long
def test_generated_schemas_are_accepted(server: LocalRds, restores: Restores) -> None:
    _accept(server, restores, databases=1)


@pytest.mark.nightly
@pytest.mark.parametrize("server", MAJORS, indirect=True)
def test_300_generated_schemas_are_accepted(server: LocalRds, restores: Restores) -> None:
    """80 for each major version."""
    _accept(server, restores, databases=4)


def _accept(server: LocalRds, restores: Restores, databases: int) -> None:
    @settings(
        max_examples=databases,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.tuples(*(ddl.schemas(number) for number in range(SCHEMAS))))
    def accept(schemas: tuple[str, ...]) -> None:
        with original(server, *schemas) as name:
            restores.restore(name)
        restores.drop()

    accept()
