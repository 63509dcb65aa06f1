"""Loading of environments, and settings compared with the manual and with AWS's lists."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import aws_cdk as cdk
import boto3
import cfnlint
import pytest
from pydantic import BaseModel

from settings.loader import SettingsError, environment_names, load, resolved, selected_environments
from settings.model import Settings
from settings.schedules import check_cron, overlap_daily, window_minutes
from settings.sections import Database
from settings.types import CACHE_NODES, REGIONS, SIZE_OF_LARGE, check_time_zone, instance_memory_gib
from tests.conftest import build

# The manual's figures that are settings, with production's defaults (exceptions: ADR 0003).
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
MANUAL_ENDPOINTS = {"/api/health": 5, "/dashboard": 10, "/api/auth/session": 5}


def _at(settings: BaseModel, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def test_environments_are_valid() -> None:
    assert environment_names() == ["dev", "prod", "staging"]
    assert {load(name).stack_prefix for name in environment_names()} == {"CarmenDev", "CarmenProd", "CarmenStaging"}


def test_defaults_are_the_manuals_figures() -> None:
    production = load("prod")
    assert {key: _at(production, key) for key in MANUAL} == MANUAL
    assert {endpoint.path: endpoint.deadline_seconds for endpoint in production.uptime.endpoints} == MANUAL_ENDPOINTS


def test_defaults_alone_are_a_valid_environment(tmp_path: Path) -> None:
    (tmp_path / "fresh.toml").write_text("")
    assert load("fresh", tmp_path).stack_prefix == "CarmenFresh"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("prod").region = "eu-west-1"  # type: ignore[misc]


def test_every_setting_has_a_description() -> None:
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


def test_resolved_lists_the_source_of_each_value() -> None:
    rows = {key: (value, source) for key, value, source in resolved("staging")}
    assert rows["database.multi_az"] == ("false", "environments/staging.toml")
    assert rows["database.engine_major"] == ("'17'", "default")
    assert rows["edge.redirects"] == ("[{source = '/dashboard/', destination = '/dashboard', permanent = true}]", "default")
    assert len(rows) > 100


def test_only_one_option_selects_an_environment() -> None:
    flags = {"@aws-cdk/core:enablePartitionLiterals": True, "aws:cdk:enable-asset-metadata": True, "cdk-migrate": False}
    assert selected_environments(flags) == ["dev", "prod", "staging"]
    assert selected_environments({**flags, "env": "dev"}) == ["dev"]
    assert selected_environments({**flags, "env": ""}) == [""]
    for key in ("enviroment", "environment", "Env", "ENV", "envs"):
        with pytest.raises(SettingsError, match=rf"-c {key}=dev: unknown option; select an environment with -c env=dev"):
            selected_environments({**flags, key: "dev"})


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 3 * * ? *)",
        "cron(*/15 8-18 ? * MON-FRI *)",
        "cron(0,30 0/6 1,15 JAN,6-8 ? 2026-2030)",
        "cron(0 0 L * ? *)",
        "cron(0 8 15W * ? *)",
        "cron(15 10 ? * 6L *)",
        "cron(15 10 ? * 2#1 2199)",
        "cron(0 22 ? * FRI-MON *)",
    ],
)
def test_every_form_of_schedule_is_accepted(expression: str) -> None:
    check_cron(expression)


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("02:00-02:30", "sun:02:29-sun:03:00", True),
        ("02:00-02:30", "sun:02:30-sun:03:00", False),
        ("23:45-00:15", "mon:00:00-mon:00:30", True),
        ("00:15-00:45", "sun:23:30-mon:00:30", True),
        ("12:00-12:30", "sat:12:00-sun:12:00", True),
        ("05:30-06:00", "sun:06:00-sun:07:00", False),
    ],
)
def test_windows_overlap_across_midnight_and_week_end(one: str, other: str, overlaps: bool) -> None:
    assert overlap_daily(window_minutes(one), window_minutes(other)) is overlaps


def test_regions_are_those_of_aws() -> None:
    assert list(REGIONS) == sorted(boto3.Session().get_available_regions("ec2"))


def test_every_time_zone_of_the_cdk_is_accepted() -> None:
    zones = [getattr(cdk.TimeZone, name).timezone_name for name in dir(cdk.TimeZone) if name.isupper()]
    assert len(zones) > 300
    for zone in zones:
        check_time_zone(zone)


def test_instance_classes_and_versions_are_those_of_rds() -> None:
    """Source: cfn-lint's copy of RDS's orderable options; it lists major versions too."""
    majors = get_args(Database.model_fields["engine_major"].annotation)
    versions = _aws("aws_rds_dbinstance/engine_version.json")
    newest = {major: max(re.findall(rf'"({major}\.\d+)"', versions), key=lambda version: int(version[3:])) for major in majors}
    rules = json.loads(_aws("aws_rds_dbinstance/db_instance_class.json"))["allOf"]
    offered = {
        version: set(rule["then"]["properties"]["DBInstanceClass"]["enum"])
        for rule in rules
        for version in newest.values()
        if rule["if"]["properties"]["Engine"].get("const") == "postgres"
        and re.search(rule["if"]["properties"]["EngineVersion"]["pattern"], version)
    }
    taken = {f"db.{name}" for name in _instance_classes()}
    assert len(taken) == 36
    for major, version in newest.items():
        assert f'"{major}"' in versions
        assert taken - offered[version] == set(), version


def _instance_classes() -> Iterator[str]:
    for family in ("t4g", "m6g", "m7g", "m8g", "r6g", "r7g", "r8g"):
        for size in SIZE_OF_LARGE:
            with contextlib.suppress(ValueError):
                instance_memory_gib(f"{family}.{size}")
                yield f"{family}.{size}"


def test_cache_node_types_are_those_of_elasticache() -> None:
    offered = set(re.findall(r"cache\.\w+\.\w+", _aws("aws_elasticache_cachecluster/cachenodetype_enum.json")))
    taken = {f"cache.{family}.{size}" for family, sizes in CACHE_NODES.items() for size in sizes}
    assert taken - offered == set()


def _aws(name: str) -> str:
    return (Path(cfnlint.__file__).parent / "data" / "schemas" / "extensions" / name).read_text()


def test_longest_environment_name_fits_all_limits_of_aws(tmp_path: Path) -> None:
    """RDS Proxy has the lowest limit; the CDK cuts longer names."""
    built = build([Settings.model_validate({"name": "longest12345"})], tmp_path)
    assert max(map(len, built.templates)) <= 128
    exports = [
        output["Export"]["Name"]
        for template in built.templates.values()
        for output in template.get("Outputs", {}).values()
        if "Export" in output
    ]
    assert exports
    assert max(map(len, exports)) <= 255
    assert max(len(logical_id) for template in built.templates.values() for logical_id in template["Resources"]) <= 255
    (proxy,) = built.resources("AWS::RDS::DBProxy").values()
    assert re.fullmatch(r"CarmenLongest12345Data-DatabaseProxy-[0-9A-F]{8}", proxy["Properties"]["DBProxyName"])
    names = {"AWS::CloudFront::VpcOrigin": ("VpcOriginEndpointConfig", 64), "AWS::CloudFront::CachePolicy": ("CachePolicyConfig", 128)}
    for kind, (part, most) in names.items():
        for resource in built.resources(kind).values():
            assert len(resource["Properties"][part]["Name"]) <= most
