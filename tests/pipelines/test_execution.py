"""The workflows, run by nektos/act (tests/pipelines/runner.py): what each event does, twice, and with missing or wrong settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.deployment import POLLS, Deployment
from tests.isolated_checkout import copy_of_the_tree
from tests.pipelines.runner import Platform, Repository, Run
from tests.pipelines.tokens import gitlab_token
from tools.cli.commands.comment import MARKER

pytestmark = pytest.mark.long
ROLE = "arn:aws:iam::000000000000:role/CarmenPipelineAccess-{}"
DEPLOYED = {"AWS_REGION": "us-east-1", "AWS_DEPLOY_ROLE": ROLE.format("ProdDeploy"), "AWS_DRIFT_ROLE_PRODUCTION": ROLE.format("ProdDrift")}
PUSH: dict[str, Any] = {"ref": "refs/heads/main"}
PULL_REQUEST: dict[str, Any] = {
    "action": "opened",
    "number": 7,
    "pull_request": {"number": 7, "base": {"ref": "main"}, "head": {"ref": "feature"}},
}


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform()
    with platform.serve():
        yield platform


@pytest.fixture
def repository(tmp_path: Path, platform: Platform) -> Iterator[Repository]:
    with copy_of_the_tree(tmp_path / "tree" / "carmen") as copy:
        yield Repository(copy, platform, tmp_path / "runner")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The embedded AWS, bootstrapped, with nothing else."""
    deployment = Deployment(tmp_path_factory.mktemp("account") / "run")
    with deployment.started():
        deployment.synth()
        deployment.bootstrap()
        yield deployment
        deployment.stop()


@pytest.fixture
def aws(account: Deployment) -> dict[str, str]:
    """Variables of every job: the embedded AWS instead of AWS."""
    return {
        "AWS_ENDPOINT_URL": account.endpoint,
        "EMBEDDED_ACCOUNT": account.variables()["AWS_ACCESS_KEY_ID"],
        "CDK_HOME": str(account.folder / "cdk"),
        "NODE_OPTIONS": f'--require "{POLLS}"',
    }


# Pull requests


def change_a_setting(repository: Repository) -> None:
    """On a new branch."""
    repository.switch("feature")
    repository.append("environments/prod.toml", "\n[service]\ncpu_target_percent = 50\n")
    repository.commit("Scale at half of the processor")


def pull_request(repository: Repository) -> Run:
    return repository.github("pull_request", "pull-request", PULL_REQUEST, {})


def test_pull_request_gets_one_comment_that_later_runs_replace(repository: Repository, platform: Platform) -> None:
    change_a_setting(repository)
    for calls in ("POST", "PATCH"):
        run = pull_request(repository)
        assert run.step("report", "./carmen diff").result == "success", run.text
        assert run.step("report", "./carmen comment").result == "success", run.text
        assert platform.calls[-1][0] == calls
    (comment,) = platform.comments
    assert comment["body"].startswith(MARKER)
    assert "TargetValue" in comment["body"]
    assert (repository.artifacts / "report" / "report.md").is_file()


def test_pull_request_of_a_fork_shows_the_report_without_a_comment(repository: Repository, platform: Platform) -> None:
    """GitHub Docs, "GITHUB_TOKEN": the token of a fork's pull request can only read."""
    platform.refusals = [(200, {}), (403, {})]
    repository.switch("feature")
    run = pull_request(repository)
    assert run.result("report") == "success", run.text
    assert platform.comments == []


# Deployments


def test_push_deploys_and_a_second_run_changes_nothing(repository: Repository, account: Deployment, aws: dict[str, str]) -> None:
    for _ in range(2):
        run = repository.github("push", "deploy", PUSH, aws, **DEPLOYED)
        assert run.result("deploy-production") == "success", run.text
        assert run.step("deploy-production", "./carmen notify").result == "success"
        assert "deploy-staging" not in run.jobs
    assert "CarmenProd" in account.stacks()


def test_deployment_waits_until_its_variables_exist(repository: Repository, aws: dict[str, str]) -> None:
    """A new fork stays green."""
    run = repository.github("push", "deploy", PUSH, aws)
    assert run.jobs == {"verify": "success", "supply-chain": "success"}, run.text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_REGION": ""}, "Input required and not supplied: aws-region"),
        ({"AWS_DEPLOY_ROLE": ""}, "Could not load credentials from any providers"),
        ({"AWS_DEPLOY_ROLE": ROLE.format("Refused")}, "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
    ],
)
def test_deployment_without_its_settings_says_which(
    variables: dict[str, str], message: str, repository: Repository, aws: dict[str, str]
) -> None:
    run = repository.github("push", "deploy", PUSH, aws, **(DEPLOYED | variables))
    assert run.result("deploy-production") != "success"
    assert message in run.text


# The application's workflow


@pytest.fixture
def application(repository: Repository, deployed: Deployment) -> Repository:
    """The application's repository, whose workflow releases to production. (The files are those of this repository.)"""
    role = {name: ROLE.format(name.title()) for name in ("push-role", "release-role")}
    repository.call_application_workflow(**{"image-repository": deployed.outputs()["ImageRepository"], **role})
    return repository


@pytest.fixture
def deployed(account: Deployment) -> Deployment:
    """The account with production."""
    if "CarmenProd" not in account.stacks():
        account.deploy()
    return account


def application_run(repository: Repository, aws: dict[str, str], **more: str) -> Run:
    return repository.github("push", "caller", PUSH, {**aws, **more})


def running_image(deployed: Deployment) -> str:
    name = deployed.outputs()["ImageParameter"]
    return str(deployed.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def test_application_is_built_scanned_and_released_and_again(application: Repository, deployed: Deployment, aws: dict[str, str]) -> None:
    """A registry that does not answer is named; the next run works; a third run of the same commit pushes and releases nothing."""
    run = application_run(application, aws, AWS_ENDPOINT_URL_ECR="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert run.result("image") == "failure"
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9/"' in run.text
    assert "release" not in run.jobs

    run = application_run(application, aws)
    assert run.jobs == dict.fromkeys(("test", "supply-chain", "image", "release"), "success"), run.text
    assert "waiting for ECR's scan" in run.step("release", "./carmen release").text
    assert run.step("release", "./carmen notify").result == "success"
    image = running_image(deployed)
    assert image.startswith(deployed.outputs()["ImageRepository"])

    run = application_run(application, aws)
    assert run.result("release") == "success", run.text
    assert f"runs {image} already: nothing to do" in run.step("release", "./carmen release").text
    calls = application.calls.read_text(encoding="utf-8").splitlines()
    assert len([call for call in calls if call.startswith("docker push")]) == 1
    assert len([call for call in calls if call.startswith("docker build --provenance=false --sbom=false")]) == 3
    assert running_image(deployed) == image


def test_application_with_critical_findings_is_not_released(application: Repository, deployed: Deployment, aws: dict[str, str]) -> None:
    before = running_image(deployed)
    application.append("README.md", "\nAnother commit.\n")
    application.commit("Use a base image with findings")
    run = application_run(application, aws, ANNOTATIONS='{"local.carmen/critical-findings": "2"}')
    assert run.jobs["image"] == "success", run.text
    assert run.result("release") == "failure"
    assert "has 2 critical findings" in run.step("release", "./carmen release").text
    assert running_image(deployed) == before


# Schedules and dispatches


def test_schedule_before_the_first_deployment_fails(repository: Repository, aws: dict[str, str]) -> None:
    """Its last step says why the alert cannot be sent."""
    drift = {"AWS_DRIFT_ROLE_STAGING": ROLE.format("Drift"), "AWS_REGION": "us-east-1"}
    run = repository.github("schedule", "scheduled", {}, aws, **drift)
    assert run.result("drift-staging") == "failure", run.text
    assert "0 of 12 stacks match" in run.step("drift-staging", "./carmen drift").text
    assert "CarmenStaging" in run.step("drift-staging", "./carmen notify").text


@pytest.mark.parametrize("remove", ["false", "true"])
def test_dispatch_makes_and_removes_a_preview(remove: str, repository: Repository, account: Deployment, aws: dict[str, str]) -> None:
    inputs = {"inputs": {"name": "pr-7", "days": "2", "remove": remove}, "ref": "refs/heads/main"}
    variables = {"AWS_PREVIEW_ROLE": ROLE.format("Preview"), "AWS_REGION": "us-east-1"}
    run = repository.github("workflow_dispatch", "previews", inputs, aws, **variables)
    job = "remove-preview" if remove == "true" else "preview"
    assert run.jobs == {job: "success"}, run.text
    stacks = [stack for stack in account.client("cloudformation").describe_stacks()["Stacks"] if "Preview-pr-7" in stack["StackName"]]
    assert bool(stacks) == (remove == "false")


# GitLab

MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
}
SCHEDULE = {"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}


def test_merge_request_gets_one_comment_that_later_runs_replace(repository: Repository, platform: Platform) -> None:
    change_a_setting(repository)
    for method in ("POST", "PUT"):
        run = repository.gitlab("report", MERGE_REQUEST, {}, REPORT_TOKEN="of-the-project")
        assert run.result("report") == "success", run.text
        assert platform.calls[-1][0] == method
    assert len(platform.comments) == 1


GITLAB_PUSH = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
PROJECT = "example/platform/carmen-infrastructure"


@pytest.fixture
def gitlab_role(account: Deployment) -> str:
    """A role that trusts the project's branches; the permissions of the real ones: tests/pipelines/test_guides.py."""
    iam, name = account.client("iam"), "GitLab"
    if name not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        subject = f"project_path:{PROJECT}:ref_type:branch:ref:*"
        trust = {
            "Effect": "Allow",
            "Principal": {"Federated": "arn:aws:iam::000000000000:oidc-provider/gitlab.com"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"gitlab.com:aud": "sts.amazonaws.com"}, "StringLike": {"gitlab.com:sub": subject}},
        }
        every = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))
        document = json.dumps({"Version": "2012-10-17", "Statement": [every]})
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def with_token(aws: dict[str, str], branch: str) -> dict[str, str]:
    return {**aws, "AWS_REGION": "us-east-1", "AWS_TOKEN": gitlab_token(repository=PROJECT, branch=branch)}


def test_gitlab_compares_and_deploys(repository: Repository, deployed: Deployment, aws: dict[str, str], gitlab_role: str) -> None:
    """The job presents GitLab's token; boto3 and the CDK assume the role with it."""
    variables = {"AWS_ROLE_ARN": gitlab_role, "AWS_DRIFT_ROLE_PRODUCTION": gitlab_role}
    for job in ("changes-production", "deploy-production"):
        run = repository.gitlab(job, GITLAB_PUSH, with_token(aws, "main"), **variables)
        assert run.result(job) == "success", run.text
    assert "CarmenProd" in deployed.stacks()


def test_gitlab_makes_removes_and_prunes_previews(
    repository: Repository, account: Deployment, aws: dict[str, str], gitlab_role: str
) -> None:
    given, variables = with_token(aws, "feature"), {"AWS_PREVIEW_ROLE": gitlab_role}
    for job, event, there in (
        ("preview", MERGE_REQUEST, True),
        ("remove-old-previews", SCHEDULE, True),
        ("remove-preview", MERGE_REQUEST, False),
    ):
        run = repository.gitlab(job, event, given, **variables)
        assert run.result(job) == "success", run.text
        stacks = account.client("cloudformation").describe_stacks()["Stacks"]
        assert any("Preview-mr-7" in stack["StackName"] for stack in stacks) is there


def test_role_that_sts_refuses_is_named(repository: Repository, aws: dict[str, str]) -> None:
    """The embedded AWS has no identity provider: boto3 really presents GitLab's token to STS."""
    run = repository.gitlab("drift-production", SCHEDULE, aws, AWS_DRIFT_ROLE_PRODUCTION=ROLE.format("Drift"), AWS_TOKEN="token")
    assert run.result("drift-production") == "failure"
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in run.text
