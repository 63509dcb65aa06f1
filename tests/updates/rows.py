"""Another valid value for every setting, and what else must be set for it.

Values come from the schema: bounds, choices, both values of a bool (tests/rules/generated_settings.py). VALUES has those that the schema
does not contain, such as schedules and host names. A new setting without either fails `test_every_setting_has_a_row`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from settings.loader import FOLDER, merge
from settings.model import Settings
from settings.sections import Tables
from tests.rules.generated_settings import DOMAIN, MIRROR, REASON, _nested, limits

ENVIRONMENTS = ("prod", "staging", "dev")
PIPELINE = {"repository": "example/carmen-infrastructure", "branch": "main", "protected_environment": "production"}
BOUNDARY = {"permissions_boundary": "CarmenBoundary"}
REASONS = "opt_out_reason"
HOURS = {"days": ("MON", "TUE", "WED", "THU", "FRI"), "starts": "07:00", "ends": "19:00", "time_zone": "Etc/UTC"}
SNAPSHOTS = {"database": {"aws_backup_days": 7, "aws_backup_schedule": "cron(0 16 ? * MON-FRI *)"}}
NOTHING_KEPT = {
    **{"termination_protection": False, f"termination_protection_{REASONS}": REASON},
    "database": {"deletion_protection": False, f"deletion_protection_{REASONS}": REASON},
    "storage": {"object_lock": False, f"object_lock_{REASONS}": REASON},
}
# Not settings to change: the file's name; and reasons, which only reach metadata and change together with what they explain.
NOT_SETTINGS = ("name",)
# Working hours need all schedules inside: those of dev.toml.
SCHEDULES = {
    "database": {"backup_window": "17:00-17:30", "maintenance_window": "wed:18:00-wed:18:30", "roles_schedule": "cron(30 7 ? * MON-FRI *)"},
    "operations": {
        "backup_schedule": "cron(0 12 ? * MON-FRI *)",
        "drill_schedule": "cron(0 13 ? * MON *)",
        "weekly_maintenance_schedule": "cron(0,20,40 15 ? * TUE *)",
        "monthly_maintenance_schedule": "cron(0,20,40 16 ? * 3#1 *)",
        "rotation_schedule": "cron(0 10 ? * MON-FRI *)",
    },
    "alerts": {"digest_schedule": "cron(30 12 ? * MON-FRI *)"},
    "alarms": {"daily_backup_age_hours": 100},
}
# For the inner keys of optional tables: the table, on both sides of the change.
TABLES: dict[str, dict[str, Any]] = {
    "domain": {"domain": DOMAIN},
    "anomaly_detection": {"anomaly_detection": {"minimum_usd": 40}},
    "working_hours": {"working_hours": HOURS, **SCHEDULES},
    "pipeline": {"pipeline": PIPELINE, **BOUNDARY},
}
# What must be set on both sides, so that a key has an effect or other values are valid; several: rows for each.
GIVEN: dict[str, tuple[dict[str, Any], ...]] = {
    "account": ({}, {"account": "210987654321"}),
    "storage.backup_copy_region": ({}, {"storage": {"backup_copy_region": "eu-west-1"}}),
    "database.aws_backup_schedule": (SNAPSHOTS,),
    "database.aws_backup_lock": (SNAPSHOTS,),
    "pipeline.gitlab_host": ({"pipeline": {"platform": "gitlab"}},),
    "application.extra_secrets": ({}, {"application": {"extra_secrets": {"PAYROLL_KEY": {"length": 48}}}}),
}
# Key → other values. All valid ones are used; None removes an optional value.
VALUES: dict[str, list[Any]] = {
    "region": ["eu-central-1"],
    "account": ["123456789012"],
    "permissions_boundary": ["CarmenBoundary"],
    "working_hours": [HOURS, None],
    "working_hours.days": [("MON", "TUE", "WED", "THU", "FRI", "SAT")],
    "working_hours.starts": ["06:30"],
    "working_hours.ends": ["20:00"],
    "working_hours.time_zone": ["Africa/Abidjan"],
    "network.cidr": ["10.60.0.0/16"],
    "network.peer_cidrs": [("172.16.0.0/16",)],
    "network.zones": [("use1-az1", "use1-az2"), ("use1-az1", "use1-az2", "use1-az4"), ("use1-az2", "use1-az1"), ("use1-az1", "use1-az6")],
    "network.nat_gateways": [1, 2, 3, 0],
    "domain": [DOMAIN],
    "domain.name": ["erp.example.com"],
    "domain.hosted_zone_id": ["Z9876543210ABCDEFGHIJ"],
    "domain.hosted_zone_name": ["carmen.example.com"],
    "alerts.emails": [("on-call@example.com",)],
    "alerts.runbooks_url": ["https://example.com/runbooks"],
    "alerts.digest_schedule": ["cron(30 13 ? * MON-FRI *)"],
    "storage.daily_backup_days": [5, 8],
    "storage.weekly_backup_days": [12, 40],
    "storage.object_lock_days": [2, 3],
    "storage.backup_copy_region": ["us-west-2"],
    "database.instance_class": ["t4g.large"],
    "database.storage_gib": [25],
    "database.parameters.max_connections": [110, 350],
    "database.backup_window": ["16:00-16:30"],
    "database.maintenance_window": ["tue:14:00-tue:14:30"],
    "database.aws_backup_days": [7],
    "database.aws_backup_schedule": ["cron(0 13 ? * MON-FRI *)"],
    "database.roles_schedule": ["cron(45 8 ? * MON-FRI *)"],
    "database.parameters.shared_preload_libraries": [("pg_stat_statements", "pg_cron")],
    "cache.node_type": ["cache.t4g.small"],
    "cache.maintenance_window": ["mon:06:30-mon:07:30"],
    "edge.static_paths": [("/images/*", "/favicon.ico")],
    "edge.upload_paths": [("/api/upload", "/api/import")],
    "edge.redirects": [({"source": "/old", "destination": "/new"},)],
    "edge.rewrites": [({"source": "/old", "destination": "/new"},)],
    "edge.headers.content_security_policy": ["default-src 'self'"],
    "edge.headers.permissions_policy": ["camera=()"],
    "service.scheduled_scaling": [({"schedule": "cron(0 8 ? * MON-FRI *)", "min_tasks": 1, "max_tasks": 2},)],
    "service.health_path": ["/api/health/ready"],
    "service.writable_paths": [("/tmp",)],
    "service.placeholder_image": [MIRROR],
    "service.psql_image": [MIRROR],
    "service.redis_cli_image": [MIRROR],
    "service.python_image": [MIRROR],
    "service.signing_profile": ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/carmen"],
    "service.migration_command": [("npm", "run", "migrate")],
    "service.static_folder": ["/srv/static"],
    "service.max_tasks": [1, 5],
    "service.memory_mib": [2048],
    "operations.backup_schedule": ["cron(0 13 ? * MON-FRI *)"],
    "operations.backup_formats": [("archive",)],
    "operations.drill_schedule": ["cron(0 14 3 * ? *)"],
    "operations.weekly_maintenance_schedule": ["cron(0,20,40 14 ? * WED *)"],
    "operations.monthly_maintenance_schedule": ["cron(0,20,40 10 ? * 4#1 *)"],
    "operations.rotation_schedule": ["cron(30 11 ? * MON-FRI *)"],
    "uptime.endpoints": [({"path": "/api/health", "deadline_seconds": 3},)],
    "pipeline": [PIPELINE],
    "pipeline.platform": ["gitlab"],
    "pipeline.gitlab_host": ["git.example.com"],
    "pipeline.repository": ["example/infrastructure"],
    "pipeline.application_repository": ["example/carmen"],
    "pipeline.branch": ["release"],
    "pipeline.provider_exists": [True],
    "pipeline.protected_environment": ["live"],
    "budget.monthly_usd": [0, 600],
    "anomaly_detection": [{"minimum_usd": 40}],
    "anomaly_detection.minimum_usd": [50],
    "anomaly_detection.monitor_arn": ["arn:aws:ce::123456789012:anomalymonitor/11111111-2222-3333-4444-555555555555"],
    "tags.owner": ["another-team"],
    "tags.cost_center": ["finance"],
    "tags.repository": ["example/carmen"],
    "application.email_from": ["noreply@example.com"],
    "application.smtp_host": ["smtp.example.com"],
    "application.smtp_user": ["carmen"],
    "application.extra_variables": [{"FEATURE_X": "on"}],
    "application.extra_secrets": [{"PAYROLL_KEY": {"length": 64}}],
}
# Key → what must change together with it.
TOGETHER: dict[str, dict[str, Any]] = {
    "region": {"network": {"zones": ("euc1-az1", "euc1-az2")}},
    "pipeline": BOUNDARY,
    "working_hours": SCHEDULES,
    "alarms.watched": {name: SCHEDULES[name] for name in ("alerts", "alarms")},
    "storage.object_lock": {"storage": {"object_lock_days": 1}},
    "network.nat_gateways": {
        "network": {"interface_endpoints": True, "nat_instances": False},
        "service": dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image", "python_image"), MIRROR),
    },
    "keep_data": NOTHING_KEPT,
    "database.aws_backup_days": {"database": {"aws_backup_schedule": "cron(0 16 ? * MON-FRI *)"}},
    "edge.headers.hsts_max_age_seconds": {"edge": {"headers": {"hsts_preload": False}}},
    "edge.headers.hsts_include_subdomains": {"edge": {"headers": {"hsts_preload": False}}},
    "service.cpu": {"service": {"memory_mib": 2048}},
    "application.smtp_host": {"application": {"email_from": "noreply@example.com"}},
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A change of one setting of an environment."""

    environment: str
    key: str
    number: int
    base: dict[str, Any] = field(repr=False, hash=False)
    head: dict[str, Any] = field(repr=False, hash=False)

    def __str__(self) -> str:
        return f"{self.environment}-{self.key}" + (f"-{self.number}" if self.number else "")


@cache
def keys() -> tuple[str, ...]:
    """All settings: those of optional tables too, and these tables."""
    return tuple(key for key in _keys(Tables, "") if key not in NOT_SETTINGS and not key.endswith(REASONS))


def _keys(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, one in section.model_fields.items():
        kind = one.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}"
        for inner in get_args(kind) if get_origin(kind) in (Union, UnionType) else ():
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _keys(inner, f"{prefix}{name}.")


@cache
def rows(environment: str) -> tuple[Row, ...]:
    """All changes of an environment; a setting without a valid one is missing."""
    return tuple(row for key in keys() for row in _rows(environment, key))


def _rows(environment: str, key: str) -> Iterator[Row]:
    values = tomllib.loads((FOLDER / f"{environment}.toml").read_text(encoding="utf-8")) | {"name": environment}
    if key.split(".")[0] in TABLES and "." in key:
        values = merge(values, TABLES[key.split(".")[0]])
    bases = [base for given in GIVEN.get(key, ({},)) if (base := _valid(merge(values, given)))]
    others = VALUES.get(key) or limits().get(key, [])
    pairs = ((base, head) for base in bases for value in others if (head := _head(base, key, value)) and head != base)
    for number, (base, head) in enumerate(pairs):
        yield Row(environment, key, number, base, head)
        if key not in VALUES:  # one of the limits is enough
            return


def _head(base: dict[str, Any], key: str, value: Any) -> dict[str, Any] | None:
    """The base with another value: alone, or with a reason, or with what must change together with it; None if none is valid."""
    changes = [_nested(key, value), merge(_nested(key, value), TOGETHER.get(key, {}))]
    for change in changes:
        for reason in (None, REASON):
            for reasons in ({}, _nested(f"{key}_{REASONS}", reason), _nested(f"{key.rpartition('.')[0]}.{REASONS}".lstrip("."), reason)):
                if valid := _valid(merge(merge(base, change), reasons)):
                    return valid
    return None


def _valid(values: dict[str, Any]) -> dict[str, Any] | None:
    """The complete settings as JSON; None for invalid ones."""
    try:
        return Settings.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return None
