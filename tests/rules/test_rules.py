"""Every rule holds for the real environments and for everything else that the settings allow."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as configured

from constructs_lib.network.vpc import ENDPOINTS
from settings.model import Settings
from tests.conftest import Built, build
from tests.rules import alarm_rules, structure_rules
from tests.rules.generated_settings import limits, settings
from tests.rules.rules import RULES
from tools.reports.security import scan

assert structure_rules, alarm_rules  # importing them adds their rules

# The same settings on every run, so that a failure comes from this commit. Each example is a synthesis, so failures are not shrunk.
QUICK = configured(
    max_examples=4, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
MORE = configured(QUICK, max_examples=12)
VALIDATED = configured(QUICK, max_examples=100)  # twice
LINTED = configured(QUICK, max_examples=20)  # cfn-lint takes ten seconds for an environment


@pytest.mark.parametrize("name", RULES)
def test_rule_holds_for_environments(built: Built, name: str) -> None:
    assert list(RULES[name](built.templates)) == []


@pytest.mark.parametrize("name", RULES)
def test_rule_holds_for_a_preview(preview: Built, name: str) -> None:
    assert list(RULES[name](preview.templates)) == []


def test_missing_and_needless_endpoints_are_found(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {service: one for service, one in ENDPOINTS.items() if service not in ("ecs", "elasticache", "logs")}
    monkeypatch.setattr(structure_rules, "ENDPOINTS", {**without, "sns": {}})
    found = RULES["private_subnets_have_the_endpoints_they_need"](built.templates)
    assert [re.findall("calls (ecs|elasticache|logs),|endpoint for (sns),", one)[0] for one in found] == [
        ("ecs", ""),
        ("elasticache", ""),
        ("logs", ""),
        ("", "sns"),
    ]


def test_limits_of_most_settings_are_known() -> None:
    assert len(limits()) > 80


@seed(1)
@QUICK
@given(settings())
def test_rules_hold_for_settings_at_their_limits(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert _violations(build([generated], Path(folder))) == []


@pytest.mark.long
@seed(1)
@MORE
@given(settings())
def test_rules_hold_for_more_settings_at_their_limits(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert _violations(build([generated], Path(folder))) == []


def _violations(built: Built) -> list[str]:
    return [f"{name}: {violation}" for name, rule in RULES.items() for violation in rule(built.templates)]


@pytest.mark.long
@seed(2)
@VALIDATED
@given(settings())
def test_validators_accept_generated_settings(generated: Settings) -> None:
    _validate(generated)


@pytest.mark.long
@seed(3)
@VALIDATED
@given(settings())
def test_validators_accept_more_generated_settings(generated: Settings) -> None:
    """Another hundred, on the other processor."""
    _validate(generated)


@pytest.mark.long
@seed(4)
@LINTED
@given(settings())
def test_cfn_lint_accepts_generated_settings(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = build([generated], Path(folder) / "cdk.out")
        assert scan.open_findings(built, scan.cfn_lint(_new(built))) == []


validated: set[bytes] = set()


def _new(built: Built) -> list[Path]:
    """Templates that were not validated yet; most are the same in every example."""
    new = [path for path in scan.template_files(built) if path.read_bytes() not in validated]
    validated.update(path.read_bytes() for path in new)
    return new


def _validate(generated: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = build([generated], Path(folder) / "cdk.out")
        found = [*scan.nag(built), *scan.cloudformation_validate(_new(built)), *scan.parliament_findings(built)]
        assert scan.open_findings(built, found) == []
    assert _violations(built) == []
