"""The pipelines as files: both platforms do the same, by make targets that exist, with the least permissions, and no secret in plain."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tools.reports.security import scan

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OWN = [path for path in WORKFLOWS if path.stem != "application"]  # what GitLab has too
READ, COMMENT, TOKEN = {"contents": "read"}, {"contents": "read", "pull-requests": "write"}, {"contents": "read", "id-token": "write"}


def github(path: Path) -> dict[str, Any]:
    """YAML 1.1 reads `on` as true."""
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def jobs() -> dict[str, dict[str, Any]]:
    """`workflow/job` → job, those of GitHub's that are not only calls."""
    return {f"{path.stem}/{name}": job for path in WORKFLOWS for name, job in github(path)["jobs"].items() if "steps" in job}


def gitlab() -> dict[str, dict[str, Any]]:
    """The jobs, with what they extend; a `!reference` is left as the path it names."""
    whole = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8").replace("!reference ", ""))

    def extended(job: dict[str, Any]) -> dict[str, Any]:
        return {**(extended(whole[job["extends"]]) if "extends" in job else {}), **job}

    special = {"stages", "workflow", "default", "variables", "include"}
    return {name: extended(job) for name, job in whole.items() if name not in special and not name.startswith(".")}


def steps_of(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def commands(lines: list[str]) -> list[str]:
    """`make …` of each line, with its values but those that each platform writes in its own way."""
    found = [match[0].strip() for line in lines for match in re.finditer(r"make [a-z][^;\n]*", line)]
    return [re.sub(r'"[^"]*\$[^"]*"', "…", one) for one in found]


def by_github() -> dict[str, list[str]]:
    return {name: commands(steps_of(job)) for path in OWN for name, job in github(path)["jobs"].items() if "steps" in job}


def by_gitlab() -> dict[str, list[str]]:
    return {name: commands([str(line) for line in (*job["script"], *job.get("after_script", []))]) for name, job in gitlab().items()}


# Both do the same


def test_both_platforms_have_the_same_jobs_which_call_the_same_targets() -> None:
    assert by_github() == by_gitlab()
    assert set(by_github()) == {
        *("verify", "supply-chain", "report", "audit", "preview", "remove-preview", "remove-old-previews"),
        *(f"{what}-{where}" for what in ("changes", "deploy", "drift") for where in ("staging", "production")),
    }


@pytest.mark.parametrize("name", sorted(by_github()))
def test_every_step_is_a_target_that_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*)(?=[^\n]*:.*##)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = [command.split()[1] for command in by_github()[name]]
    assert asked[0] == "install"
    assert [target for target in asked if target not in targets] == []
    steps = next(steps_of(path["jobs"][name]) for path in map(github, OWN) if name in path["jobs"] and "steps" in path["jobs"][name])
    assert [line for line in steps if "make " not in line] == []


def test_what_is_deployed_was_verified_in_the_same_run_and_by_the_same_branch() -> None:
    deploy = github(ROOT / ".github/workflows/deploy.yml")
    assert deploy["on"] == {"push": {"branches": ["develop", "main"]}}
    for name, branch in (("staging", "develop"), ("production", "main")):
        job, other = deploy["jobs"][f"deploy-{name}"], gitlab()[f"deploy-{name}"]
        assert job["needs"] == ["verify", f"changes-{name}"]
        assert job["if"] == f"github.ref == 'refs/heads/{branch}'"
        assert other["rules"] == [{"if": f'$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "{branch}"'}]
        assert not any("ref" in step.get("with", {}) for step in job["steps"])  # no other commit than the one that passed
        assert other["stage"] == "deploy"
    assert deploy["jobs"]["verify"]["uses"] == "./.github/workflows/verify.yml"


@pytest.mark.parametrize("name", ["staging", "production"])
def test_a_deployment_waits_for_its_protected_environment_and_for_no_other_deployment(name: str) -> None:
    job, other = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"deploy-{name}"], gitlab()[f"deploy-{name}"]
    assert job["environment"] == other["environment"] == name
    assert job["concurrency"] == {"group": f"deploy-{name}", "cancel-in-progress": False}
    assert other["resource_group"] == f"deploy-{name}"
    assert other["interruptible"] is False


@pytest.mark.parametrize(("name", "branch", "environment"), [("staging", "develop", "staging"), ("production", "main", "prod")])
def test_before_a_deployment_what_it_changes_is_told_and_what_has_drifted(name: str, branch: str, environment: str) -> None:
    """With a role that reads alone. It stops nothing: the approval comes after it, whatever it says."""
    job, other = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"changes-{name}"], gitlab()[f"changes-{name}"]
    assert "environment" not in job  # it would wait for the very approval that it informs, and AWS would not know its token
    (role,) = [step["with"]["role-to-assume"] for step in job["steps"] if "configure-aws-credentials" in step.get("uses", "")]
    variable = f"AWS_DRIFT_ROLE_{name.upper()}"
    assert (role, other["variables"]["AWS_ROLE_ARN"]) == (f"${{{{ vars.{variable} }}}}", f"${variable}")
    assert commands(steps_of(job))[1:] == [
        f"make diff-report BASE=deployed ENV={environment} OUT=report.md",
        "make comment REPORT=report.md",
    ]
    assert (job["continue-on-error"], other["allow_failure"]) == (True, True)
    assert other["stage"] == "verify"
    assert job["if"] == f"github.ref == 'refs/heads/{branch}'"
    assert other["rules"] == [{"if": f'$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_BRANCH == "{branch}"'}]
    (after,) = [step for step in job["steps"] if "make comment" in step.get("run", "")]
    assert after["if"] == "${{ !cancelled() }}"
    assert other["artifacts"] == {"when": "always", "paths": ["report*.md"]}


def test_how_a_deployment_ended_is_told_however_it_ended() -> None:
    for name, environment in (("staging", "staging"), ("production", "prod")):
        last = github(ROOT / ".github/workflows/deploy.yml")["jobs"][f"deploy-{name}"]["steps"][-1]
        assert last["run"].startswith(f"make notify ENV={environment} WHAT=Deployment")
        assert last["if"] == "always()"
        assert any("make notify" in str(line) for line in gitlab()[f"deploy-{name}"]["after_script"])


def test_danger_that_nobody_accepted_fails_and_is_commented_all_the_same() -> None:
    steps = github(ROOT / ".github/workflows/pull-request.yml")["jobs"]["report"]["steps"]
    (report,) = [step for step in steps if "make diff-report" in step.get("run", "")]
    (comment,) = [step for step in steps if "make comment" in step.get("run", "")]
    assert "if" not in report
    assert "continue-on-error" not in report
    assert comment["if"] == "${{ !cancelled() }}"


def test_a_preview_is_made_by_a_person_and_removed_by_itself() -> None:
    workflow = github(ROOT / ".github/workflows/previews.yml")
    assert set(workflow["on"]) == {"workflow_dispatch", "schedule"}
    assert workflow["jobs"]["preview"]["environment"] == "preview"  # whose reviewers have looked at the code
    assert "environment" not in workflow["jobs"]["remove-old-previews"]  # nobody is there to let it through
    made, removed, old = (gitlab()[name] for name in ("preview", "remove-preview", "remove-old-previews"))
    assert made["rules"][0]["when"] == removed["rules"][0]["when"] == "manual"
    assert made["environment"] == {"name": removed["environment"]["name"], "on_stop": "remove-preview"}
    assert removed["environment"]["action"] == "stop"  # closing the request stops its environment
    assert "schedule" in old["rules"][0]["if"]
    for job in (made, removed, old):
        assert job["interruptible"] is False


# Least permissions, pinned, no secret


def test_every_action_is_pinned_by_its_commit_and_says_which_version_that_is() -> None:
    for path in WORKFLOWS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.search(r"^(?!\s*#).*\buses: (\S+)(.*)", line):
                local = match[1].startswith("./.github/workflows/")
                assert local or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", match[1] + match[2]), line


def test_the_same_action_is_the_same_everywhere() -> None:
    used = {use for job in jobs().values() for step in job["steps"] if (use := step.get("uses"))}
    assert len({use.split("@")[0] for use in used}) == len(used)


def test_jobs_have_the_permissions_they_need_and_workflows_none() -> None:
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


def test_who_has_a_token_for_aws_runs_no_code_of_a_pull_request() -> None:
    for path in WORKFLOWS:
        if any("id-token" in job.get("permissions", {}) for job in github(path)["jobs"].values()):
            assert "pull_request" not in github(path)["on"], path
        assert "pull_request_target" not in path.read_text(encoding="utf-8")
    for name, job in gitlab().items():
        assert ("id_tokens" in job) == (name.startswith(("changes-", "deploy-", "drift-")) or "preview" in name), name


def test_no_checkout_leaves_its_token_behind() -> None:
    for name, job in jobs().items():
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, name


def test_every_job_has_a_time_limit() -> None:
    assert [name for name, job in jobs().items() if not 0 < job["timeout-minutes"] <= 120] == []
    assert [name for name, job in gitlab().items() if "timeout" not in job] == []


def test_nothing_of_an_event_is_written_into_a_script() -> None:
    """What others choose, a branch's name say, comes as a variable."""
    assert [line for job in jobs().values() for line in steps_of(job) if "${{" in line] == []


def test_no_secret_stands_in_a_pipeline_and_none_is_kept_for_aws() -> None:
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
def test_what_others_wrote_finds_nothing(command: list[str]) -> None:
    assert shutil.which(command[0]), "`make install` installs it"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
