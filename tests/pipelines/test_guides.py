"""A new team follows docs/first-pipeline.md and docs/previews.md on empty accounts of the embedded AWS, and takes all down again.

The files and commands are those of the pages, so that a changed page changes the test. Not run: the platform's own settings (steps 3 and 4,
whose roles and variables are used here) and `aws signer`, which the embedded AWS lacks.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from constructs_lib.pipelines.oidc_trust import AUDIENCE, GITHUB
from local.deployment import Deployment
from settings.constants import PIPELINE_ACCESS
from tests.isolated_checkout import copy_of_the_tree
from tests.pipelines.guide import REGION, Guide, Team
from tests.pipelines.tokens import token

pytestmark = pytest.mark.long
PAGE = Guide("first-pipeline.md")
PREVIEWS, BY_PIPELINE = Guide("previews.md"), "Previews by pipeline"
WHO, PREPARE = "Configure who may deploy", "Prepare each account, as an administrator"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The embedded AWS, where every account is empty."""
    aws = Deployment(tmp_path_factory.mktemp("aws") / "run")
    with aws.started():
        yield aws
        aws.stop()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, aws: Deployment) -> Iterator[Team]:
    with copy_of_the_tree(tmp_path_factory.mktemp("tree") / "tree" / "carmen") as copy:
        yield Team(copy, aws, tomllib.loads(PAGE.toml(WHO))["account"])


def roles(team: Team) -> dict[str, str]:
    """What `./carmen access` prints."""
    return {key: value for name, outputs in team.stacks().items() if name.startswith(PIPELINE_ACCESS) for key, value in outputs.items()}


def test_account_is_prepared_and_deployed(team: Team) -> None:
    """Steps 1 and 2, where the account has the platform's identity provider already (step 1, and the last table)."""
    team.add("prod", PAGE.toml(WHO))
    team.client("iam").create_open_id_connect_provider(Url=f"https://{GITHUB}", ClientIDList=[AUDIENCE])
    first, *others = PAGE.commands(PREPARE, ACCOUNT=team.account, REGION=REGION)
    refused = team.carmen(*first)
    assert refused.returncode != 0
    assert "already exists" in refused.stdout + refused.stderr
    assert "already exists" in PAGE.section("When it does not work")

    line = re.search(r"`(provider_exists = true)`", PAGE.section(WHO))
    assert line
    team.set("prod", "pipeline", line[1])
    for command in (first, *others):
        team.succeeds(*command)
    execution = team.client("iam").get_role(RoleName=f"cdk-hnb659fds-cfn-exec-role-{team.account}-{REGION}")["Role"]
    boundary = tomllib.loads(PAGE.toml(WHO))["permissions_boundary"]
    assert execution["PermissionsBoundary"]["PermissionsBoundaryArn"] == f"arn:aws:iam::{team.account}:policy/{boundary}"
    assert "CarmenProd" in team.stacks()


def test_environment_and_signing_are_added_later(team: Team) -> None:
    """Step 2, "an environment that is added later", and step 6: existing roles keep their ARNs."""
    before = roles(team)
    staging = PAGE.toml(WHO).replace('"main"', '"develop"').replace('"production"', '"staging"')
    team.add("staging", f"{staging}\nprovider_exists = true")
    line = re.search(r'`(signing_profile = "ARN")` in `\[(\w+)\]`', PAGE.section("The application's pipeline"))
    assert line
    profile = f"arn:aws:signer:{REGION}:{team.account}:/signing-profiles/carmen"
    team.set("prod", line[2], line[1].replace("ARN", profile))
    team.succeeds(*next(PAGE.commands(PREPARE)))
    after = roles(team)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"DeployRoleStaging", "PushRoleStaging", "ReleaseRoleStaging"}
    push = after["PushRoleProd"].rsplit("/", 1)[1]
    (policy,) = team.client("iam").list_role_policies(RoleName=push)["PolicyNames"]
    assert profile in str(team.client("iam").get_role_policy(RoleName=push, PolicyName=policy)["PolicyDocument"])


def test_pipeline_deploys_with_its_own_role_only(team: Team) -> None:
    """Step 4: GitHub's token of the approved environment and branch assumes the role; no other token does."""
    pipeline = tomllib.loads(PAGE.toml(WHO))["pipeline"]
    role = roles(team)["DeployRoleProd"]
    for other in ({"branch": "develop"}, {"environment": "staging"}, {"repository": "example/another"}):
        with pytest.raises(ClientError, match="Not authorized to perform sts:AssumeRoleWithWebIdentity"):
            team.assume(role, token(**{"environment": pipeline["protected_environment"], **pipeline, **other}))
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in PAGE.section("When it does not work")
    credentials = team.assume(role, token(**{"environment": pipeline["protected_environment"], **pipeline}))
    team.succeeds("deploy", "--env", "prod", **credentials)
    assert "CarmenProdBudget" in team.stacks()


def test_environment_is_destroyed_after_its_protections_are_off(team: Team) -> None:
    """The refusal names the settings; one that would protect production less than staging says so (settings/validation.py)."""
    refused = team.carmen("destroy", "--env", "prod", "--confirm", "prod")
    assert refused.returncode != 0
    protections = {"termination_protection": "", "keep_data": "", "deletion_protection": "database"}
    for environment in ("prod", "staging"):
        for key, table in {**protections, "object_lock": "storage"}.items():
            assert key == "object_lock" or f"{key} = false" in refused.stderr, refused.stderr
            team.set(environment, table, f'{key} = false\n{key}_opt_out_reason = "The environment is taken down."')
    team.succeeds("deploy", "--env", "prod")
    shown = team.succeeds("destroy", "--env", "prod", "--confirm", "prod")
    assert "prod is deleted." in shown
    assert {name for name in team.stacks() if name.startswith("CarmenProd")} == set()
    assert "Nothing is retained." in shown
    assert [one["Name"] for one in team.client("s3").list_buckets()["Buckets"] if one["Name"].startswith("carmenprod")] == []
    assert team.client("rds").describe_db_instances()["DBInstances"] == []
    assert "No stack of prod is deployed" in team.succeeds("destroy", "--env", "prod", "--confirm", "prod")


def test_previews_are_set_up_and_used_by_a_pipeline(tmp_path: Path, aws: Deployment) -> None:
    """docs/previews.md in an account of their own; then the first block's commands, with the role's permissions only."""
    block = PREVIEWS.toml(BY_PIPELINE)
    own = tomllib.loads(block)["account"]
    with copy_of_the_tree(tmp_path / "tree" / "carmen") as copy:
        team = Team(copy, aws, "222222222222")
        team.add("preview", block.replace(own, team.account))
        access, *others = PAGE.commands(PREPARE, ACCOUNT=team.account, REGION=REGION)
        refused = team.carmen(*access)
        assert refused.returncode != 0
        assert "set the account of every other environment" in refused.stderr
        for other, account in (("prod", "333333333333"), ("staging", "444444444444")):
            team.set(other, "", f'account = "{account}"')
        for command in (access, *(one for one in others if one[0] == "bootstrap")):
            team.succeeds(*command)
        pipeline = {**tomllib.loads(block)["pipeline"], "branch": "feature"}
        role = team.stacks()[f"{PIPELINE_ACCESS}Previews"]["PreviewRole"]
        credentials = team.assume(role, token(**{"environment": pipeline["protected_environment"], **pipeline}))
        commands = [words for words in PREVIEWS.commands("A preview") if "--image" not in words]
        assert [words[1] for words in commands] == ["up", "list", "remove", "prune"]
        shown = {words[1]: team.succeeds(*words, **credentials) for words in commands}
        assert "pr-123" in shown["list"]
        assert set(team.stacks()) == {"CDKToolkit", PIPELINE_ACCESS, f"{PIPELINE_ACCESS}Previews"}
