"""cdk-nag AwsSolutions over all environments: nothing found but what is acknowledged, nothing acknowledged but what is found."""

from __future__ import annotations

from cdk_nag import AwsSolutionsChecks

from tests.conftest import Built

PACK = "AwsSolutions"
ACKNOWLEDGED = "aws:cdk:acknowledged-rules"


def _findings(built: Built) -> set[tuple[str, str]]:
    report = AwsSolutionsChecks(built.app).validate_scope(built.app)
    return {
        (violation.rule_name, resource.construct_path or "")
        for violation in report.violations
        for resource in violation.violating_resources
    }


def _acknowledgements(built: Built) -> dict[tuple[str, str], str]:
    """(rule, path of the construct) → reason, ours and the CDK's own apart."""
    found: dict[tuple[str, str], str] = {}
    for construct in built.app.node.find_all():
        for entry in construct.node.metadata:
            if entry.type == ACKNOWLEDGED:
                for identity, reason in dict(entry.data).items():
                    pack, _, rule = identity.partition("::")
                    if pack == PACK:
                        found[rule, construct.node.path] = reason
    return found


def _covers(path: str, resource: str) -> bool:
    return resource == path or resource.startswith(f"{path}/")


def test_every_finding_is_acknowledged_and_no_acknowledgement_is_stale(built: Built) -> None:
    findings, acknowledgements = _findings(built), _acknowledgements(built)
    open_findings = [
        f"{rule} at {resource}"
        for rule, resource in sorted(findings)
        if not any(rule == known and _covers(path, resource) for known, path in acknowledgements)
    ]
    stale = [
        f"{rule} at {path}"
        for rule, path in sorted(acknowledgements)
        if not any(rule == found and _covers(path, resource) for found, resource in findings)
    ]
    assert not open_findings
    assert not stale


def test_every_acknowledgement_has_a_reason(built: Built) -> None:
    acknowledgements = _acknowledgements(built)
    assert acknowledgements
    assert [key for key, reason in acknowledgements.items() if len(reason.split()) < 6] == []


def test_the_pack_finds_what_is_not_acknowledged(built: Built) -> None:
    """Were the pack not run at all, the first test would pass with no acknowledgements."""
    assert {rule for rule, _ in _findings(built)} >= {"AwsSolutions-AEC5", "AwsSolutions-RDS11", "AwsSolutions-SMG4"}
