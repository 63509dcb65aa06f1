"""The stack CarmenPipelineAccess: when it exists, for which roles, and the validators' findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings.loader import environment_names, load
from stacks.pipeline_access import NAME
from tests.conftest import CONTEXT, Built
from tests.isolated_checkout import copy_of_the_tree
from tests.pipeline_access import access, settings
from tools.reports.security import scan


def test_settings_without_a_pipeline_create_no_stack(tmp_path: Path) -> None:
    assert [name for name in environment_names() if load(name).pipeline] == []  # the files of this repository
    assert access(tmp_path, *(load(name) for name in environment_names())).templates == {}


def test_each_account_has_its_own_stack(tmp_path: Path) -> None:
    prod = settings("prod", "main", "production").model_copy(update={"account": "111111111111"})
    staging = settings("staging", "develop", "staging").model_copy(update={"account": "222222222222"})
    built = access(tmp_path, prod, staging)
    assert set(built.templates) == {f"{NAME}111111111111", f"{NAME}222222222222"}
    outputs = {name: set(template["Outputs"]) for name, template in built.templates.items()}
    assert outputs[f"{NAME}111111111111"] == {"DiffRole", "DriftRole", "DeployRoleProd", "PushRoleProd", "ReleaseRoleProd"}
    for template in built.templates.values():  # scheduled jobs run on one branch for all accounts
        (drift,) = (
            one["Properties"] for name, one in template["Resources"].items() if name.startswith("ReadDrift") and "Role" in one["Type"]
        )
        assert {branch for branch in ("main", "develop") if f"refs/heads/{branch}" in str(drift)} == {"main", "develop"}
    stacks = [artifact for artifact in built.app.synth().stacks if artifact.stack_name == NAME]
    assert {(one.environment.account, one.environment.region) for one in stacks} == {
        ("111111111111", "us-east-1"),
        ("222222222222", "us-east-1"),
    }


def test_existing_oidc_provider_is_reused(tmp_path: Path, github: Built) -> None:
    built = access(tmp_path, settings("prod", "main", "production", provider_exists=True), settings("staging", "develop", "staging"))
    assert built.resources("AWS::IAM::OIDCProvider") == {}
    assert len(github.resources("AWS::IAM::OIDCProvider")) == 1
    text = str(built.templates[NAME])
    assert ":oidc-provider/token.actions.githubusercontent.com" in text


def test_push_and_release_roles_need_an_application_repository(tmp_path: Path) -> None:
    built = access(tmp_path, settings("prod", "main", "production", application_repository=None))
    assert set(built.templates[NAME]["Outputs"]) == {"DiffRole", "DriftRole", "DeployRoleProd"}


def test_stack_is_described_and_protected(github: Built) -> None:
    (stack,) = github.app.synth().stacks
    assert github.templates[NAME]["Description"].startswith("Carmen pipelines: ")
    assert stack.termination_protection
    for resource in github.resources("AWS::IAM::Role").values():
        assert {tag["Key"] for tag in resource["Properties"]["Tags"]} == {"owner", "cost-center", "repository"}
    assert all(output["Description"] for output in github.templates[NAME]["Outputs"].values())


@pytest.mark.parametrize("platform", ["github", "gitlab"])
def test_validators_find_nothing_and_no_acknowledgement_is_stale(platform: str, request: pytest.FixtureRequest) -> None:
    built: Built = request.getfixturevalue(platform)
    templates = scan.template_files(built)
    found = {
        *scan.cfn_lint(templates),
        *scan.cloudformation_validate(templates),
        *scan.nag(built),
        *scan.parliament_findings(built),
        *scan.cloudsplaining_findings(built),
    }
    assert scan.open_findings(built, found) == []
    assert scan.unused_acknowledgements(built, found) == []
    assert scan.secrets(templates) == []


@pytest.mark.long
def test_app_leaves_it_out_for_a_single_environment(tmp_path: Path) -> None:
    """The stack needs all environments: with one, it would remove the roles of the others."""
    toml = (
        "permissions_boundary = 'CarmenBoundary'\n[pipeline]\nrepository = 'a/b'\nbranch = 'main'\nprotected_environment = 'production'\n"
    )
    with copy_of_the_tree(tmp_path / "tree" / "carmen") as copy:
        for name in environment_names():
            (copy.root / "environments" / f"{name}.toml").unlink()
        (copy.root / "environments" / "prod.toml").write_text(toml, encoding="utf-8")
        for context, there in ((CONTEXT, True), ({**CONTEXT, "env": "prod"}, False)):
            outdir = copy.root / f"cdk.out.{there}"
            done = copy.run(
                ".venv/bin/python", "app.py", CDK_OUTDIR=str(outdir), CDK_CONTEXT_JSON=json.dumps(context), CDK_VALIDATION="false"
            )
            assert done.returncode == 0, done.stderr
            assert (outdir / "CarmenProd.template.json").is_file()
            assert (outdir / f"{NAME}.template.json").is_file() is there
