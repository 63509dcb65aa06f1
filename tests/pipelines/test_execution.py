"""The workflows, run by nektos/act (tests/pipelines/runner.py): what each event does, twice, and with missing or wrong settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.deployment import POLLS, Deployment
from tests.isolated_checkout import copy_of_the_tree
from tests.pipelines.runner import Platform, Repository, Run
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
    with copy_of_the_tree(tmp_path / "tree" / "carmen", installed=False) as copy:
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


def pull_request(repository: Repository) -> Run:
    return repository.github("pull_request", "pull-request", PULL_REQUEST, {})


def test_pull_request_gets_one_comment_that_later_runs_replace(repository: Repository, platform: Platform) -> None:
    repository.switch("feature")
    repository.append("environments/prod.toml", "\n[service]\ncpu_target_percent = 50\n")
    repository.commit("Scale at half of the processor")
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


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "Input required and not supplied: aws-region"),
        ({"AWS_REGION": "us-east-1"}, "Could not load credentials from any providers"),
        ({**DEPLOYED, "AWS_DEPLOY_ROLE": ROLE.format("Refused")}, "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
    ],
)
def test_deployment_without_its_settings_says_which(
    variables: dict[str, str], message: str, repository: Repository, aws: dict[str, str]
) -> None:
    run = repository.github("push", "deploy", PUSH, aws, **variables)
    assert run.result("deploy-production") == "failure"
    assert message in run.text
