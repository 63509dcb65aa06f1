"""Third-party validators report only acknowledged findings, and each finds a planted fault."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3

from tests.conftest import Built
from tools.reports import docs
from tools.reports.security import scan

Results = list[scan.Result]
Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return scan.run_validators(built, tmp_path_factory.mktemp("preflight"))


def test_every_finding_is_acknowledged(results: Results) -> None:
    assert [str(finding) for result in results for finding in result.open] == []
    assert {result.validator: result.rules > 5 for result in results} == dict.fromkeys([result.validator for result in results], True)


def test_every_finding_of_a_preview_is_acknowledged(preview: Built) -> None:
    templates = scan.template_files(preview)
    found = [*scan.nag(preview), *scan.nist(preview), *scan.cloudformation_validate(templates), *scan.parliament_findings(preview)]
    assert len(found) > 50
    assert scan.open_findings(preview, found) == []


def test_no_acknowledgement_is_unused_or_misspelt(built: Built, results: Results) -> None:
    assert scan.unused_acknowledgements(built, {finding for result in results for finding in result.findings}) == []
    assert scan.unused_rules(results) == []


def test_misspelt_acknowledgement_has_no_effect(built: Built, results: Results) -> None:
    (finding, *_) = sorted(finding for result in results for finding in result.findings)
    misspelt = {(finding.name.replace("AwsSolutions-", "AwsSolution-"), finding.where): "a reason"}
    assert scan.acknowledgement_of(finding, misspelt) is None
    assert scan.acknowledgement_of(finding, {(finding.name, finding.where.rsplit("/", 1)[0]): "a reason"})
    assert scan.unused_acknowledgements(built, set())  # without findings, every acknowledgement would be unused
    assert set(scan.unused_rules([])) == scan.NOT_APPLIED.keys() - scan.NEEDS_AN_ACCOUNT


def test_every_acknowledgement_has_a_reason(built: Built) -> None:
    known = scan.acknowledgements(built)
    assert known
    assert [key for key, reason in known.items() if len(reason.split()) < 6] == []


def test_image_pull_is_the_only_high_risk_finding(results: Results) -> None:
    high = ("Cloudsplaining::PrivilegeEscalation", "Cloudsplaining::ResourceExposure", "Cloudsplaining::CredentialsExposure")
    found = {finding.name for result in results for finding in result.findings if finding.name.startswith(high)}
    assert found == {"Cloudsplaining::CredentialsExposure[ecr:GetAuthorizationToken]"}


def test_templates_do_not_suppress_validators(built: Built) -> None:
    text = json.dumps(built.templates)
    assert not re.search(r'"(cfn-lint|cfn_nag|cdk_nag|checkov|guard|cfn-guard|aws:cdk:acknowledged-rules|SuppressedRules)"', text)


def test_security_page_is_current(built: Built, results: Results) -> None:
    """`make docs` writes it."""
    assert docs.current(docs.SECURITY, docs.security_document(built, results))


# Each validator must find a planted fault: one that did not run would pass the tests above.


def _broken(built: Built, folder: Path, stack: str, change: Callable[[Resources], object]) -> Built:
    """A copy of the assembly with one template changed."""
    assembly = folder / "cdk.out"
    shutil.copytree(built.assembly, assembly, ignore=shutil.ignore_patterns("asset.*"))
    file = assembly / f"{stack}.template.json"
    template = json.loads(file.read_text(encoding="utf-8"))
    change(template["Resources"])
    file.write_text(json.dumps(template), encoding="utf-8")
    return dataclasses.replace(built, assembly=assembly, templates={**built.templates, stack: template})


def _first(resources: Resources, kind: str) -> dict[str, Any]:
    return next(resource for resource in resources.values() if resource["Type"] == kind)


def test_cfn_lint_and_cloudformation_validate_find_a_wrong_type(built: Built, tmp_path: Path) -> None:
    def change(resources: Resources) -> None:
        _first(resources, "AWS::EC2::VPC")["Properties"]["CidrBlock"] = {"no": "range"}

    broken = _broken(built, tmp_path, "CarmenProdNetwork", change)
    template = [broken.assembly / "CarmenProdNetwork.template.json"]
    assert scan.cfn_lint(template)
    assert scan.cloudformation_validate(template)


def test_cdk_preflight_finds_a_deployment_error(tmp_path: Path) -> None:
    def add(app: cdk.App) -> None:
        bucket = s3.CfnBucket(cdk.Stack(app, "Wrong"), "Bucket")
        bucket.object_lock_enabled = False
        bucket.object_lock_configuration = s3.CfnBucket.ObjectLockConfigurationProperty(object_lock_enabled="Enabled")

    assert {finding.where.split("/")[0] for finding in scan.preflight(tmp_path, add)} == {"Wrong"}


def test_parliament_and_cloudsplaining_find_a_star(built: Built, tmp_path: Path) -> None:
    def change(resources: Resources) -> None:
        (policy,) = [r for name, r in resources.items() if name.startswith("WebTaskRoleDefaultPolicy")]
        policy["Properties"]["PolicyDocument"]["Statement"] = [{"Effect": "Allow", "Action": "iam:PutRolePolicy", "Resource": "*"}]

    broken = _broken(built, tmp_path, "CarmenProdService", change)
    known = scan.acknowledgements(built)
    for findings in (scan.parliament_findings(broken), scan.cloudsplaining_findings(broken)):
        assert {f.where for f in findings if not scan.acknowledgement_of(f, known)} == {
            "CarmenProdService/Web/TaskRole/DefaultPolicy/Resource"
        }


def test_detect_secrets_names_the_first_template_with_a_line(tmp_path: Path) -> None:
    """The CDK ends templates without a line break."""
    key = '"aws": "AKIA' + 'IOSFODNN7EXAMPLE"'
    for name, text in (("One", "{\n}"), ("Two", f"{{\n1\n{key}\n}}"), ("Three", f"{{\n{key}\n}}")):
        (tmp_path / f"{name}.template.json").write_text(text)
    found = scan.secrets([tmp_path / f"{name}.template.json" for name in ("One", "Two", "Three")])
    assert {finding.where for finding in found} == {"Two.template.json:3"}


def test_detect_secrets_finds_keys_tokens_and_passwords(tmp_path: Path) -> None:
    planted = {
        "settings.toml": 'aws = "AKIA' + 'IOSFODNN7EXAMPLE"',
        "notify.py": 'url = "https://hooks.slack.com/services/' + 'T0AAAAAAA/B0AAAAAAA/abcdefghijklmnopqrstuvwx"',
        "cert.pem": "-----BEGIN RSA " + "PRIVATE KEY-----",
        "stack.template.json": '{"MasterUserPassword": "' + 'correct-horse-battery"}',
        "url.md": "postgresql://carmen:" + "s3cr3tp4ss@db.example.com/carmen",
    }
    for name, text in planted.items():
        (tmp_path / name).write_text(text)
    found = scan.secrets([tmp_path / name for name in planted])
    assert {finding.where.split(":")[0] for finding in found} == set(planted)


def test_nist_pack_finds_an_unprotected_load_balancer(results: Results) -> None:
    found = [finding for result in results for finding in result.findings if "ELBDeletionProtectionEnabled" in finding.name]
    assert [finding.where.split("/")[0] for finding in found] == ["CarmenDevEdge"]


def test_findings_of_other_scanners_still_exist(built: Built) -> None:
    for rule, kind, key in scan.OTHER_SCANNERS:
        properties = [resource["Properties"] for resource in built.resources(kind).values()]
        objects = [container for one in properties for container in one["ContainerDefinitions"]] if "TaskDefinition" in kind else properties
        names = rule.partition(": ")[2].split(", ")
        named = [one for one in objects if kind != "AWS::ECS::TaskDefinition" or one["Name"] in names]
        assert named, rule
        assert any(not _has(one, key.split(".")) for one in named), rule


def _has(value: Any, path: list[str]) -> bool:
    """Whether a property is present and not false."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return bool(value)
