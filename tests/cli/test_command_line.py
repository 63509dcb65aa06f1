"""Every command: its help, a typo, a missing option, missing credentials, with message and exit code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError

from settings.changes import record
from settings.loader import load
from tests.cli.conftest import NO_CREDENTIALS, main
from tests.conftest import ROOT
from tools.cli.cli import EXIT_CODES, SECTIONS, cli
from tools.cli.options import environment_names

IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/carmen@sha256:" + "a" * 64
SIGN_IN = "Sign in with `aws sso login`"
# Command with the arguments that it needs. `None`: it needs no credentials.
COMPLETE = {
    "deploy": "--yes",
    "diff": "--base deployed",
    "cost": None,
    "settings": None,
    "synth": None,
    "bootstrap": None,  # see test_cdk_failure_without_credentials
    "cdk": None,
    "destroy": "--confirm prod",
    "access": "--yes",
    "account check": "--prove --yes",
    "release deploy": IMAGE,
    "release rollback": "--yes",
    "release repair": "--yes",
    "release list": "",
    "preflight": "",
    "postflight": "",
    "tasks restart": "--yes",
    "tasks scale": "4 --yes",
    "firewall block": "203.0.113.7 --yes",
    "firewall unblock": "203.0.113.7 --yes",
    "firewall list": "",
    "firewall attack-mode": "on --yes",
    "backup now": "",
    "backup list": "",
    "backup verify": "",
    "backup restore": "--host localhost --login me --database d",
    "backup accept": "--host localhost --login me --database d --restored d_differs_1",
    "database shell": "",
    "database swap": "restored --yes",
    "database wake": "--env dev",
    "secrets": "",
    "names": "",
    "drift": "",
    "preview up": "pr-1",
    "preview list": "",
    "preview remove": "pr-1 --yes",
    "preview prune": "",
    "notify": "Deployment success",
    "comment": None,
    "completion": None,
}
MISSING = {
    "release deploy": "Missing argument 'IMAGE'",
    "bootstrap": "Give at least one account and region",
    "cdk": "Give a command of the CDK, such as diff",
    "firewall block": "Missing argument 'ADDRESS'",
    "firewall unblock": "Missing argument 'ADDRESS'",
    "firewall attack-mode": "Missing argument '{on|off}'",
    "backup restore": "Missing option '--host'",
    "backup restore --host h": "Missing option '--database'",
    "backup accept": "Missing option '--host'",
    "database swap": "Missing argument 'INSTANCE'",
    "preview up": "Missing argument 'NAME'",
    "preview remove": "Missing argument 'NAME'",
    "notify": "Missing argument 'WHAT'",
    "notify Deployment": "Missing argument '{success|",
    "comment": "Missing argument 'REPORT'",
    "completion": "Missing argument '{bash|zsh|fish}'",
}
TYPOS = {
    "depoly": "No such command 'depoly'",
    "release deplyo": "No such command 'deplyo'. Did you mean 'deploy'?",
    "rollback": "No such command 'rollback'. Did you mean 'release rollback'?",
    "list": "Did you mean 'release list' or 'firewall list' or 'backup list' or 'preview list'?",
    "--env dev names": "--env follows the command: `./carmen names --env dev`.",
    "diff --output no-such-folder/report.md": "no-such-folder does not exist",
    "tasks scale many": "'many' is not a valid integer range",
    "tasks scale 0": "0 is not in the range 1<=x<=100",
    "tasks scale 101": "101 is not in the range 1<=x<=100",
    "firewall block 203.0.113.256": "give an address or a range, such as 203.0.113.7",
    "firewall attack-mode maybe": "'maybe' is not one of 'on', 'off'",
    "backup restore --host h --database d --port x": "'x' is not a valid integer range",
    "backup restore --host h --database d --allow all": "'all' is not one of 'non-empty', 'production'",
    "preview up pr-1 --days 15": "15 is not in the range 1<=x<=14",
    "preview up pr-1 --days 0": "0 is not in the range 1<=x<=14",
    "preview up pr-1 --days 1.5": "'1.5' is not a valid integer range",
    "notify Deployment ok": "'ok' is not one of 'success', 'failure'",
    "comment no-such-report.md": "File 'no-such-report.md' does not exist",
    "diff --base main --env prod": "--env prod needs `--base deployed`",
    f"release deploy {IMAGE} --allow all": "'all' is not 'unscanned'",
    "completion tcsh": "'tcsh' is not one of 'bash', 'zsh', 'fish'",
}


def all_commands() -> Iterator[tuple[str, click.Command]]:
    for command in (one for commands in SECTIONS.values() for one in commands):
        nested = command.commands.values() if isinstance(command, click.Group) else []
        yield from ((f"{command.name} {one.name}", one) for one in nested)
        if not nested:
            yield str(command.name), command


COMMANDS = dict(all_commands())
WITH_ENVIRONMENT = [name for name, command in COMMANDS.items() if any("--env" in option.opts for option in command.params)]


def test_tables_have_every_command() -> None:
    assert COMPLETE.keys() == COMMANDS.keys()
    assert {name.split(" ")[0] for name in COMMANDS} == cli.commands.keys()


def test_root_help_has_one_line_per_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith("."), line
    assert f"  {EXIT_CODES}" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_the_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    output = capsys.readouterr().out
    assert f"Usage: ./carmen {name} " in output
    example = output.partition("Example:\n")[2].splitlines()[0]
    assert f"./carmen {name}" in example
    assert EXIT_CODES in output


@pytest.mark.parametrize("name", COMMANDS)
def test_example_has_valid_options(name: str) -> None:
    """Parsed by click, without running the command."""
    command = COMMANDS[name]
    example = (command.help or "").rpartition("Example:")[2].replace('eval "$(', "").replace(')"', "").replace("report.md", __file__)
    words = shlex.split(example)[1 + len(name.split()) :]
    with command.make_context(name, words):
        pass


@pytest.mark.parametrize("name", COMMANDS)
def test_typo_in_an_option_is_a_usage_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in ("cdk", "bootstrap"):
        pytest.skip("passes unknown options to the CDK CLI")
    assert main([*name.split(), "--enviroment", "prod"]) == 2
    assert "No such option '--enviroment'" in capsys.readouterr().err


@pytest.mark.parametrize("name", WITH_ENVIRONMENT)
def test_unknown_environment_names_the_nearest(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--env", "prdo"]) == 2
    message = "environments/prdo.toml does not exist; did you mean 'prod'? Environments: dev, prod, staging, preview-NAME."
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", "a b", "Prod", "preview", "preview-", "preview-PR", "'; touch cdk.out; '"])
def test_environment_variable_is_checked_like_the_option(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if value:
        monkeypatch.setenv("CARMEN_ENV", value)
    assert main(["settings", *([] if value else ["--env", ""])]) == 2
    assert f"environments/{value}.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("name", MISSING)
def test_missing_argument_is_a_usage_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(name.split()) == 2
    assert MISSING[name] in capsys.readouterr().err


@pytest.mark.parametrize("line", TYPOS)
def test_wrong_value_is_a_usage_error(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert TYPOS[line] in capsys.readouterr().err


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("name", [name for name, arguments in COMPLETE.items() if arguments is not None])
def test_missing_credentials(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POSTGRESQL_HOME", "/nowhere")
    monkeypatch.setenv("PGPASSWORD", "not used")
    monkeypatch.setattr(sys, "path", [*sys.path])
    if name in ("preflight", "postflight"):
        monkeypatch.setattr("tools.cli.commands.checklist._git", lambda *arguments: "")
    if name in ("drift", "destroy"):
        monkeypatch.setattr("tools.reports.drift.stacks_of", lambda settings: [("CarmenProd", "us-east-1")])
    if name == "diff":
        monkeypatch.setattr("tools.reports.diff.live.environments", lambda name: [type("Settings", (), {"region": "us-east-1"})])
    assert main([*name.split(), *(COMPLETE[name] or "").split()]) == 1
    errors = capsys.readouterr().err
    assert "No usable AWS credentials (Unable to locate credentials). " + SIGN_IN in errors
    assert "Traceback" not in errors


@pytest.mark.usefixtures("no_credentials")
def test_missing_profile_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    assert main(["secrets"]) == 1
    assert "No usable AWS credentials (The config profile (absent) could not be found). " + SIGN_IN in capsys.readouterr().err


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("cdk diff --env dev", "diff --no-notices -c env=dev"),
        ("cdk deploy --all -c env=dev", "deploy --all -c env=dev --no-notices"),
        ("bootstrap aws://000000000000/us-east-1 --force", "bootstrap --no-notices aws://000000000000/us-east-1 --force"),
        ("synth --env staging", "synth --quiet --no-notices --no-validation --exclusively CarmenStaging -c env=staging"),
    ],
)
def test_cdk_failure_without_credentials(
    line: str, arguments: str, fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The CDK's own error and exit code, then what to do."""
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # cdk.out
    fake_cdk.write_text('echo "$@"; echo its own error >&2; exit 7', encoding="utf-8")
    assert main(line.split()) == 7
    output, errors = capfd.readouterr()
    assert output == f"{arguments}\n"
    assert errors.startswith("its own error\nNo usable AWS credentials")


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDenied", "AWS refused AssumeRoleWithWebIdentity: Not authorized to perform sts:AssumeRoleWithWebIdentity"),
        ("ExpiredToken", f"AWS refused AssumeRoleWithWebIdentity: Not authorized to perform sts:AssumeRoleWithWebIdentity. {SIGN_IN}"),
        ("", None),
    ],
)
def test_cdk_failure_shows_the_refusal_of_sts(
    code: str, message: str | None, fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The CDK CLI hides it: "Unable to resolve AWS account to use"."""

    class Sts:
        @staticmethod
        def get_caller_identity() -> None:
            if code:
                error = {"Code": code, "Message": "Not authorized to perform sts:AssumeRoleWithWebIdentity"}
                raise ClientError({"Error": error}, "AssumeRoleWithWebIdentity")

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.client", lambda *_, **__: Sts)
    fake_cdk.write_text("echo its own error >&2; exit 7", encoding="utf-8")
    assert main(["cdk", "diff"]) == 7
    errors = capfd.readouterr().err
    assert errors.startswith(f"its own error\n{message}" if message else "its own error\n")
    assert bool(message) == ("AWS refused" in errors)


@pytest.fixture
def deployed_record(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The outputs of the deployed stacks Network and EdgeGlobal; without any, nothing is deployed. The CDK's lookup role is not asked."""
    outputs: dict[str, Any] = {}

    class CloudFormation:
        @staticmethod
        def describe_stacks(**_: str) -> dict[str, Any]:
            if not outputs:
                raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
            return {"Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]}]}

        @staticmethod
        def get_paginator(_: str) -> Any:
            return SimpleNamespace(paginate=lambda **_: [{"StackSummaries": []}])  # CloudFormation works on no stack

    monkeypatch.setattr("tools.reports.drift.lookup_client", lambda *_: CloudFormation)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return outputs


@pytest.mark.usefixtures("no_credentials", "fake_cdk")
def test_deploy_refuses_a_fixed_setting(deployed_record: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Before the CDK runs, with exit code 3 and the steps that work."""
    settings = {**record(load("prod")), "network.cidr": "10.99.0.0/16", "storage.backup_copy_region": "eu-west-1"}
    deployed_record["Settings"] = json.dumps(settings)
    assert main(["deploy", "--yes"]) == 3
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith("Nothing was changed. Settings that cannot simply change:\n")
    assert "network.cidr: '10.99.0.0/16' → '10.20.0.0/16': cannot change once deployed. A VPC's range" in errors
    assert "  1. Create environments/NAME.toml with the new value" in errors
    assert "storage.backup_copy_region: 'eu-west-1' → not set: changes in this order." in errors
    assert "`./carmen deploy --steps-taken storage.backup_copy_region`" in errors
    assert main(["deploy", "--yes", "--steps-taken", "storage.backup_copy_region"]) == 3
    assert "backup_copy_region" not in capfd.readouterr().err


@pytest.mark.usefixtures("no_credentials", "fake_cdk")
def test_deploy_with_steps_taken(deployed_record: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    deployed_record["Settings"] = json.dumps({**record(load("prod")), "storage.backup_copy_region": "eu-west-1"})
    assert main(["deploy", "--yes", "--steps-taken", "storage.backup_copy_region"]) == 0
    assert "-c env=prod CarmenProd" in capfd.readouterr().out
    deployed_record["Settings"] = json.dumps({**record(load("prod")), "database.engine_major": "16"})  # down it is fixed, up it has steps
    assert main(["deploy", "--yes", "--steps-taken", "database.engine_major"]) == 0
    assert main(["deploy", "--yes", "--steps-taken", "network.cidr"]) == 2
    assert "--steps-taken network.cidr: only settings that change in a stated order have steps" in capfd.readouterr().err


@pytest.mark.usefixtures("no_credentials", "fake_cdk")
def test_deploy_of_an_older_version_warns(deployed_record: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    deployed_record["ExportsOutputVpc"] = "vpc-1"
    assert main(["deploy", "--yes"]) == 0
    assert "Warning: CarmenProdNetwork has no output Settings" in capfd.readouterr().err


@pytest.mark.usefixtures("no_credentials", "deployed_record")
def test_deploy_states_the_change_and_never_asks_twice(
    fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy"]) == 3
    assert "Nothing was changed: a change of prod needs confirmation on a terminal, or the option --yes." in capfd.readouterr().err
    assert main(["deploy", "--yes"]) == 0
    output, errors = capfd.readouterr()
    assert output.endswith("deploy --no-notices --no-validation --require-approval never -c env=prod CarmenProd CarmenProdBudget\n")
    assert errors.startswith(
        "Change of prod: CarmenProd, CarmenProdBudget become what this folder synthesizes\nUndo: deploy the previous commit"
    )


@pytest.mark.usefixtures("no_credentials", "fake_cdk", "deployed_record")
@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 3), (None, 3)])
def test_deploy_on_a_terminal_shows_the_changes_and_asks(
    answer: bool | None, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`None`: the end of input. The deployed changes are those shown."""

    def confirm(*_: object, **__: object) -> bool:
        if answer is None:
            raise click.Abort
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert main(["deploy"]) == code
    output, errors = capfd.readouterr()
    assert "diff --no-notices --no-validation -c env=prod CarmenProd CarmenProdBudget" in output
    assert ("deploy --no-notices --no-validation --require-approval never --app cdk.out CarmenProd CarmenProdBudget" in output) == (
        code == 0
    )
    assert ("Nothing was changed: not confirmed." in errors) == (code == 3)


def test_environments_are_those_of_the_loader() -> None:
    from settings.loader import environment_names as of_loader

    assert environment_names() == of_loader()


def test_settings_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--env", "dev", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"key": "name", "value": "'dev'", "source": "environments/dev.toml", "change": "fixed"} in rows
    assert {"key": "network.cidr", "value": "'10.40.0.0/16'", "source": "environments/dev.toml", "change": "fixed"} in rows
    assert main(["settings", "--env", "preview-pr-1"]) == 0
    output = capsys.readouterr().out
    assert "preview.toml merged into dev.toml" in output
    assert "database.pool.connections_per_task" in output
    assert "What a deployed environment cannot simply change" in output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_CARMEN_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_of_environments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_CARMEN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "carmen release list --env s")
    monkeypatch.setenv("COMP_CWORD", "4")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == "plain,staging\n"


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"env": "qa"}, "environments/qa.toml"),
        ({"env": "Prod"}, "'prod'"),
        ({"env": ""}, "dev, prod, staging"),
        ({"enviroment": "prod"}, "-c env=prod"),
    ],
)
def test_wrong_cdk_context_is_refused_by_the_app(context: dict[str, str], message: str) -> None:
    """`./carmen cdk synth -c env=qa`: app.py reads the context. That it prints the error is below."""
    from settings.loader import SettingsError, load_all, selected_environments

    with pytest.raises(SettingsError) as error:
        load_all(selected_environments(context))
    assert message in str(error.value)


# Real processes


def run(*arguments: str, root: Path = ROOT, **variables: str) -> tuple[int, str]:
    """Exit code and output of the command line of that tree, without credentials."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CARMEN_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *arguments],
        cwd=root,
        env={**inherited, **NO_CREDENTIALS, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_process_without_credentials() -> None:
    code, output = run("names", "--env", "staging")
    assert (code, SIGN_IN in output, "Traceback" in output) == (1, True, False)


def test_process_reads_relative_paths_from_the_callers_folder(tmp_path: Path) -> None:
    """The wrapper changes to the project's folder and passes on where it was called."""
    (tmp_path / "report.md").write_text("words", encoding="utf-8")
    code, output = run("comment", "report.md", CARMEN_FOLDER=str(tmp_path), GITHUB_REF="", CI_MERGE_REQUEST_IID="", GITHUB_STEP_SUMMARY="")
    assert (code, output) == (0, "This job has no pull request: neither GITHUB_REF nor CI_MERGE_REQUEST_IID names one.\n")


def test_help_loads_no_heavy_module() -> None:
    """It takes a fifth of a second; each of these takes longer."""
    code = "import sys; import tools.cli.cli; print(sorted({'boto3', 'pydantic', 'aws_cdk', 'jsii'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_wrong_settings_stop_the_cdk_with_every_mistake(tmp_path: Path) -> None:
    """The CDK CLI itself, in a copy of the tree, because it writes to its folder."""
    for name in ("environments", "settings", "stacks", "constructs_lib", "lambda_src", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "cdk.json"):
        shutil.copy2(ROOT / name, tmp_path)
    for name in (".venv", "node_modules", ".build"):
        (tmp_path / name).symlink_to(ROOT / name)
    settings = tmp_path / "environments" / "dev.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("multi_az = false", "multi_azz = false").replace("min_tasks = 1", "min_tasks = 9"), encoding="utf-8")
    code, output = run("synth", "--env", "dev", root=tmp_path)
    lines = [line for line in output.splitlines() if line.startswith("environments/")]
    assert code == 1
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "database.multi_azz",
        "database.multi_az = true (default)",
        "service.min_tasks = 9",
    ]
    assert "Traceback" not in output
    assert list((tmp_path / "cdk.out").glob("*")) == []


@pytest.mark.usefixtures("no_credentials", "fake_cdk")
def test_preview_refuses_a_fixed_setting(deployed_record: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    deployed_record["Settings"] = json.dumps({**record(load("preview-pr-1")), "network.cidr": "10.99.0.0/16"})
    assert main(["preview", "up", "pr-1"]) == 3
    errors = capfd.readouterr().err
    assert "network.cidr: '10.99.0.0/16' → " in errors
    assert errors.endswith("\nOr, if its data may be lost: `./carmen preview remove pr-1`, then the same command.\n")
