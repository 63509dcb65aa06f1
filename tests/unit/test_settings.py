from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from environments.loading import FOLDER, SettingsError, environment_names, load, main, resolved
from environments.schema import Settings

# The manual's figures that are choices, and where production has them by default (ADR 0003 names the exceptions).
MANUAL = {
    "database.parameters.shared_buffers_mb": 256,
    "database.parameters.effective_cache_size_mb": 1024,
    "database.parameters.maintenance_work_mem_mb": 64,
    "database.parameters.checkpoint_completion_target": 0.9,
    "database.parameters.wal_buffers_mb": 16,
    "database.parameters.log_min_duration_statement_ms": 1000,
    "database.parameters.track_activity_query_size": 2048,
    "database.pool.connections_per_task": 20,
    "database.pool.idle_seconds": 30,
    "database.pool.acquire_timeout_seconds": 2,
    "storage.daily_backup_days": 7,
    "edge.origin_timeout_seconds": 30,
    "edge.static_max_age_seconds": 31_536_000,
    "edge.headers.hsts_max_age_seconds": 31_536_000,
    "application.api_rate_limit": 100,
    "application.log_level": "info",
    "application.smtp_port": 587,
}


def _at(settings: BaseModel, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _messages(tmp_path: Path, toml: str) -> list[str]:
    (tmp_path / "prod.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load("prod", tmp_path)
    return str(caught.value).splitlines()


def test_the_real_environments_are_valid() -> None:
    assert environment_names() == ["dev", "prod", "staging"]
    assert {load(name).stack_prefix for name in environment_names()} == {"CarmenDev", "CarmenProd", "CarmenStaging"}


def test_production_has_the_manuals_figures_by_default() -> None:
    production = load("prod")
    assert {key: _at(production, key) for key in MANUAL} == MANUAL


def test_defaults_alone_are_a_valid_environment(tmp_path: Path) -> None:
    (tmp_path / "fresh.toml").write_text("")
    assert load("fresh", tmp_path).stack_prefix == "CarmenFresh"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("prod").region = "eu-west-1"  # type: ignore[misc]


def test_every_setting_says_what_it_means() -> None:
    def walk(section: type[BaseModel]) -> list[str]:
        found = []
        for name, field in section.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += walk(kind)
            elif not field.description and section.__name__ not in ("Settings", "Edge", "Service", "Redirect", "Rewrite"):
                found.append(f"{section.__name__}.{name}")
        return found

    assert walk(Settings) == []


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("regiom = 'us-east-1'", "regiom: unknown key; did you mean 'region'?"),
        ("[database]\nmulti_zz = true", "database.multi_zz: unknown key; did you mean 'multi_az'?"),
        (
            "[database]\nengine_major = '14'",
            "database.engine_major = '14': Input should be '15', '16', '17' or '18' (Manual: 15; why 17: ADR 0002.)",
        ),
        ("[service]\nmin_tasks = 7", "service: max_tasks = 6 is below min_tasks = 7"),
        (
            "[network]\nzones = ['use1-az3', 'use1-az1']",
            "network.zones = ['use1-az3', 'use1-az1']: 'use1-az3' cannot be used: RDS Proxy and CloudFront VPC origins do not serve it "
            "(Availability zone ids (not names: names mean another zone in every account).)",
        ),
        (
            "[network]\nnat_gateways = 0",
            "network.nat_gateways = 0 and network.interface_endpoints = false: tasks could reach no AWS service; set one",
        ),
        (
            "[service]\nmax_tasks = 7",
            "connections do not add up: service.max_tasks (scheduled ones too) 7 × 2 (a roll-out) × pool.connections_per_task 20 + pool.reserve 30 = 310, "
            "but max_connections 300 × 90 % = 270: lower max_tasks or connections_per_task, or raise database.parameters.max_connections",
        ),
        (
            "[database]\ndeletion_protection = false",
            "database: deletion_protection = false needs deletion_protection_opt_out_reason (a sentence)",
        ),
        (
            "[database]\nbackup_window = '05:30-06:00'",
            "database: backup_window 05:30-06:00 and maintenance_window sun:05:00-sun:06:00 overlap",
        ),
        (
            "[database.parameters]\nmax_connections = 1000",
            "database: parameters.max_connections = 1000 is more than db.t4g.medium carries (450, memory / 9531392 as RDS reckons): "
            "lower it or choose a larger instance_class",
        ),
        (
            "[storage]\nobject_lock_days = 8",
            "storage.object_lock_days = 8 is above storage.daily_backup_days = 7: a daily dump could not expire",
        ),
        (
            "[application.extra_variables]\nDATABASE_URL = 'x'",
            "application: extra variable DATABASE_URL is part of the environment contract and set by this application",
        ),
        (
            "region = 'eu-central-1'",
            "network.zones: use1-az1, use1-az2, use1-az4 are not in region = eu-central-1, whose zone ids begin with euc1-",
        ),
        (
            "[database]\nroles_schedule = 'cron(10 2 * * ? *)'",
            "database: roles_schedule cron(10 2 * * ? *) starts inside backup_window 02:00-02:30",
        ),
        (
            "[cache]\nmaintenance_window = 'sun:06:30-sun:06:40'",
            "cache.maintenance_window = 'sun:06:30-sun:06:40': must be between one hour and 24 hours long "
            "(ElastiCache maintenance, UTC, an hour or more.)",
        ),
        ("[service]\nwritable_paths = ['/tmp', '/tmp']", "service: writable_paths names a path twice"),
        (
            "[[edge.redirects]]\nsource = '/old/*'\ndestination = '/new'",
            "edge.redirects.0.source = '/old/*': must begin with '/' and hold letters, digits and ._~!$&()+,;=:@%/- only; "
            "'*', '?' and '#' mean nothing here",
        ),
        (
            "[[edge.redirects]]\nsource = '/old'\ndestination = '//evil.example'",
            "edge.redirects.0.destination = '//evil.example': write /evil.example: '//', '.', '..' and needless escapes are not read alike "
            "by browsers and CloudFront",
        ),
        (
            "[[edge.redirects]]\nsource = '/a'\ndestination = '/b/%2E%2e/%61'",
            "edge.redirects.0.destination = '/b/%2E%2e/%61': write /a: '//', '.', '..' and needless escapes are not read alike "
            "by browsers and CloudFront",
        ),
        (
            "[[edge.redirects]]\nsource = '/a'\ndestination = '/b'\n[[edge.rewrites]]\nsource = '/a'\ndestination = '/c'",
            "edge: /a stand in redirects and in rewrites: the redirect would always win",
        ),
        (
            "[[edge.rewrites]]\nsource = '/images/me.png'\ndestination = '/api/me'",
            "edge: rewrite /images/me.png → /api/me: the answer would be kept as /images/* is, without cookies; "
            "redirect instead, or choose a source outside",
        ),
        (
            "[[edge.redirects]]\nsource = '/errors/a'\ndestination = '/b'",
            "edge: /errors/a is below /errors/, where no redirect or rewrite runs: choose another source",
        ),
        (
            "[edge]\nstatic_paths = ['/images/*', '/_next/*']",
            "edge.static_paths.1 = '/_next/*': takes in /_next/data/*, which must not be kept for a year: "
            "choose a folder that holds files only (Cached as static.)",
        ),
        (
            "[edge]\nstatic_paths = ['/images/*', '/assets/*.css']",
            "edge.static_paths.1 = '/assets/*.css': must be a folder with all below it, such as /images/*, or one file, such as /favicon.ico "
            "(Cached as static.)",
        ),
        (
            "[edge]\nupload_paths = ['/']",
            "edge.upload_paths.0 = '/': is the beginning of every path: name the paths that take files "
            "(Prefixes where bodies may be large files.)",
        ),
        ("name = 'other'", "name: not set here; the file's own name is the environment's name"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(tmp_path: Path, toml: str, message: str) -> None:
    assert _messages(tmp_path, toml) == [f"{tmp_path / 'prod.toml'}: {message}"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(_messages(tmp_path, "regiom = 1\n[service]\ncpu = 3\n[cache]\nreplicas = 9")) == 3


def test_a_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Environments that are: dev, prod, staging\."):
        load("qa", FOLDER)
    assert "is not valid TOML" in _messages(tmp_path, "[database")[0]


def test_where_each_value_comes_from() -> None:
    rows = {key: (value, source) for key, value, source in resolved("staging")}
    assert rows["database.multi_az"] == ("false", "environments/staging.toml")
    assert rows["database.engine_major"] == ("'17'", "default")
    assert len(rows) > 100


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prod"]) == 0
    assert "database.pool.connections_per_task" in capsys.readouterr().out
    assert main(["qa"]) == 1
    assert "environments/qa.toml is not there" in capsys.readouterr().err
