"""What a wrong command line is answered: a sentence, a non-zero exit, no traceback, and nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CDK = ["node_modules/.bin/cdk", "--no-notices", "--no-version-reporting"]
ENVIRONMENTS = "Environments: dev, prod, staging."


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree: commands write where they stand."""
    root = tmp_path_factory.mktemp("a fresh") / "clone of it"
    root.mkdir()
    for name in ("app.py", "cdk.json", "Makefile", "package-lock.json", "requirements-dev.txt"):
        shutil.copy2(ROOT / name, root)
    for name in ("environments", "settings", "stacks", "constructs_lib", "lambda_src", "tools", "local"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".venv", "node_modules", ".build"):
        (root / name).symlink_to(ROOT / name)
    for name in (
        "package-lock.json",
        "requirements-dev.txt",
        "lambda_src/requirements.txt",
        "tools/build/libraries.py",
        "tools/build/client_tools.py",
        "tools/build/drill_server.py",
        *(f"environments/{path.name}" for path in (root / "environments").glob("*.toml")),
    ):
        os.utime(root / name, (0, 0))  # older than what is installed, so that no command installs anything
    return root


def _written(root: Path) -> list[str]:
    """What is in cdk.out, which the CLI makes before it asks the application."""
    return [path.name for path in (root / "cdk.out").glob("*")]


def _run(root: Path, *command: str) -> tuple[int, str]:
    """Exit code and all that is said, without AWS and without credentials."""
    variables = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "CDK_VALIDATION": "false",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
    }
    shutil.rmtree(root / "cdk.out", ignore_errors=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS")) and name != "ENV"}
    environment = {**inherited, **variables, "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            [*CDK, "synth", "-c", "env=qa"],
            f"environments/qa.toml does not exist; create this file for a new environment. {ENVIRONMENTS}",
        ),
        ([*CDK, "synth", "-c", "env="], "No environment is named: ENV=… or -c env=… takes one of dev, prod, staging."),
        ([*CDK, "synth", "-c", "enviroment=prod"], "-c enviroment=prod: there is no such option; an environment is chosen by -c env=prod"),
        ([*CDK, "deploy", "CarmenProd", "-c", "env=dev"], "No stacks match the name(s) CarmenProd"),
        (["make", "synth", "ENV=Prod"], f"environments/Prod.toml does not exist; did you mean 'prod'? {ENVIRONMENTS}"),
        (
            ["make", "deploy", "ENV=a b"],
            f"environments/a b.toml does not exist; create this file for a new environment. {ENVIRONMENTS}",
        ),
        (
            ["make", "settings", "ENV=prdo"],
            f"environments/prdo.toml does not exist; did you mean 'prod'? {ENVIRONMENTS}",
        ),
        (
            ["make", "settings", "ENV='; touch cdk.out; '"],
            f"no environment ''; touch cdk.out; ''; create this file for a new environment. {ENVIRONMENTS}",
        ),
        (
            ["make", "secrets", "ENV=stagin"],
            f"environments/stagin.toml does not exist; did you mean 'staging'? {ENVIRONMENTS}",
        ),
        (
            ["make", "secrets"],
            "No AWS credentials that can be used (Unable to locate credentials): sign in, say with `aws sso login`, or set AWS_PROFILE.",
        ),
        (["make", "depoy"], "There is no 'make depoy'. 'make help' lists what there is; an environment is given as ENV=dev."),
        (["make", "synth", "dev"], "There is no 'make dev'. 'make help' lists what there is; an environment is given as ENV=dev."),
        (["make", "synth", "ACTION=restore"], "ACTION=… means nothing here."),
        (["make", "restore", "ACTION=list", "BUKET=x"], "BUKET=… means nothing here."),
        (["make", "restore", "ACTION=drop", "BUCKET=x"], "argument action: invalid choice: 'drop' (choose from"),
        (["make", "restore", "ENV=prdo"], "environments/prdo.toml does not exist; did you mean 'prod'?"),
        (["make", "synth", "env=dev"], "env=… means nothing here. ENV=dev chooses an environment, PYTHON3=… the Python to install with."),
    ],
    ids=lambda value: " ".join(value).removeprefix("node_modules/.bin/") if isinstance(value, list) else "",
)
def test_a_wrong_command_meets_a_sentence_and_writes_nothing(checkout: Path, command: list[str], sentence: str) -> None:
    code, said = _run(checkout, *command)
    assert code != 0
    assert sentence in said
    assert "Traceback" not in said
    if "CarmenProd" not in command:  # the CLI looks for a stack in what is synthesized
        assert _written(checkout) == []


def test_a_wrong_setting_stops_synthesis_with_every_mistake_and_writes_nothing(checkout: Path) -> None:
    settings = checkout / "environments" / "dev.toml"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right.replace("multi_az = false", "multi_azz = false").replace("min_tasks = 1", "min_tasks = 9"), encoding="utf-8")
    try:
        code, said = _run(checkout, "make", "synth", "ENV=dev")
    finally:
        settings.write_text(right, encoding="utf-8")
    lines = [line for line in said.splitlines() if line.startswith("environments/")]
    assert code != 0
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "database.multi_azz",
        "database.multi_az = true (default)",
        "service.min_tasks = 9",
    ]
    assert "Traceback" not in said
    assert _written(checkout) == []
