"""Every rule holds of the real environments, and of whatever else the settings allow."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as configured

from settings.model import Settings
from tests.conftest import Built, build
from tests.rules import alarm_rules, structure_rules
from tests.rules.generated_settings import borders, settings
from tests.rules.rules import RULES
from tools.reports.security import scan

assert structure_rules, alarm_rules  # importing them adds their rules

# The same settings on every run, so that a failure is one of this commit; nothing is kept between runs. Each example is a
# synthesis: looking for a smaller one that fails too would take minutes.
EACH_RUN = configured(
    max_examples=12, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
AT_LENGTH = configured(EACH_RUN, max_examples=100)  # twice
LINTED = configured(EACH_RUN, max_examples=20)  # cfn-lint takes ten seconds for an environment


@pytest.mark.parametrize("name", RULES)
def test_it_holds_of_the_real_environments(built: Built, name: str) -> None:
    assert list(RULES[name](built.templates)) == []


@pytest.mark.parametrize("name", RULES)
def test_it_holds_of_a_preview(preview: Built, name: str) -> None:
    assert list(RULES[name](preview.templates)) == []


def test_the_borders_of_most_settings_are_known() -> None:
    assert len(borders()) > 80


@seed(1)
@EACH_RUN
@given(settings())
def test_it_holds_of_settings_at_their_extremes(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        templates = build([generated], Path(folder)).templates
    assert [f"{name}: {complaint}" for name, rule in RULES.items() for complaint in rule(templates)] == []


@pytest.mark.long
@seed(2)
@AT_LENGTH
@given(settings())
def test_no_judge_rejects_what_the_settings_allow(generated: Settings) -> None:
    _judge(generated)


@pytest.mark.long
@seed(3)
@AT_LENGTH
@given(settings())
def test_no_judge_rejects_what_else_the_settings_allow(generated: Settings) -> None:
    """Another hundred, on the other processor."""
    _judge(generated)


@pytest.mark.long
@seed(4)
@LINTED
@given(settings())
def test_cfn_lint_neither(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = build([generated], Path(folder) / "cdk.out")
        assert [str(finding) for finding in scan.cfn_lint(_new(built))] == []


judged: set[bytes] = set()


def _new(built: Built) -> list[Path]:
    """Templates that were not judged yet: most of an environment's are as they were."""
    new = [path for path in scan.template_files(built) if path.read_bytes() not in judged]
    judged.update(path.read_bytes() for path in new)
    return new


def _judge(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = build([generated], Path(folder) / "cdk.out")
        known = scan.acknowledgements(built)
        found = [*scan.nag(built), *scan.cloudformation_validate(_new(built)), *scan.parliament_findings(built)]
    assert [f"{name}: {complaint}" for name, rule in RULES.items() for complaint in rule(built.templates)] == []
    assert [str(finding) for finding in found if not scan.acknowledgement_of(finding, known)] == []
