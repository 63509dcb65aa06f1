"""The exact error messages for invalid TOML files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel

from settings.field_metadata import Protective, declarations, value_at
from settings.loader import FOLDER, SettingsError, load, load_all, merge, validated
from settings.model import Settings

PYDANTIC_TEXT = re.compile(
    r"Input should|should match|should have|valid (string|integer|tuple|dictionary)|pattern|extra inputs", re.IGNORECASE
)


@dataclass(frozen=True)
class Case:
    """An entry of errors.txt."""

    name: str
    toml: str
    lines: list[str]


def _cases() -> Iterator[Case]:
    text = (Path(__file__).parent / "errors.txt").read_text(encoding="utf-8")
    for group in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        heading, *entries = re.split(r"^## ", group, flags=re.MULTILINE)
        for entry in entries:
            name, *lines = entry.rstrip().splitlines()
            toml = [line for line in lines if not line.startswith("> ")]
            yield Case(f"{heading.strip()}: {name}", "\n".join(toml) + "\n", [line.removeprefix("> ") for line in lines[len(toml) :]])


CASES = list(_cases())
OVER_DEV = "Over dev.toml: "  # these cases need dev.toml's settings


def _errors(folder: Path, **files: str) -> list[str]:
    """The messages for prod.toml, without the folder."""
    for name, toml in files.items():
        (folder / f"{name}.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load("prod", folder)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_message_of_every_case(tmp_path: Path, case: Case) -> None:
    if case.name.startswith(OVER_DEV):
        dev = tomllib.loads((FOLDER / "dev.toml").read_text(encoding="utf-8"))
        with pytest.raises(SettingsError) as caught:
            validated(merge(dev, tomllib.loads(case.toml)), "dev")
        assert str(caught.value).splitlines() == case.lines
    else:
        assert _errors(tmp_path, prod=case.toml) == case.lines


def test_cases_are_many_and_unique() -> None:
    assert len(CASES) >= 250
    assert len({case.name for case in CASES}) == len({case.toml for case in CASES}) == len(CASES)
    lines = [line for case in CASES for line in case.lines]
    assert [line for line in lines if PYDANTIC_TEXT.search(line)] == []


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    toml = """
        regiom = 'us-east-1'
        [network]
        cidr = '10.20.0.0/24'
        nat_gateways = 0
        [database]
        multi_az = 'yes'
        deletion_protection = false
        backup_window = '05:30-06:00'
        [service]
        min_tasks = 7
        cpu = 1000
        [application.extra_variables]
        PORT = '3000'
    """
    assert _errors(tmp_path, prod=toml) == [
        "prod.toml: network.cidr = '10.20.0.0/24': is too small: every zone has three subnets, each a sixteenth of the range; use /16 to /20, "
        "such as 10.20.0.0/16 (The VPC's IPv4 range, /16 to /20, private.)",
        "prod.toml: database.multi_az = 'yes': must be true or false, without quotes (A standby in a second zone.)",
        "prod.toml: service.cpu = 1000: must be 256, 512, 1024, 2048 or 4096 (CPU units of a task; 1024 is one vCPU.)",
        "prod.toml: regiom: unknown key; did you mean 'region'?",
        "prod.toml: database.deletion_protection = false, database.deletion_protection_opt_out_reason not set: a disabled protection needs a "
        "reason: set deletion_protection_opt_out_reason; the template then shows it",
        "prod.toml: network.nat_gateways = 0, network.interface_endpoints = false (default): tasks cannot reach any AWS service; set one of the two",
        "prod.toml: network.nat_gateways = 0, service.placeholder_image = 'public.ecr.aws/docker/library/node:24-alpine' (default), "
        "service.psql_image = 'public.ecr.aws/docker/library/postgres:17-alpine' (default), service.redis_cli_image = "
        "'public.ecr.aws/docker/library/redis:7-alpine' (default), service.python_image = 'public.ecr.aws/lambda/python:3.14' (default): "
        "without NAT, only ECR in us-east-1 can be reached; copy the images to a private repository there and name those",
        "prod.toml: database.backup_window = '05:30-06:00', database.maintenance_window = 'sun:05:00-sun:06:00' (default): the windows "
        "overlap, and RDS refuses that; move one of them",
        "prod.toml: service.min_tasks = 7, service.max_tasks = 6 (default): max_tasks is below min_tasks; raise max_tasks or lower min_tasks",
        "prod.toml: application.extra_variables.PORT: is set by this CDK application (the environment contract); choose another name",
    ]


def test_problem_that_depends_on_an_invalid_value_is_omitted(tmp_path: Path) -> None:
    """The default of max_tasks is below 7, but only the invalid value is reported."""
    errors = _errors(
        tmp_path,
        prod="[service]\nmin_tasks = 7\nmax_tasks = 'many'\n[domain]\nname = 'UPPER.example.com'\nhosted_zone_id = 'Z0123456789ABC'\n",
    )
    assert [line.split(": ")[1] for line in errors] == [
        "domain.name = 'UPPER.example.com'",
        "domain.hosted_zone_name",
        "service.max_tasks = 'many'",
    ]


STAGING = [
    (
        "one zone instead of two",
        "",
        "[database]\nmulti_az = false\nmulti_az_opt_out_reason = 'Users can wait on Sundays.'",
        ["database.multi_az = false: protects less than in environments/staging.toml, where it is true"],
    ),
    (
        "a default below staging's value",
        "[database]\npoint_in_time_days = 21",
        "",
        ["database.point_in_time_days = 14 (default): protects less than in environments/staging.toml, where it is 21"],
    ),
    (
        "a higher limit",
        "",
        "[edge.rate_limits]\nsign_in = 5000",
        ["edge.rate_limits.sign_in = 5000: protects less than in environments/staging.toml, where it is 100"],
    ),
    (
        "weaker choices",
        "[service]\ncontainer_insights = 'enabled'\n[database]\ninsights = 'advanced'",
        "[edge.headers]\nframe_options = 'SAMEORIGIN'",
        [
            "database.insights = 'standard' (default): protects less than in environments/staging.toml, where it is 'advanced'",
            "edge.headers.frame_options = 'SAMEORIGIN': protects less than in environments/staging.toml, where it is 'DENY'",
        ],
    ),
    (
        "Spot and one gateway less",
        "",
        "[network]\nnat_gateways = 1\n[service]\nspot = true",
        [
            "network.nat_gateways = 1: protects less than in environments/staging.toml, where it is 2",
            "service.spot = true: protects less than in environments/staging.toml, where it is false",
        ],
    ),
    (
        "no e-mail recipients",
        "[alerts]\nemails = ['on-call@example.com']",
        "",
        ["alerts.emails = [] (default): protects less than in environments/staging.toml, where it is ['on-call@example.com']"],
    ),
]


@pytest.mark.parametrize(("staging", "prod", "lines"), [case[1:] for case in STAGING], ids=[case[0] for case in STAGING])
def test_production_must_not_be_weaker_than_staging(tmp_path: Path, staging: str, prod: str, lines: list[str]) -> None:
    end = "; prod must protect at least as much: raise it here, or lower it in staging.toml first"
    assert _errors(tmp_path, staging=staging, prod=prod) == [f"prod.toml: {line}{end}" for line in lines]


def test_staging_may_be_weaker_and_other_settings_may_differ(tmp_path: Path) -> None:
    (tmp_path / "staging.toml").write_text("[service]\nspot = true\nmin_tasks = 1\n[database]\npoint_in_time_days = 1")
    (tmp_path / "prod.toml").write_text("[application]\nlog_level = 'warn'\n[service]\ncpu_target_percent = 80")
    assert [settings.name for settings in load_all(["prod", "staging"], tmp_path)] == ["prod", "staging"]


def test_interface_endpoints_are_not_weaker_than_gateways(tmp_path: Path) -> None:
    image = "'123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror:1'"
    images = "\n".join(f"{name} = {image}" for name in ("placeholder_image", "psql_image", "redis_cli_image", "python_image"))
    (tmp_path / "staging.toml").write_text("[network]\nnat_gateways = 3")
    (tmp_path / "prod.toml").write_text(f"[network]\nnat_gateways = 0\ninterface_endpoints = true\n[service]\n{images}")
    assert load("prod", tmp_path).network.nat_gateways == 0


def test_problems_of_staging_stop_production(tmp_path: Path) -> None:
    errors = _errors(tmp_path, staging="[service]\nmin_tasks = 'x'", prod="regiom = 1")
    assert errors == [
        "prod.toml: regiom: unknown key; did you mean 'region'?",
        "staging.toml: service.min_tasks = 'x': must be a whole number, without quotes (Tasks without load.)",
    ]


def test_every_protective_setting_is_comparable() -> None:
    production = load("prod")
    protections = dict(declarations(Settings, Protective))
    assert len(protections) >= 48
    for key, protective in protections.items():
        assert isinstance(protective.strictness(value_at(production, key)), int | float)
        assert protective.opt_out is False or value_at(production, protective.reason_key(key) or "") is None


# Concatenated, so that this file contains nothing that looks like a secret.
SECRETS = {
    "an AWS access key id": "AKIA" + "IOSFODNN7EXAMPLE",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "a Slack token": "xoxb" + "-123456789012-abcdefghijkl",
    "a Slack webhook": "https://hooks.slack.com" + "/services/T00000000/B00000000/XXXX",
    "a GitHub token": "ghp" + "_0123456789abcdefghijABCDEFGHIJ012345",
    "a Stripe key": "sk_live" + "_0123456789abcdefghijABCD",
    "a SendGrid key": "SG" + ".0123456789abcdefghijAB.0123456789abcdefghijABCDEFGH",
    "a Sentry DSN": "https://0123456789abcdef" + "0123456789abcdef@o1.ingest.sentry.io/2",
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "a URL with a password": "postgresql://carmen:" + "hunter2@db.example.com:5432/carmen",
    "a random key": "9f86d081884c7d659a2feaa0" + "c55ad015a3bf4f1b2b0b822c",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secret_value_is_reported_but_not_repeated(tmp_path: Path, kind: str) -> None:
    (error,) = _errors(tmp_path, prod=f"[application.extra_variables]\nTHEME = '''{SECRETS[kind]}'''")
    assert error == (
        f"prod.toml: application.extra_variables.THEME: looks like {kind}. TOML files must not contain secrets; declare it in "
        "application.extra_secrets and set its value after deployment (./carmen secrets --env prod). Replace a secret that was in a file"
    )


@pytest.mark.parametrize(
    "toml",
    [
        "[tags]\nrepository = '''{secret}'''",
        "[alerts]\nemails = ['''{secret}''']",
        "[application]\nsmtp_user = '''{secret}'''",
        "[application.extra_secrets]\nTHEME = '''{secret}'''",
        "[database]\nmulti_az = '''{secret}'''",
        "[application]\npassword = '''{secret}'''",
        "[application.extra_variables]\nDATABASE_PASSWORD = ['hunter2']",
        "[network]\nzones = '''{secret}'''",
        "[tags]\nowner = ['''{secret}''']",
        "[application]\nTHEME_KEY = {secret}",
    ],
)
def test_no_message_repeats_a_secret(tmp_path: Path, toml: str) -> None:
    secret = SECRETS["a URL with a password"]
    assert "hunter2" not in "\n".join(_errors(tmp_path, prod=toml.format(secret=secret)))


def test_value_that_only_resembles_a_secret_is_accepted(tmp_path: Path) -> None:
    variables = {
        "PASSWORD_MIN_LENGTH": "12",
        "TOKEN_TTL_SECONDS": "3600",
        "NEXT_PUBLIC_MAPS_KEY": "carmen-web",
        "STRIPE_PUBLISHABLE_KEY": "to be given",
        "SUPPORT_URL": "https://support.example.com/carmen?topic=login",
        "BUILD": "release-of-the-twenty-fourth-of-november",
    }
    toml = "[application]\nsmtp_user = 'AKIA" + "IOSFODNN7EXAMPLE'\n[application.extra_variables]\n"  # SES's user names are key ids
    (tmp_path / "prod.toml").write_text(toml + "\n".join(f"{name} = '{value}'" for name, value in variables.items()))
    assert load("prod", tmp_path).application.extra_variables == variables


NAME = "is not a valid environment name: use 2 to 12 lower-case letters and digits, a letter first, such as prod. Stacks, buckets and "


@pytest.mark.parametrize("name", ["a-verylongenvironment", "x", "1st", "my_env", "eu-prod", "Prod", "thirteenchars"])
def test_file_with_an_invalid_environment_name(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(SettingsError) as caught:
        load(name, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name}.toml: name = '{name}': {NAME}the proxy contain it, and a longer one would be cut in the proxy's name "
        "(at most 60 characters) (The file's name: CarmenProd for prod.toml.)"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Prod", "did you mean 'prod'?"),
        ("stagging", "did you mean 'staging'?"),
        ("qa", "create this file for a new environment."),
        ("../dev", "did you mean 'dev'?"),
    ],
)
def test_unknown_environment(name: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(name, FOLDER)
    assert str(caught.value) == f"environments/{name}.toml does not exist; {hint} Environments: dev, prod, staging."


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "qa.toml").mkdir()
    (tmp_path / "dev.toml").write_bytes("owner = 'Jürgen'".encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        load_all(["qa", "dev"], tmp_path)
    assert caught.value.problems == (
        f"{tmp_path}/qa.toml cannot be read: Is a directory",
        f"{tmp_path}/dev.toml is not UTF-8 text: byte 10 is 0xfc; save it as UTF-8",
    )


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "dev.toml").write_bytes(b"\xef\xbb\xbf[service]\r\nmin_tasks = 1\r\n")
    assert load("dev", tmp_path).service.min_tasks == 1


def _leaves(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, (*prefix, name))
        elif name != "name" or prefix:
            yield (*prefix, name)


@pytest.mark.parametrize("value", [date(2026, 11, 24), 10**9, "", "\n", True, [[]], {"x": {}}], ids=repr)
def test_no_message_is_pydantics(value: object) -> None:
    for key in _leaves(Settings):
        values: object = value
        for part in reversed(key):
            values = {part: values}
        assert isinstance(values, dict)
        try:
            validated(values, "prod")
        except SettingsError as error:
            assert ".".join(key) in error.problems[0]
            assert not PYDANTIC_TEXT.search(str(error)), error
