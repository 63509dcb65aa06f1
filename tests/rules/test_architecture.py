"""The rules of DESIGN.md for the tree and for all templates."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from constructs_lib.foundation.acknowledgements import opt_out_name
from settings.field_metadata import Protective, declarations, value_at
from settings.loader import load
from settings.model import Settings
from tests.conftest import ROOT, Built
from tests.rules.imports import Graph, cycle_errors, dependency_errors, import_graph, imported_packages
from tests.rules.rules import opted_out

# Folder or file → what it may import besides itself. A sub-folder with a rule is not part of its parent.
ALLOWED: dict[str, set[str]] = {
    "app.py": {"stacks", "settings"},
    "stacks": {"constructs_lib", "settings"},
    "constructs_lib": {"settings"},
    "settings": set(),
    "lambda_src": set(),
    "tools": {"stacks", "constructs_lib", "settings", "lambda_src"},
    "tools/benchmarks": {"tools", "local"},
    "local": {"tools", "stacks", "constructs_lib", "settings", "lambda_src"},
    "tests": {"app.py", "stacks", "constructs_lib", "settings", "lambda_src", "tools", "tools/benchmarks", "local"},
}
# Synthesis reads no clock, network, process environment or machine.
FORBIDDEN_IN_SYNTHESIS = {"os", "socket", "datetime", "time", "random", "uuid", "platform", "boto3", "urllib", "subprocess"}
STATEFUL = {
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::ECR::Repository",
    "AWS::RDS::DBInstance",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::SecretsManager::Secret",
}
PINNED = ROOT / "tests" / "rules" / "stateful_resources.json"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(ROOT)


def test_folders_import_only_what_they_may(graph: Graph) -> None:
    assert dependency_errors(graph, ALLOWED) == []


def test_no_import_cycles(graph: Graph) -> None:
    assert cycle_errors(graph, ALLOWED) == []


def test_synthesis_reads_nothing_from_outside(graph: Graph) -> None:
    files = [file for file in graph if file.parts[0] in ("stacks", "constructs_lib", "settings")]
    assert len(files) > 90
    wrong = [f"{file} imports {name}" for file in files for name in imported_packages(ROOT / file) & FORBIDDEN_IN_SYNTHESIS]
    assert wrong == []


def test_top_stack_depends_on_all_others(built: Built) -> None:
    for top in built.tops.values():
        names = {stack.stack_name for stack in top.dependencies}
        prefix = top.stack_name
        parts = ["Network", "Alerts", "Storage", "Data", "EdgeGlobal", "Edge", "Service", "Operations"]
        watched = prefix not in opted_out(built.templates, "Watched")
        assert names == {f"{prefix}{part}" for part in [*parts, *(["EdgeAlarms"] if watched else [])]}


def test_stateful_resources_keep_their_logical_ids(built: Built) -> None:
    """A changed logical id replaces the resource. After a deliberate change, edit the file."""
    found = {
        f"{stack}/{logical_id}": resource["Type"]
        for stack, template in built.templates.items()
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] in STATEFUL
    }
    assert found == json.loads(PINNED.read_text(encoding="utf-8"))


def test_stateful_resources_are_retained(built: Built) -> None:
    lost = [
        name
        for kind in STATEFUL
        for name, resource in built.resources(kind).items()
        if (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")) != ("RetainExceptOnCreate", "Retain")
    ]
    # The alert topic's key encrypts messages in transit, not stored data.
    assert [name for name in lost if "AlertsKey" not in name] == []


def test_stateful_stacks_refuse_deletion(built: Built) -> None:
    for name, top in built.tops.items():
        stacks = {stack.stack_name.removeprefix(top.stack_name): stack for stack in top.dependencies}
        protected = {part for part, stack in stacks.items() if stack.termination_protection}
        assert protected == (set() if name == "dev" else {"Storage", "Data"})


def test_every_opt_out_reason_is_in_the_template(built: Built, preview: Built) -> None:
    """As metadata of the stack or resource: `object_lock_opt_out_reason` as `ObjectLockOptOut`."""
    for name, top in {**built.tops, **preview.tops}.items():
        metadata = [
            part["Metadata"]
            for stack, template in {**built.templates, **preview.templates}.items()
            if stack.startswith(top.stack_name)
            for part in (template, *template["Resources"].values())
            if "Metadata" in part
        ]
        shown = {(key, text) for one in metadata for key, text in one.items() if key.endswith("OptOut")}
        settings = load(name)
        given = {
            (opt_out_name(key.rpartition(".")[2]), value_at(settings, reason_key))
            for key, protective in declarations(Settings, Protective)
            if (reason_key := protective.reason_key(key)) and protective.is_off(value_at(settings, key))
        }
        assert shown == given, name
        assert (name == "prod") == (not given)


def test_preview_is_deletable_and_has_unique_names(built: Built, preview: Built) -> None:
    """Its tags have the preview's name and last day; the stacks deployed first have the day."""
    for name, template in preview.templates.items():
        for logical_id, resource in template["Resources"].items():
            assert resource.get("DeletionPolicy", "Delete") == "Delete", (name, logical_id)
            if resource["Type"] == "AWS::ECR::Repository":
                assert resource["Properties"]["EmptyOnDelete"] is True
    stacks = {stack.stack_name: stack for stack in preview.app.synth().stacks}
    assert all(stack.tags["carmen-preview"] == "pr-123" for stack in stacks.values())
    first = {name for name, stack in stacks.items() if stack.tags.get("carmen-preview-ends") == "2026-12-01"}
    assert first == {f"CarmenPreview-pr-123{part}" for part in ("Network", "Alerts", "Storage")}
    assert not any("carmen-preview" in stack.tags for stack in built.app.synth().stacks)
    text = json.dumps(preview.templates)
    assert not any(word in text for word in ("CarmenProd", "CarmenStaging", "CarmenDev"))
    assert not any(stack.termination_protection for stack in stacks.values())


def test_every_stack_and_output_has_a_description(built: Built) -> None:
    for name, template in built.templates.items():
        assert template["Description"].startswith("Carmen "), name
    for top in built.tops:
        outputs = built.templates[f"Carmen{top.capitalize()}"]["Outputs"]
        assert all(output["Description"] for output in outputs.values())


def test_important_resources_are_tagged(built: Built) -> None:
    wanted = {"environment", "owner", "cost-center", "repository"}
    kinds = ("AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::ECS::Service", "AWS::EC2::VPC", "AWS::Lambda::Function", "AWS::KMS::Key")
    for kind in kinds:
        for name, resource in built.resources(kind).items():
            assert wanted <= {tag["Key"] for tag in resource["Properties"]["Tags"]}, name
    (origin,) = built.resources("AWS::CloudFront::VpcOrigin", "CarmenProdEdge").values()
    assert "Tags" not in origin["Properties"]  # aws/aws-cdk#35765


def test_no_physical_names_except_the_listed_ones(built: Built) -> None:
    """Physical names make replacements fail. Exceptions: ADR 0006."""
    name_of = {
        "AWS::RDS::DBInstance": "DBInstanceIdentifier",
        "AWS::S3::Bucket": "BucketName",
        "AWS::ECR::Repository": "RepositoryName",
        "AWS::SecretsManager::Secret": "Name",
        "AWS::ElastiCache::ReplicationGroup": "ReplicationGroupId",
        "AWS::Lambda::Function": "FunctionName",
        "AWS::IAM::Role": "RoleName",
        "AWS::SNS::Topic": "TopicName",
        "AWS::ECS::Cluster": "ClusterName",
        "AWS::Logs::LogGroup": "LogGroupName",
    }
    named = {
        str(resource["Properties"][attribute])
        for kind, attribute in name_of.items()
        for resource in built.resources(kind).values()
        if attribute in resource.get("Properties", {})
    }
    assert named == {f"aws-waf-logs-carmen{name}" for name in built.tops}


def test_security_groups_name_each_other(built: Built) -> None:
    """No rule allows an address range, and no rule exists twice (AWS refuses the second)."""
    for name, resource in built.resources("AWS::EC2::SecurityGroup").items():
        for rule in resource["Properties"].get("SecurityGroupIngress", []):
            assert "CidrIp" not in rule or "NatSecurityGroup" in name, name  # tests/rules/rules.py checks its ranges
    rules: Counter[str] = Counter()
    for kind in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        for name, resource in built.resources(kind).items():
            if resource["Properties"].get("CidrIp"):
                continue
            rule = {key: value for key, value in resource["Properties"].items() if key not in ("Description", "FromPort", "ToPort")}
            assert "CidrIp" not in rule or kind.endswith("Egress"), name
            port = "database" if "Endpoint.Port" in json.dumps(resource["Properties"]) else resource["Properties"].get("FromPort")
            rules[f"{name.split('/')[0]} {kind} {json.dumps(rule, sort_keys=True)} {'database' if port == 5432 else port}"] += 1
    assert [rule for rule, count in rules.items() if count > 1] == []


def test_no_secret_value_is_in_any_template(built: Built) -> None:
    text = json.dumps(built.templates)
    assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|xox[bp]-|hooks\.slack\.com/services", text)
    for name, resource in built.resources("AWS::SecretsManager::Secret").items():
        assert "SecretString" not in resource["Properties"], name


def test_templates_are_well_within_cloudformation_limits(built: Built) -> None:
    for name, template in built.templates.items():
        assert len(template["Resources"]) <= 350, name  # of 500
        assert len(template.get("Outputs", {})) <= 140, name  # of 200
        assert (built.assembly / f"{name}.template.json").stat().st_size <= 700_000, name  # of 1 MB


def test_two_syntheses_are_byte_identical(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    variables = {**os.environ, "CDK_CONTEXT_JSON": _context("prod"), "CDK_VALIDATION": "false"}
    command = [sys.executable, str(ROOT / "app.py")]
    running = [subprocess.Popen(command, cwd=ROOT, env={**variables, "CDK_OUTDIR": str(folder)}) for folder in folders]
    assert [process.wait() for process in running] == [0, 0]
    one, two = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} for folder in folders)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def _context(environment: str) -> str:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return json.dumps({**context, "env": environment})


def test_every_alarm_names_an_existing_runbook(built: Built) -> None:
    alarms = built.resources("AWS::CloudWatch::Alarm") | built.resources("AWS::CloudWatch::CompositeAlarm")
    assert alarms
    for name, alarm in alarms.items():
        (page,) = re.findall(r"docs/runbooks/[a-z0-9-]+\.md", alarm["Properties"]["AlarmDescription"])
        assert (ROOT / page).is_file(), f"{name}: {page}"
