"""The pipeline files: the same jobs on both platforms, existing commands, least permissions and no secrets."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from settings.loader import SettingsError, environment_names, load_all, preview_pipeline
from tests.conftest import ROOT
from tools.cli.cli import cli
from tools.reports.security import scan

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SHARED = [path for path in WORKFLOWS if path.stem != "application"]  # those that GitLab has too
READ, COMMENT, TOKEN = {"contents": "read"}, {"contents": "read", "pull-requests": "write"}, {"contents": "read", "id-token": "write"}


def github(path: Path) -> dict[str, Any]:
    """YAML 1.1 reads `on` as true."""
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def jobs() -> dict[str, dict[str, Any]]:
    """`workflow/job` → job, of GitHub, without those that only call a workflow."""
    return {f"{path.stem}/{name}": job for path in WORKFLOWS for name, job in github(path)["jobs"].items() if "steps" in job}


def gitlab() -> dict[str, dict[str, Any]]:
    """The jobs, with the jobs that they extend; a `!reference` stays a path."""
    whole = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8").replace("!reference ", ""))

    def extended(job: dict[str, Any]) -> dict[str, Any]:
        return {**(extended(whole[job["extends"]]) if "extends" in job else {}), **job}

    special = {"stages", "workflow", "default", "variables", "include"}
    return {name: extended(job) for name, job in whole.items() if name not in special and not name.startswith(".")}


def steps_of(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def commands(lines: list[str]) -> list[str]:
    """`make …` and `./carmen …` of each line; variables, which differ between the platforms, become `…`."""
    found = [match[0].strip() for line in lines for match in re.finditer(r"(?:make|\./carmen) [a-z][^;\n]*", line)]
    return [re.sub(r'"[^"]*\$[^"]*"', "…", one) for one in found]


def by_github() -> dict[str, list[str]]:
    return {name: commands(steps_of(job)) for path in SHARED for name, job in github(path)["jobs"].items() if "steps" in job}


def by_gitlab() -> dict[str, list[str]]:
    return {name: commands([str(line) for line in (*job["script"], *job.get("after_script", []))]) for name, job in gitlab().items()}


# The same jobs


def test_platforms_run_the_same_commands() -> None:
    assert by_github() == by_gitlab()
    assert set(by_github()) == {
        *("verify", "supply-chain", "report", "audit", "updates", "preview", "remove-preview", "remove-old-previews"),
        *(f"{what}-{where}" for what in ("changes", "deploy", "drift") for where in ("staging", "production")),
    }


def parse(command: str) -> None:
    """Parse `./carmen …` without running it; click.UsageError when a command, option or value is wrong."""
    values = {"report.md": __file__}  # an earlier step writes it
    words = [values.get(word, word) for word in shlex.split(command)[1:]]
    found: click.Command = cli
    while isinstance(found, click.Group):
        _, nested, words = found.resolve_command(click.Context(found), words)
        assert nested
        found = nested
    examples = iter(["success"] if found.name == "notify" else ["3", "3"])
    words = [next(examples) if word == "…" else word for word in words]
    found.make_context(found.name, words)


@pytest.mark.parametrize("name", sorted(by_github()))
def test_every_step_is_an_existing_command(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*)(?=[^\n]*:.*##)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = by_github()[name]
    assert found[0] == "make install"
    assert [command for command in found if command.startswith("make ") and command.split()[1] not in targets] == []
    for command in found:
        if command.startswith("./carmen "):
            parse(command)
    steps = next(steps_of(path["jobs"][name]) for path in map(github, SHARED) if name in path["jobs"] and "steps" in path["jobs"][name])
    assert [line for line in steps if not line.startswith(("make ", "./carmen "))] == []


def test_application_workflow_uses_existing_commands() -> None:
    lines = [line for job in github(ROOT / ".github/workflows/application.yml")["jobs"].values() for line in steps_of(job)]
    found = [command for command in commands(lines) if command.startswith("./carmen ")]
    assert found == ["./carmen release deploy … --env … --yes", "./carmen notify Release … --env …"]
    for command in found:
        parse(command.replace("--env …", "--env prod"))


def _image_job(tmp_path: Path, *, pushed_before: bool, pushed_meanwhile: bool = False) -> tuple[list[str], str]:
    """Run the image job's scripts with a Docker and an AWS CLI that print their arguments; their calls, and the job's output."""
    image, calls, output = tmp_path / "pushed", tmp_path / "calls", tmp_path / "output"
    meanwhile = f"touch {image};" if pushed_meanwhile else ""
    programs = {
        "docker": f'echo "docker $*" >> {calls}; if [ "$1" = push ]; then {meanwhile} [ -e {image} ] && exit 1; touch {image}; fi; exit 0',
        "aws": f'if [ "$2" = batch-get-image ]; then [ -e {image} ] && echo sha256:1 || echo None; else echo password; fi',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    if pushed_before:
        image.touch()
    variables = {"REPOSITORY": "1.dkr.ecr/carmen", "GITHUB_SHA": "abc", "GITHUB_OUTPUT": str(output), "DOCKERFILE": "D", "URL": "https://a"}
    for script in steps_of(github(ROOT / ".github/workflows/application.yml")["jobs"]["image"]):
        subprocess.run(["bash", "-e", "-c", script], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin", **variables})
    return calls.read_text(encoding="utf-8").splitlines(), output.read_text(encoding="utf-8")


def test_image_job_can_be_repeated_for_a_commit(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    calls, output = _image_job(tmp_path / "one", pushed_before=False)
    assert calls[-1] == "docker push 1.dkr.ecr/carmen:abc"
    again, same = _image_job(tmp_path / "two", pushed_before=True)
    assert again == calls[:-1]
    assert output == same == "image=1.dkr.ecr/carmen@sha256:1\n"


def test_image_of_a_faster_run_is_used(tmp_path: Path) -> None:
    calls, output = _image_job(tmp_path, pushed_before=False, pushed_meanwhile=True)
    assert calls[-1].startswith("docker push ")
    assert output == "image=1.dkr.ecr/carmen@sha256:1\n"


def test_image_is_built_without_attestations(tmp_path: Path) -> None:
    """With one, Docker pushes an image index, which ECR cannot scan (docker/buildx#1509, alexjurkiewicz/ecr-scan-image#43)."""
    build = _image_job(tmp_path, pushed_before=False)[0][0]
    assert build.startswith("docker build --provenance=false --sbom=false ")


@pytest.mark.parametrize(
    "command", ["./carmen deploy --environment prod", "./carmen notify Deployment --env prod", "./carmen preview make x"]
)
def test_wrong_command_is_noticed(command: str) -> None:
    with pytest.raises(click.UsageError):
        parse(command)


@pytest.mark.parametrize(("name", "environment"), [("staging", "staging"), ("production", "prod")])
def test_deployment_needs_no_terminal(name: str, environment: str) -> None:
    """The platform's protected environment asks for the confirmation."""
    assert f"./carmen deploy --env {environment} --yes" in by_github()[f"deploy-{name}"]


def test_deployment_follows_the_checks_of_its_commit() -> None:
    deploy = github(ROOT / ".github/workflows/deploy.yml")
    assert deploy["on"] == {"push": {"branches": ["develop", "main"]}}
    for name, branch in (("staging", "develop"), ("production", "main")):
        job, other = deploy["jobs"][f"deploy-{name}"], gitlab()[f"deploy-{name}"]
        assert job["needs"] == ["verify", f"changes-{name}"]
        role = f"AWS_DRIFT_ROLE_{name.upper()}"
        assert job["if"] == f"github.ref == 'refs/heads/{branch}' && vars.{role} != ''"
        assert other["rules"] == [{"if": f'$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "{branch}" && ${role}'}]
        assert not any("ref" in step.get("with", {}) for step in job["steps"])  # the checked commit
        assert other["stage"] == "deploy"
    assert deploy["jobs"]["verify"]["uses"] == "./.github/workflows/verify.yml"


@pytest.mark.parametrize("name", ["staging", "production"])
def test_deployment_waits_for_approval_and_for_other_deployments(name: str) -> None:
    job, other = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"deploy-{name}"], gitlab()[f"deploy-{name}"]
    assert job["environment"] == other["environment"] == name
    assert job["concurrency"] == {"group": f"deploy-{name}", "cancel-in-progress": False}
    assert other["resource_group"] == f"deploy-{name}"
    assert other["interruptible"] is False


@pytest.mark.parametrize(("name", "branch", "environment"), [("staging", "develop", "staging"), ("production", "main", "prod")])
def test_changes_and_drift_are_reported_before_a_deployment(name: str, branch: str, environment: str) -> None:
    """With a read-only role. The report stops nothing: the approval follows it."""
    job, other = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"changes-{name}"], gitlab()[f"changes-{name}"]
    assert "environment" not in job  # it would wait for the approval that it informs, and AWS would refuse its token
    (role,) = [step["with"]["role-to-assume"] for step in job["steps"] if "configure-aws-credentials" in step.get("uses", "")]
    variable = f"AWS_DRIFT_ROLE_{name.upper()}"
    assert (role, other["variables"]["AWS_ROLE_ARN"]) == (f"${{{{ vars.{variable} }}}}", f"${variable}")
    assert commands(steps_of(job))[1:] == [
        f"./carmen diff --base deployed --env {environment} --output report.md",
        "./carmen comment report.md",
    ]
    assert (job["continue-on-error"], other["allow_failure"]) == (True, True)
    assert other["stage"] == "verify"
    assert job["if"] == f"github.ref == 'refs/heads/{branch}' && vars.{variable} != ''"
    assert other["rules"] == [{"if": f'$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "{branch}" && ${variable}'}]
    (after,) = [step for step in job["steps"] if "./carmen comment" in step.get("run", "")]
    assert after["if"] == "${{ !cancelled() }}"
    assert other["artifacts"] == {"when": "always", "paths": ["report*.md"]}


def test_fork_without_variables_starts_no_job_with_a_role() -> None:
    """It stays green: such a job needs a variable before it starts. A person starts a manual run of previews."""
    for name, job in jobs().items():
        uses = [step["with"]["role-to-assume"] for step in job["steps"] if "configure-aws-credentials" in step.get("uses", "")]
        if any("vars." in role for role in uses) and "workflow_dispatch" not in job.get("if", ""):
            assert re.search(r"&& vars\.AWS_\w+_ROLE\w* != ''$|^vars\.AWS_\w+_ROLE\w* != ''$", job["if"]), name
            assert "AWS_DEPLOY_ROLE" not in job["if"]  # a variable of an environment is empty here
    for name, job in gitlab().items():
        if "id_tokens" in job:
            assert all(re.search(r"\$AWS_\w+_ROLE\w*$", rule["if"]) for rule in job["rules"]), name


def test_required_checks_are_named_as_github_reports_them() -> None:
    """A job of a called workflow is `caller / called` (actions/runner#1917)."""
    path = ROOT / ".github/workflows/pull-request.yml"
    names = []
    for name, job in github(path)["jobs"].items():
        called = github(ROOT / job["uses"])["jobs"] if "uses" in job else None
        names += [f"`{name} / {one}`" for one in called] if called else [f"`{name}`"]
    assert f"names on GitHub: {', '.join(names)}." in path.read_text(encoding="utf-8")


def test_result_of_a_deployment_is_sent_in_every_case() -> None:
    for name, environment in (("staging", "staging"), ("production", "prod")):
        last = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"deploy-{name}"]["steps"][-1]
        assert last["run"] == f'./carmen notify Deployment "$RESULT" --env {environment}'
        assert last["if"] == "always()"
        assert any("./carmen notify" in str(line) for line in gitlab()[f"deploy-{name}"]["after_script"])


def test_unaccepted_danger_fails_and_is_commented() -> None:
    steps = github(ROOT / ".github/workflows/pull-request.yml")["jobs"]["report"]["steps"]
    (report,) = [step for step in steps if "./carmen diff" in step.get("run", "")]
    (comment,) = [step for step in steps if "./carmen comment" in step.get("run", "")]
    assert "if" not in report
    assert "continue-on-error" not in report
    assert comment["if"] == "${{ !cancelled() }}"


def test_previews_start_manually_and_are_removed_automatically() -> None:
    workflow = github(ROOT / ".github/workflows/previews.yml")
    assert set(workflow["on"]) == {"workflow_dispatch", "schedule"}
    assert workflow["jobs"]["preview"]["environment"] == "preview"  # its reviewers read the code
    assert "environment" not in workflow["jobs"]["remove-old-previews"]  # a schedule has no reviewer
    made, removed, old = (gitlab()[name] for name in ("preview", "remove-preview", "remove-old-previews"))
    assert made["rules"][0]["when"] == removed["rules"][0]["when"] == "manual"
    assert made["environment"] == {"name": removed["environment"]["name"], "on_stop": "remove-preview"}
    assert removed["environment"]["action"] == "stop"  # closing the request stops its environment
    assert old["rules"][0]["if"].startswith('$CI_PIPELINE_SOURCE == "schedule" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH ')
    for job in (made, removed, old):
        assert job["interruptible"] is False
        assert job["needs"] == []  # tests of an hour do not delay a preview, and a failed one does not stop its removal


def test_documented_preview_pipeline_is_valid_and_uses_the_default_branch(tmp_path: Path) -> None:
    """GitHub runs a schedule on the default branch only: the role must trust that branch. The document's example is loaded."""
    text = (ROOT / "docs" / "previews.md").read_text(encoding="utf-8")
    example = re.search(r"^ {7}account = .*?\n\n(?=   \S)", text, re.MULTILINE | re.DOTALL)
    assert example
    lines = [line.strip() for line in example[0].splitlines()]
    table = lines.index("[pipeline]")
    for path in (ROOT / "environments").glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    preview = tmp_path / "preview.toml"
    whole = [*lines[:table], preview.read_text(encoding="utf-8"), *lines[table:]]
    preview.write_text("\n".join(whole), encoding="utf-8")
    with pytest.raises(SettingsError, match="set the account of every other environment"):
        preview_pipeline(load_all(environment_names(tmp_path), tmp_path), tmp_path)
    for name, account in (("prod", "111111111111"), ("staging", "222222222222")):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'account = "{account}"\n{path.read_text(encoding="utf-8")}', encoding="utf-8")
    settings = preview_pipeline(load_all(environment_names(tmp_path), tmp_path), tmp_path)
    assert settings
    assert settings.pipeline
    assert settings.pipeline.branch == "main"
    assert '# branch = "main"' in (ROOT / "environments" / "preview.toml").read_text(encoding="utf-8")


# Least permissions, pinned, no secret


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    for path in WORKFLOWS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.search(r"^(?!\s*#).*\buses: (\S+)(.*)", line):
                local = match[1].startswith("./.github/workflows/")
                assert local or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", match[1] + match[2]), line


def test_each_action_has_one_version() -> None:
    used = {use for job in jobs().values() for step in job["steps"] if (use := step.get("uses"))}
    assert len({use.split("@")[0] for use in used}) == len(used)


def test_jobs_have_least_permissions_and_workflows_none() -> None:
    needed = dict.fromkeys(jobs(), READ) | {
        "pull-request/report": COMMENT,
        **{
            f"{what}-{where}": TOKEN
            for what in ("deploy/changes", "deploy/deploy", "scheduled/drift")
            for where in ("staging", "production")
        },
        **dict.fromkeys(["application/image", "application/release"], TOKEN),
        **dict.fromkeys(["previews/preview", "previews/remove-preview"], TOKEN),
        "previews/remove-old-previews": {**TOKEN, "pull-requests": "read"},
    }
    assert {name: job["permissions"] for name, job in jobs().items()} == needed
    assert all(github(path)["permissions"] == {} for path in WORKFLOWS)


def test_jobs_with_aws_tokens_run_no_code_of_pull_requests() -> None:
    for path in WORKFLOWS:
        if any("id-token" in job.get("permissions", {}) for job in github(path)["jobs"].values()):
            assert "pull_request" not in github(path)["on"], path
        assert "pull_request_target" not in path.read_text(encoding="utf-8")
    for name, job in gitlab().items():
        assert ("id_tokens" in job) == (name.startswith(("changes-", "deploy-", "drift-")) or "preview" in name), name


def test_checkouts_do_not_keep_their_token() -> None:
    for name, job in jobs().items():
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, name


def test_every_job_has_a_time_limit() -> None:
    assert [name for name, job in jobs().items() if not 0 < job["timeout-minutes"] <= 120] == []
    assert [name for name, job in gitlab().items() if "timeout" not in job] == []


def test_scripts_contain_no_value_of_an_event() -> None:
    """Values that others choose, such as branch names, are passed as variables."""
    assert [line for job in jobs().values() for line in steps_of(job) if "${{" in line] == []


def test_pipelines_contain_no_secret_and_no_aws_key() -> None:
    files = [*WORKFLOWS, ROOT / ".gitlab-ci.yml"]
    assert scan.secrets(files) == []
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"secrets\.([\w-]+)", text)) <= {"infrastructure-token"}, path
        assert not re.search(r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)", text), path


@pytest.mark.parametrize(
    "command",
    [
        ["zizmor", "--offline", "--no-progress", "--min-severity", "medium", str(ROOT / ".github")],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
        ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(ROOT / ".gitlab-ci.yml")],
        ["check-jsonschema", "--builtin-schema", "vendor.dependabot", str(ROOT / ".github" / "dependabot.yml")],
    ],
    ids=["zizmor", "GitHub's schema", "GitLab's schema", "Dependabot's schema"],
)
def test_external_validators_find_nothing(command: list[str]) -> None:
    assert shutil.which(command[0]), "`make install` installs it"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
