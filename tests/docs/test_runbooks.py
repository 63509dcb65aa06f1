"""Every command in a runbook is known to the shell, ./carmen, make, AWS or CarmenProd, and every placeholder is explained."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from local.acceptance.runbook_parser import PLACEHOLDER, Command, Page, RunbookError, aws_call, pages, placeholders
from settings.loader import FOLDER, load, merge, validated
from settings.model import Settings
from tests.conftest import ROOT, Built, build
from tools.cli.cli import cli
from tools.cli.commands import names

PAGES = {page.path.stem: page for page in pages()}
OTHERS = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
VARIABLES = {name: f"a-{name.lower()}" for name in ("AWS_REGION", "STACK", *names.OUTPUTS, *names.RESOURCES)}
IN_THE_TASK = {"REDIS_HOST": "a-host", "REDIS_PORT": "6379"}  # variables inside the operations task
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PROGRAMS = {
    "aws", "carmen", "make", "psql", "pg_restore", "redis-cli", "curl", "dig", "openssl", "jq", "date",
    "sort", "tail", "head", "gunzip", "awk", "uniq",
}  # fmt: skip

each_page = pytest.mark.parametrize("name", PAGES)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1200


def _commands(name: str) -> list[Command]:
    return PAGES[name].commands({**VARIABLES, **IN_THE_TASK})


@each_page
def test_shell_knows_every_program_and_variable(name: str) -> None:
    for block in PAGES[name].blocks:
        done = subprocess.run(["/bin/bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert not done.stderr, block
    assert {command.words[0] for command in _commands(name)} <= PROGRAMS
    uses = any(variable in VARIABLES for block in PAGES[name].blocks for variable in re.findall(r"\$\{?([A-Z_]+)", block))
    assert not uses or 'eval "$(./carmen names --env prod)"' in PAGES[name].text


@each_page
def test_aws_commands_are_valid(name: str) -> None:
    for command in _commands(name):
        if command.words[0] == "aws":
            aws_call(command.words)


@each_page
def test_carmen_and_make_commands_exist(name: str, built: Built) -> None:
    for command in _commands(name):
        if command.words[0] == "carmen":
            _parse_carmen(command.words[1:], built)
        elif command.words[0] == "make":
            assert set(command.words[1:]) <= MAKE_TARGETS, command


def _parse_carmen(words: tuple[str, ...], built: Built) -> None:
    """Parse a command line with click; raise click.UsageError for an unknown command, option or value."""
    if words[:1] == ("cdk",):
        assert words[1] in ("deploy", "diff")
        stacks = [word for word in words[2:] if word.startswith("Carmen")]
        assert set(stacks) <= {*built.templates, "CarmenPipelineAccess"}
        assert set(words[2:]) - set(stacks) <= {"-c", "env=prod", "--env", "prod", "--exclusively", "--no-rollback"}
        return
    command: click.Command = cli
    context = click.Context(cli, info_name="carmen")
    rest = [PLACEHOLDER.sub("203.0.113.7", word) if PLACEHOLDER.fullmatch(word) else word for word in words]  # an address is validated
    while isinstance(command, click.Group):
        found, rest = command.resolve_command(context, rest)[1:]
        assert found, words
        command = found
    command.make_context(command.name, rest, parent=context)


@each_page
def test_placeholders_are_explained_on_the_page(name: str) -> None:
    explained = {
        word for span in re.findall(r"`([^`]*)`", PAGES[name].prose) if len(span.split()) == 1 for word in PLACEHOLDER.findall(span)
    }
    assert {word for command in _commands(name) for word in placeholders(command)} - explained == set()


@pytest.mark.parametrize("page", [*PAGES.values(), *OTHERS], ids=lambda page: page.path.stem)
def test_references_exist(page: Page, built: Built) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.text):
        assert target.startswith("https://") or (page.path.parent / target).exists(), target
    for path in re.findall(
        r"`((?:docs|tests|tools|stacks|local|environments|constructs_lib|lambda_src|container)/[\w./-]+\.\w+)`", page.text
    ):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)", page.text):
        assert target in MAKE_TARGETS, target
    for setting in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?: = [^`]*)?`", page.prose):
        section = setting.split(".")[0]
        assert section not in Settings.model_fields or _is_setting(Settings, setting.split(".")), setting
    for output in re.findall(r"`([A-Z]\w+)`(?:,| and)? (?:is an output|are outputs)|[Oo]utputs? `([A-Z]\w+)`", page.text):
        assert any("".join(output) in template.get("Outputs", {}) for template in built.templates.values()), output


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.path.stem)
def test_guides_name_existing_commands_and_options(page: Page) -> None:
    for text in re.findall(r"(?:`|^ {4,})\./carmen ([a-z][^`\n#]*)", page.text, re.MULTILINE):
        command: click.Command = cli
        words = shlex.split(text.replace('")', "").replace("'", ""))
        while words and isinstance(command, click.Group):
            assert words[0] in command.commands, text
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        if command.name not in ("cdk", "bootstrap"):
            assert {word for word in words if word.startswith("--")} <= options | {"--help"}, text


def _is_setting(model: type[BaseModel], names: list[str]) -> bool:
    """Whether the settings have this key."""
    field = model.model_fields.get(names[0])
    if field is None:
        return False
    inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)]
    models = [kind for kind in inner if issubclass(kind, BaseModel)]
    return len(names) == 1 or not models or any(_is_setting(kind, names[1:]) for kind in models)


@pytest.fixture(scope="session")
def asleep_at_night(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Staging with development's working hours: no real environment has both alarms and working hours."""
    dev, staging = (tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")) for name in ("dev", "staging"))
    windows = {key: dev["database"][key] for key in ("backup_window", "maintenance_window", "roles_schedule")}
    hours = {"working_hours": dev["working_hours"], "operations": dev["operations"], "database": windows}
    more = {"alerts": {"digest_schedule": "cron(30 12 ? * MON-FRI *)"}, "alarms": {"daily_backup_age_hours": 80}}
    return build([validated(merge(staging, {**hours, **more}), "staging")], tmp_path_factory.mktemp("asleep"))


@each_page
def test_alarms_in_the_title_link_to_the_page(name: str, built: Built, asleep_at_night: Built) -> None:
    title = PAGES[name].text.splitlines()[0]
    alarms_in_title = re.search(r"\((?:alarms?|composites?) .*\)$", title)
    alarms = {
        logical_id[:-8]
        for template in (*built.templates.values(), *asleep_at_night.templates.values())
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        and f"docs/runbooks/{name}.md" in resource["Properties"]["AlarmDescription"]
    }
    titled = set(re.findall(r"\b[A-Z]\w+\b", alarms_in_title.group())) if alarms_in_title else set()
    assert {word for word in titled if not any(word in alarm for alarm in alarms)} == set()


def test_index_lists_every_page() -> None:
    listed = set(re.findall(r"^\| \[([\w-]+)\.md\]", PAGES["README"].text, re.MULTILINE))
    assert listed == PAGES.keys() - {"README"}


@pytest.mark.parametrize("environment", ["prod", "staging", "dev"])
def test_every_environment_has_the_named_resources(environment: str, built: Built) -> None:
    prefix = f"Carmen{environment.capitalize()}"
    assert set(names.OUTPUTS.values()) <= built.templates[prefix]["Outputs"].keys()
    for name, (stack, kind, starts) in names.resources(load(environment)).items():
        resources = built.templates[prefix + stack]["Resources"].items()
        found = [id_ for id_, each in resources if each["Type"] == kind and id_.startswith(starts.format(prefix=prefix))]
        assert len(found) == 1, (name, found)


# The checks themselves


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("aws rsd describe-db-instances", "no such service"),
        ("aws rds describe-db-instance", "no such operation"),
        ("aws rds describe-db-instances --db-instance INSTANCE", "--db-instance INSTANCE: no such option"),
        ("aws rds reboot-db-instance", "Missing required parameter"),
        ("aws ecs describe-services --services a --query 'services[].desired'", "the answer has no desired"),
        ("aws ecs describe-services --services a --query 'services[.desiredCount'", "--query"),
        ("aws ecs list-tasks --desired-status GONE", "allowed: RUNNING, PENDING, STOPPED"),
        ("aws ecs update-service --service a --desired-count many", "expected a number"),
        ("aws rds reboot-db-instance --db-instance-identifier a --force-failover yes", "given without a value"),
        ("aws ec2 describe-security-groups --filters Name=group-name,Valeus=a", "Valeus is not one of Name, Values"),
        ("aws ecs run-task --task-definition a --network-configuration 'awsvpcConfiguration={subnets=[a}'", "a value is missing before }"),
        ("aws ecs wait service-stable --services a", "services-inactive, services-stable, tasks-running"),
        ("aws logs tail group --sinze 1h", "no such option"),
        ("aws ce get-anomalies --date-interval '{\"StartDate\": '", "--date-interval"),
        ('aws rds describe-db-instances --db-instance-identifier "$INSTANZ"', "unbound variable"),
        ("aws logs tail 'group", "unexpected EOF"),
    ],
)
def test_wrong_command_is_refused(command: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n**First look.**\n\n    {command}\n", encoding="utf-8")
    with pytest.raises(RunbookError) as raised:
        aws_call(Page(path).commands(VARIABLES)[0].words)
    assert message in str(raised.value)


def test_every_command_is_parsed_in_order(tmp_path: Path) -> None:
    """Lines of a block, commands in a sentence, and nested commands."""
    path = tmp_path / "page.md"
    path.write_text(
        '# Page\n\nAsk `aws a b\nc`, not `make`:\n\n    one "$(two \'$X\')" | three\n    A=$(four)\n    five "$A" \\\n      --more    # six\n\n'
        "1. Item:\n\n        seven >nowhere\n\n   ```sql\n   SELECT (;\n   ```\n\n```sh\neight\n```\n",
        encoding="utf-8",
    )
    found = Page(path).commands({})
    marks = {command.mark: command.words[0] for command in found}
    words = sorted(" ".join(marks.get(word, word) for word in command.words) for command in found)
    assert words == ["aws a b c", "eight", "five four --more", "four", "one two", "seven", "three", "two $X"]
    assert not (ROOT / "nowhere").exists()


def test_parsing_runs_no_program(tmp_path: Path) -> None:
    assert shutil.which("touch")
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n    touch {tmp_path}/made\n", encoding="utf-8")
    assert [command.words[0] for command in Page(path).commands({})] == ["touch"]
    assert not (tmp_path / "made").exists()
