"""Every mistake a person can make in a TOML file, and the exact lines it is answered with."""

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
from settings.loader import FOLDER, SettingsError, laid_over, load, load_all, validated
from settings.model import Settings

PYDANTICS_OWN = re.compile(
    r"Input should|should match|should have|valid (string|integer|tuple|dictionary)|pattern|extra inputs", re.IGNORECASE
)


@dataclass(frozen=True)
class Mistake:
    """An entry of mistakes.txt."""

    name: str
    toml: str
    lines: list[str]


def _catalogue() -> Iterator[Mistake]:
    text = (Path(__file__).parent / "errors.txt").read_text(encoding="utf-8")
    for group in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        heading, *entries = re.split(r"^## ", group, flags=re.MULTILINE)
        for entry in entries:
            name, *lines = entry.rstrip().splitlines()
            toml = [line for line in lines if not line.startswith("> ")]
            yield Mistake(f"{heading.strip()}: {name}", "\n".join(toml) + "\n", [line.removeprefix("> ") for line in lines[len(toml) :]])


CATALOGUE = list(_catalogue())
OVER_DEV = "Over dev.toml: "  # what only goes together with settings that dev.toml has


def _told(folder: Path, **files: str) -> list[str]:
    """What is said of prod.toml, `tmp_path` left out of it."""
    for name, toml in files.items():
        (folder / f"{name}.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load("prod", folder)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("mistake", CATALOGUE, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_with_what_to_do(tmp_path: Path, mistake: Mistake) -> None:
    if mistake.name.startswith(OVER_DEV):
        dev = tomllib.loads((FOLDER / "dev.toml").read_text(encoding="utf-8"))
        with pytest.raises(SettingsError) as caught:
            validated(laid_over(dev, tomllib.loads(mistake.toml)), "dev")
        assert str(caught.value).splitlines() == mistake.lines
    else:
        assert _told(tmp_path, prod=mistake.toml) == mistake.lines


def test_the_catalogue_is_large_and_says_nothing_twice() -> None:
    assert len(CATALOGUE) >= 150
    assert len({mistake.name for mistake in CATALOGUE}) == len({mistake.toml for mistake in CATALOGUE}) == len(CATALOGUE)
    lines = [line for mistake in CATALOGUE for line in mistake.lines]
    assert [line for line in lines if PYDANTICS_OWN.search(line)] == []


def test_several_mistakes_are_told_at_once_those_of_fitting_together_included(tmp_path: Path) -> None:
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
    assert _told(tmp_path, prod=toml) == [
        "prod.toml: network.cidr = '10.20.0.0/24': is too small for the zones: three subnets in each of them take a sixteenth of the range "
        "each; /16 to /20, such as 10.20.0.0/16 (The VPC's IPv4 range, /16 to /20, private.)",
        "prod.toml: database.multi_az = 'yes': must be true or false, without quotes (A standby in a second zone.)",
        "prod.toml: service.cpu = 1000: must be 256, 512, 1024, 2048 or 4096 (CPU units of a task; 1024 is one vCPU.)",
        "prod.toml: regiom: unknown key; did you mean 'region'?",
        "prod.toml: database.deletion_protection = false, database.deletion_protection_opt_out_reason not given: a protection that is off "
        "takes a reason, which the template then shows",
        "prod.toml: network.nat_gateways = 0, network.interface_endpoints = false (default): tasks could reach no AWS service; set one of the two",
        "prod.toml: network.nat_gateways = 0, service.placeholder_image = 'public.ecr.aws/docker/library/node:24-alpine' (default), "
        "service.psql_image = 'public.ecr.aws/docker/library/postgres:17-alpine' (default), service.redis_cli_image = "
        "'public.ecr.aws/docker/library/redis:7-alpine' (default), service.python_image = 'public.ecr.aws/lambda/python:3.14' (default): "
        "endpoints reach no registry but ECR in us-east-1; copy the images to a private repository there and name those",
        "prod.toml: database.backup_window = '05:30-06:00', database.maintenance_window = 'sun:05:00-sun:06:00' (default): the windows "
        "overlap, which RDS refuses; move one of them",
        "prod.toml: service.min_tasks = 7, service.max_tasks = 6 (default): the range is upside down; max_tasks must be min_tasks or more",
        "prod.toml: application.extra_variables.PORT: is part of the environment contract and set by this application; choose another name",
    ]


def test_what_rests_on_a_wrong_value_is_not_told_as_well(tmp_path: Path) -> None:
    """The default of max_tasks is below 7, but nobody wrote it: only the wrong value is a mistake."""
    told = _told(
        tmp_path,
        prod="[service]\nmin_tasks = 7\nmax_tasks = 'many'\n[domain]\nname = 'UPPER.example.com'\nhosted_zone_id = 'Z0123456789ABC'\n",
    )
    assert [line.split(": ")[1] for line in told] == [
        "domain.name = 'UPPER.example.com'",
        "domain.hosted_zone_name",
        "service.max_tasks = 'many'",
    ]


STAGING = [
    (
        "one zone instead of two",
        "",
        "[database]\nmulti_az = false\nmulti_az_opt_out_reason = 'Nobody uses it on Sundays.'",
        ["database.multi_az = false: protects less than environments/staging.toml, where it is true"],
    ),
    (
        "a default is less than staging's",
        "[database]\npoint_in_time_days = 21",
        "",
        ["database.point_in_time_days = 14 (default): protects less than environments/staging.toml, where it is 21"],
    ),
    (
        "a higher limit is a weaker one",
        "",
        "[edge.rate_limits]\nsign_in = 5000",
        ["edge.rate_limits.sign_in = 5000: protects less than environments/staging.toml, where it is 100"],
    ),
    (
        "choices have an order",
        "[service]\ncontainer_insights = 'enabled'\n[database]\ninsights = 'advanced'",
        "[edge.headers]\nframe_options = 'SAMEORIGIN'",
        [
            "database.insights = 'standard' (default): protects less than environments/staging.toml, where it is 'advanced'",
            "edge.headers.frame_options = 'SAMEORIGIN': protects less than environments/staging.toml, where it is 'DENY'",
        ],
    ),
    (
        "Spot and a gateway less",
        "",
        "[network]\nnat_gateways = 1\n[service]\nspot = true",
        [
            "network.nat_gateways = 1: protects less than environments/staging.toml, where it is 2",
            "service.spot = true: protects less than environments/staging.toml, where it is false",
        ],
    ),
    (
        "nobody is told",
        "[alerts]\nemails = ['on-call@example.com']",
        "",
        ["alerts.emails = [] (default): protects less than environments/staging.toml, where it is ['on-call@example.com']"],
    ),
]


@pytest.mark.parametrize(("staging", "prod", "lines"), [case[1:] for case in STAGING], ids=[case[0] for case in STAGING])
def test_production_is_nowhere_weaker_than_staging(tmp_path: Path, staging: str, prod: str, lines: list[str]) -> None:
    end = "; prod protects at least as much: change it here, or there first"
    assert _told(tmp_path, staging=staging, prod=prod) == [f"prod.toml: {line}{end}" for line in lines]


def test_staging_may_be_weaker_and_what_has_no_order_may_differ(tmp_path: Path) -> None:
    (tmp_path / "staging.toml").write_text("[service]\nspot = true\nmin_tasks = 1\n[database]\npoint_in_time_days = 1")
    (tmp_path / "prod.toml").write_text("[application]\nlog_level = 'warn'\n[service]\ncpu_target_percent = 80")
    assert [settings.name for settings in load_all(["prod", "staging"], tmp_path)] == ["prod", "staging"]


def test_endpoints_in_every_zone_are_not_weaker_than_gateways(tmp_path: Path) -> None:
    image = "'123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror:1'"
    images = "\n".join(f"{name} = {image}" for name in ("placeholder_image", "psql_image", "redis_cli_image", "python_image"))
    (tmp_path / "staging.toml").write_text("[network]\nnat_gateways = 3")
    (tmp_path / "prod.toml").write_text(f"[network]\nnat_gateways = 0\ninterface_endpoints = true\n[service]\n{images}")
    assert load("prod", tmp_path).network.nat_gateways == 0


def test_mistakes_of_staging_stop_production_too(tmp_path: Path) -> None:
    told = _told(tmp_path, staging="[service]\nmin_tasks = 'x'", prod="regiom = 1")
    assert told == [
        "prod.toml: regiom: unknown key; did you mean 'region'?",
        "staging.toml: service.min_tasks = 'x': must be a whole number, without quotes (Tasks at rest.)",
    ]


def test_everything_that_is_compared_is_a_setting() -> None:
    production = load("prod")
    protections = dict(declarations(Settings, Protective))
    assert len(protections) >= 48
    for key, protective in protections.items():
        assert isinstance(protective.strictness(value_at(production, key)), int | float)
        assert protective.opt_out is False or value_at(production, protective.reason_key(key) or "") is None


# Put together here, so that nothing in this file looks like a secret itself.
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
def test_a_secret_written_as_a_value_is_told_and_not_repeated(tmp_path: Path, kind: str) -> None:
    (told,) = _told(tmp_path, prod=f"[application.extra_variables]\nTHEME = '''{SECRETS[kind]}'''")
    assert told == (
        f"prod.toml: application.extra_variables.THEME: looks like {kind}, and no secret stands in TOML; declare it in "
        "application.extra_secrets and fill it after deployment (make secrets ENV=prod); a secret that was in a file is to be changed"
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
def test_no_message_repeats_a_secret_wherever_it_stands(tmp_path: Path, toml: str) -> None:
    secret = SECRETS["a URL with a password"]
    assert "hunter2" not in "\n".join(_told(tmp_path, prod=toml.format(secret=secret)))


def test_what_only_resembles_a_secret_is_taken(tmp_path: Path) -> None:
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


NAMED = "is no name for an environment: 2 to 12 lower-case letters and digits, a letter first, such as prod. Stacks, buckets and the "


@pytest.mark.parametrize("name", ["a-verylongenvironment", "x", "1st", "my_env", "eu-prod", "Prod", "thirteenchars"])
def test_a_file_whose_name_is_no_name_for_an_environment(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.toml").write_text("")
    with pytest.raises(SettingsError) as caught:
        load(name, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name}.toml: name = '{name}': {NAMED}proxy are named after it, and the proxy's name (60 characters at most) is the "
        "first that would be cut (The file's name; CarmenProd for prod.toml.)"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Prod", "did you mean 'prod'?"),
        ("stagging", "did you mean 'staging'?"),
        ("qa", "a new one is a new file there."),
        ("../dev", "did you mean 'dev'?"),
    ],
)
def test_an_environment_that_is_not_there(name: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(name, FOLDER)
    assert (
        str(caught.value)
        == f"environments/{name}.toml is not there: no environment '{name}'; {hint} Environments that are: dev, prod, staging."
    )


def test_a_file_that_cannot_be_read_or_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "qa.toml").mkdir()
    (tmp_path / "dev.toml").write_bytes("owner = 'Jürgen'".encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        load_all(["qa", "dev"], tmp_path)
    assert caught.value.mistakes == (
        f"{tmp_path}/qa.toml cannot be read: Is a directory",
        f"{tmp_path}/dev.toml is not UTF-8 text: byte 10 is 0xfc; save it as UTF-8",
    )


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "dev.toml").write_bytes(b"\xef\xbb\xbf[service]\r\nmin_tasks = 1\r\n")
    assert load("dev", tmp_path).service.min_tasks == 1


def _leaves(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, (*prefix, name))
        elif name != "name" or prefix:
            yield (*prefix, name)


@pytest.mark.parametrize("value", [date(2026, 11, 24), 10**9, "", "\n", True, [[]], {"x": {}}], ids=repr)
def test_no_setting_answers_in_pydantics_words(value: object) -> None:
    for key in _leaves(Settings):
        values: object = value
        for part in reversed(key):
            values = {part: values}
        assert isinstance(values, dict)
        try:
            validated(values, "prod")
        except SettingsError as error:
            assert ".".join(key) in error.mistakes[0]
            assert not PYDANTICS_OWN.search(str(error)), error
