"""Runbooks are typed by tired people: every command is one that the shell, make, AWS or CarmenProd knows, and every word is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from local.acceptance.runbook_parser import PLACEHOLDER, Command, Page, RunbookError, aws_call, pages, to_fill_in
from settings.loader import FOLDER, load, merge, validated
from settings.model import Settings
from tests.conftest import ROOT, Built, build
from tools.cli.commands import names

PAGES = {page.path.stem: page for page in pages()}
OTHERS = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
VARIABLES = {name: f"a-{name.lower()}" for name in ("AWS_REGION", "STACK", *names.OUTPUTS, *names.RESOURCES)}
IN_THE_TASK = {"REDIS_HOST": "a-host", "REDIS_PORT": "6379"}  # what a session of the operations task has
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROGRAMS = {
    "aws", "make", "psql", "pg_restore", "redis-cli", "npx", "curl", "dig", "openssl", "jq", "date",
    "sort", "tail", "head", "gunzip", "awk", "uniq",
}  # fmt: skip

each_page = pytest.mark.parametrize("name", PAGES)


def _commands(name: str) -> list[Command]:
    return PAGES[name].commands({**VARIABLES, **IN_THE_TASK})


@each_page
def test_a_shell_understands_it_and_knows_every_program_and_variable(name: str) -> None:
    for block in PAGES[name].blocks:
        done = subprocess.run(["/bin/bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert not done.stderr, block
    assert {command.words[0] for command in _commands(name)} <= PROGRAMS
    uses = any(variable in VARIABLES for block in PAGES[name].blocks for variable in re.findall(r"\$\{?([A-Z_]+)", block))
    assert not uses or 'eval "$(make names ENV=prod)"' in PAGES[name].text


@each_page
def test_aws_knows_every_service_operation_option_and_field(name: str) -> None:
    for command in _commands(name):
        if command.words[0] == "aws":
            aws_call(command.words)


def _targets() -> dict[str, set[str]]:
    """What there is to make, and the variables that each takes."""
    lines = MAKEFILE.replace("\\\n", " ")
    defined = {key: value.split() for key, value in re.findall(r"^([\w-]+) := (.*)$", lines, re.MULTILINE)}

    def words(key: str) -> list[str]:
        return [word for item in defined.get(key, []) for word in (words(item[2:-1]) if item.startswith("$(") else [item])]

    return {target: {"ENV", "PYTHON3", *words(f"{target}_TAKES")} for target in words("TARGETS")}


@each_page
def test_make_has_every_target_and_takes_every_variable(name: str) -> None:
    for command in _commands(name):
        if command.words[0] == "make":
            _check_make(command.words[1:])


def _check_make(words: tuple[str, ...]) -> None:
    targets = _targets()
    target, *given = words
    assert target in targets, target
    assert {word.split("=")[0] for word in given} <= targets[target], words
    assert not any(word.startswith("ENV=") and word not in ("ENV=prod", "ENV=staging", "ENV=dev") for word in given)


@each_page
def test_the_cdk_finds_every_stack(name: str, built: Built) -> None:
    for command in _commands(name):
        if command.words[0] == "npx":
            assert command.words[1:3] in (("cdk", "deploy"), ("cdk", "diff"))
            assert command.words[3] in built.templates
            assert set(command.words[4:]) <= {"-c", "env=prod", "--exclusively", "--no-rollback"}


@each_page
def test_what_is_to_be_filled_in_is_explained_on_the_page(name: str) -> None:
    explained = {
        word for span in re.findall(r"`([^`]*)`", PAGES[name].prose) if len(span.split()) == 1 for word in PLACEHOLDER.findall(span)
    }
    assert {word for command in _commands(name) for word in to_fill_in(command)} - explained == set()


@pytest.mark.parametrize("page", [*PAGES.values(), *OTHERS], ids=lambda page: page.path.stem)
def test_what_it_refers_to_is_there(page: Page, built: Built) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.text):
        assert target.startswith("https://") or (page.path.parent / target).exists(), target
    for path in re.findall(
        r"`((?:docs|tests|tools|stacks|local|environments|constructs_lib|lambda_src|container)/[\w./-]+\.\w+)`", page.text
    ):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"`make ([a-z-]+)", page.text):
        assert target in _targets(), target
    for setting in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?: = [^`]*)?`", page.prose):
        section = setting.split(".")[0]
        assert section not in Settings.model_fields or _is_setting(Settings, setting.split(".")), setting
    for output in re.findall(r"`([A-Z]\w+)`(?:,| and)? (?:is an output|are outputs)|[Oo]utputs? `([A-Z]\w+)`", page.text):
        assert any("".join(output) in template.get("Outputs", {}) for template in built.templates.values()), output


def _is_setting(model: type[BaseModel], names: list[str]) -> bool:
    """Whether the settings have it, through whatever is optional on the way."""
    field = model.model_fields.get(names[0])
    if field is None:
        return False
    inner = [kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)]
    models = [kind for kind in inner if issubclass(kind, BaseModel)]
    return len(names) == 1 or not models or any(_is_setting(kind, names[1:]) for kind in models)


@pytest.fixture(scope="session")
def asleep_at_night(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Staging with development's hours: none of the three is watched and sleeps."""
    dev, staging = (tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")) for name in ("dev", "staging"))
    windows = {key: dev["database"][key] for key in ("backup_window", "maintenance_window", "roles_schedule")}
    hours = {"working_hours": dev["working_hours"], "operations": dev["operations"], "database": windows}
    told = {"alerts": {"digest_schedule": "cron(30 12 ? * MON-FRI *)"}, "alarms": {"daily_backup_age_hours": 80}}
    return build([validated(merge(staging, {**hours, **told}), "staging")], tmp_path_factory.mktemp("asleep"))


@each_page
def test_the_alarms_of_its_title_name_this_page(name: str, built: Built, asleep_at_night: Built) -> None:
    title = PAGES[name].text.splitlines()[0]
    told = re.search(r"\((?:alarms?|composites?) .*\)$", title)
    alarms = {
        logical_id[:-8]
        for template in (*built.templates.values(), *asleep_at_night.templates.values())
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        and f"docs/runbooks/{name}.md" in resource["Properties"]["AlarmDescription"]
    }
    titled = set(re.findall(r"\b[A-Z]\w+\b", told.group())) if told else set()
    assert {word for word in titled if not any(word in alarm for alarm in alarms)} == set()


def test_the_list_of_pages_has_all() -> None:
    listed = set(re.findall(r"^\| \[([\w-]+)\.md\]", PAGES["README"].text, re.MULTILINE))
    assert listed == PAGES.keys() - {"README"}


@pytest.mark.parametrize("environment", ["prod", "staging", "dev"])
def test_every_environment_has_what_names_asks_for(environment: str, built: Built) -> None:
    prefix = f"Carmen{environment.capitalize()}"
    assert set(names.OUTPUTS.values()) <= built.templates[prefix]["Outputs"].keys()
    for name, (stack, kind, starts) in names.resources(load(environment)).items():
        resources = built.templates[prefix + stack]["Resources"].items()
        found = [id_ for id_, each in resources if each["Type"] == kind and id_.startswith(starts.format(prefix=prefix))]
        assert len(found) == 1, (name, found)


# That it notices


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("aws rsd describe-db-instances", "there is no such service"),
        ("aws rds describe-db-instance", "no such operation"),
        ("aws rds describe-db-instances --db-instance INSTANCE", "--db-instance INSTANCE: there is no such option"),
        ("aws rds reboot-db-instance", "Missing required parameter"),
        ("aws ecs describe-services --services a --query 'services[].desired'", "the answer has no desired"),
        ("aws ecs describe-services --services a --query 'services[.desiredCount'", "--query"),
        ("aws ecs list-tasks --desired-status GONE", "it is one of RUNNING, PENDING, STOPPED"),
        ("aws ecs update-service --service a --desired-count many", "a number is wanted"),
        ("aws rds reboot-db-instance --db-instance-identifier a --force-failover yes", "given without a value"),
        ("aws ec2 describe-security-groups --filters Name=group-name,Valeus=a", "Valeus is none of Name, Values"),
        ("aws ecs run-task --task-definition a --network-configuration 'awsvpcConfiguration={subnets=[a}'", "a value is missing before }"),
        ("aws ecs wait service-stable --services a", "services-inactive, services-stable, tasks-running"),
        ("aws logs tail group --sinze 1h", "there is no such option"),
        ("aws ce get-anomalies --date-interval '{\"StartDate\": '", "--date-interval"),
        ('aws rds describe-db-instances --db-instance-identifier "$INSTANZ"', "unbound variable"),
        ("aws logs tail 'group", "unexpected EOF"),
    ],
)
def test_a_wrong_command_is_noticed(command: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n**First look.**\n\n    {command}\n", encoding="utf-8")
    with pytest.raises(RunbookError) as raised:
        aws_call(Page(path).commands(VARIABLES)[0].words)
    assert complaint in str(raised.value)


def test_nothing_is_left_out(tmp_path: Path) -> None:
    """Each line of a block, each command in a sentence, and those inside others, in order."""
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


def test_no_program_is_run(tmp_path: Path) -> None:
    assert shutil.which("touch")
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n    touch {tmp_path}/made\n", encoding="utf-8")
    assert [command.words[0] for command in Page(path).commands({})] == ["touch"]
    assert not (tmp_path / "made").exists()
