"""The stacks CarmenPipelineAccess*: when they exist, for which roles, and the validators' findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from settings.constants import PIPELINE_ACCESS as NAME
from settings.loader import SettingsError, environment_names, load
from tests.conftest import CONTEXT, Built
from tests.isolated_checkout import copy_of_the_tree
from tests.pipeline_access import access, settings
from tools.cli.commands.deployment import access_stacks, unprotect_failed
from tools.reports.security import scan
from tools.reports.security.policies import ResolvedAssembly
from tools.reports.security.policy_evaluator import Account


def test_settings_without_a_pipeline_create_no_stack(tmp_path: Path) -> None:
    assert [name for name in environment_names() if load(name).pipeline] == []  # the files of this repository
    assert access(tmp_path, *(load(name) for name in environment_names())).templates == {}


def test_each_account_and_environment_has_its_own_stack(tmp_path: Path) -> None:
    prod = settings("prod", "main", "production").model_copy(update={"account": "111111111111"})
    staging = settings("staging", "develop", "staging").model_copy(update={"account": "222222222222"})
    built = access(tmp_path, prod, staging)
    assert {name: set(template["Outputs"]) for name, template in built.templates.items()} == {
        f"{NAME}111111111111": {"DiffRole", "DriftRole"},
        f"{NAME}222222222222": {"DiffRole", "DriftRole"},
        f"{NAME}Prod": {"DeployRoleProd", "PushRoleProd", "ReleaseRoleProd"},
        f"{NAME}Staging": {"DeployRoleStaging", "PushRoleStaging", "ReleaseRoleStaging"},
    }
    for account in ("111111111111", "222222222222"):  # scheduled jobs run on one branch for all accounts
        resources = built.templates[f"{NAME}{account}"]["Resources"]
        (drift,) = (one["Properties"] for name, one in resources.items() if name.startswith("ReadDrift") and "Role" in one["Type"])
        assert {branch for branch in ("main", "develop") if f"refs/heads/{branch}" in str(drift)} == {"main", "develop"}
    assert {(one.id, one.stack_name, one.environment.account, one.environment.region) for one in built.app.synth().stacks} == {
        (f"{NAME}111111111111", NAME, "111111111111", "us-east-1"),
        (f"{NAME}222222222222", NAME, "222222222222", "us-east-1"),
        (f"{NAME}Prod", f"{NAME}Prod", "111111111111", "us-east-1"),
        (f"{NAME}Staging", f"{NAME}Staging", "222222222222", "us-east-1"),
    }


def test_existing_oidc_provider_is_reused(tmp_path: Path, github: Built) -> None:
    built = access(tmp_path, settings("prod", "main", "production", provider_exists=True), settings("staging", "develop", "staging"))
    assert built.resources("AWS::IAM::OIDCProvider") == {}
    (provider,) = github.resources("AWS::IAM::OIDCProvider").values()
    assert (provider["DeletionPolicy"], provider["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")  # if this is set later
    for template in built.templates.values():
        assert ":oidc-provider/token.actions.githubusercontent.com" in str(template)


def test_environment_added_later_changes_no_other_stack_of_roles(tmp_path: Path, github: Built) -> None:
    before = access(tmp_path, settings("prod", "main", "production"))
    assert before.templates[f"{NAME}Prod"] == github.templates[f"{NAME}Prod"]


def test_push_and_release_roles_need_an_application_repository(tmp_path: Path) -> None:
    built = access(tmp_path, settings("prod", "main", "production", application_repository=None))
    assert set(built.templates[f"{NAME}Prod"]["Outputs"]) == {"DeployRoleProd"}


def test_stacks_are_described_and_protected(github: Built) -> None:
    for stack in github.app.synth().stacks:
        assert github.templates[stack.id]["Description"].startswith("Carmen pipelines: ")
        assert stack.termination_protection
        assert all(output["Description"] for output in github.templates[stack.id]["Outputs"].values())
    for resource in github.resources("AWS::IAM::Role").values():
        assert {tag["Key"] for tag in resource["Properties"]["Tags"]} == {"owner", "cost-center", "repository"}


# Ten environments of one repository, with names as long as real ones
TEN = ("prod", "staging", "dev", "qa", "demo", "training", "loadtest", "sandbox", "europe", "asia")
REPOSITORIES = {
    "github": {"repository": "example-organisation@123456789/carmen-infrastructure@987654321"},
    "gitlab": {
        "platform": "gitlab",
        "repository": "example-organisation/platform-engineering/carmen-infrastructure",
        "application_repository": "example-organisation/platform-engineering/carmen",
    },
}


@pytest.fixture(scope="module", params=REPOSITORIES)
def ten(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    platform = REPOSITORIES[request.param]
    return access(tmp_path_factory.mktemp("ten"), *(settings(name, f"environments/{name}", name, **platform) for name in TEN))


def test_ten_environments_need_no_bootstrap(ten: Built) -> None:
    """aws-cdk, template-body-parameter.ts: a template goes to the bootstrap's bucket if its YAML exceeds 50 KiB, the limit of requests
    (CloudFormation User Guide, "Understand CloudFormation quotas")."""
    for stack in ten.app.synth().stacks:
        assert len(_as_the_cdk_sends_it(ten.templates[stack.id])) < 51_200
        assert stack.requires_bootstrap_stack_version is None
        assert stack.assets == []
        assert not {stack.assume_role_arn, stack.cloud_formation_execution_role_arn, stack.lookup_role} - {None}
        assert not {"Parameters", "Rules"} & set(ten.templates[stack.id])


class _Indented(yaml.SafeDumper):  # type: ignore[misc]
    """Writes lists below keys as the CDK's library does, and no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _as_the_cdk_sends_it(template: object) -> str:
    return str(yaml.dump(template, Dumper=_Indented, width=10**6))


def test_policies_of_ten_environments_fit_the_quotas(ten: Built) -> None:
    """IAM User Guide, "IAM and AWS STS quotas": a trust policy has 2,048 characters, all inline policies of a role together 10,240."""
    for role in Account.of(ResolvedAssembly(ten.assembly)).roles.values():
        assert len(json.dumps(role.trust, separators=(",", ":"))) <= 2_048, role.name
        assert sum(len(json.dumps(one, separators=(",", ":"))) for one in role.policies.values()) <= 10_240, role.name


def test_trust_policy_of_too_many_repositories_is_refused(tmp_path: Path) -> None:
    """IAM refuses it: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, "Role trust policy length"."""
    platform = {key: value for key, value in REPOSITORIES["github"].items() if key != "repository"}
    repositories = (f"example-organisation@123456789/carmen-infrastructure-{name}@9876543{number}" for number, name in enumerate(TEN, 10))
    ten = [settings(name, "main", name, repository=repository, **platform) for name, repository in zip(TEN, repositories, strict=True)]
    with pytest.raises(SettingsError, match=r"10 environments of 10 repositories.* of the role Drift .* 2,048"):
        access(tmp_path, *ten)


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


@pytest.mark.parametrize(
    ("account", "stacks"),
    [("111111111111", [f"{NAME}Prod"]), ("222222222222", [f"{NAME}Staging"]), ("333333333333", [])],
)
def test_access_deploys_the_stacks_of_the_callers_account(account: str, stacks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    prod = settings("prod", "main", "production").model_copy(update={"account": "111111111111"})
    staging = settings("staging", "develop", "staging").model_copy(update={"account": "222222222222"})
    monkeypatch.setattr("settings.loader.load_all", lambda _: [prod, staging])
    assert access_stacks(account) == stacks


@pytest.mark.parametrize(("status", "unprotected"), [("ROLLBACK_COMPLETE", True), ("UPDATE_ROLLBACK_COMPLETE", False), (None, False)])
def test_access_can_repeat_a_failed_creation(status: str | None, unprotected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CDK deletes a stack whose creation failed, and CloudFormation refuses that for a protected one."""
    changed: list[str] = []

    class CloudFormation:
        def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
            if StackName != NAME or status is None:
                raise ClientError({"Error": {"Code": "ValidationError"}}, "DescribeStacks")
            return {"Stacks": [{"StackStatus": status}]}

        def update_termination_protection(self, *, StackName: str, EnableTerminationProtection: bool) -> None:
            assert not EnableTerminationProtection
            changed.append(StackName)

    monkeypatch.setattr("boto3.client", lambda *_, **__: CloudFormation())
    unprotect_failed([f"{NAME}Prod"])
    assert changed == [NAME] * unprotected
