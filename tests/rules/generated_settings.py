"""Extreme but valid settings, for hypothesis: a real environment with some settings at a limit.

Limits come from the schema: bounds, every choice of a Literal, shortest and longest lists. Settings without bounds (domains,
redirects, schedules) have samples below. Combinations that validation refuses are dropped.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from settings.loader import FOLDER, environment_names, merge
from settings.model import Settings

DOMAIN = {"name": "carmen.example.com", "hosted_zone_id": "Z0123456789ABCDEFGHIJ", "hosted_zone_name": "example.com"}
EUROPE = ("euc1-az1", "euc1-az2", "euc1-az3")
MIRROR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror:1"
REASON = "A reason that is long enough, for a test."
# Settings whose few values are listed in a validator.
CHOICES = {
    **{key: [1, 3653] for key in ("log_retention_days", "flow_log_retention_days", "waf_log_retention_days")},
    "max_body_mb": [1, 10, 100],
    "smtp_port": [25, 2587],
}
# Settings that depend on others, or whose limits are not in the schema.
SAMPLES: list[dict[str, Any]] = [
    {"domain": DOMAIN},
    {"domain": {**DOMAIN, "name": "example.com"}},
    {"region": "eu-central-1", "network": {"zones": EUROPE}},
    {"region": "eu-central-1", "network": {"zones": EUROPE[:2]}, "domain": DOMAIN},
    {
        "network": {"nat_gateways": 0, "interface_endpoints": True},
        "service": dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image", "python_image"), MIRROR),
    },
    {"network": {"interface_endpoints": True}},
    {"storage": {"backup_copy_region": "eu-west-1"}},
    {"network": {"cidr": "172.16.0.0/20", "peer_cidrs": ("10.0.0.0/8",)}},
    {"network": {"cidr": "10.0.0.0/16", "zones": ("use1-az6", "use1-az5")}},
    {"account": "123456789012", "permissions_boundary": "carmen-boundary"},
    {"alerts": {"emails": ("on-call@example.com", "second@example.com")}},
    {"anomaly_detection": {"minimum_usd": 1}},
    {"budget": {"monthly_usd": 0, "monthly_usd_opt_out_reason": REASON}},
    {"database": {"aws_backup_days": 3650}},
    {"database": {"aws_backup_days": 1, "aws_backup_lock": False, "aws_backup_lock_opt_out_reason": REASON}},
    {"database": {"deletion_protection": False, "deletion_protection_opt_out_reason": REASON}},
    {"database": {"instance_class": "r8g.8xlarge", "parameters": {"max_connections": 5000}}},
    {"database": {"instance_class": "m7g.large", "parameters": {"shared_preload_libraries": ("pg_stat_statements", "pg_cron")}}},
    {"termination_protection": False, "termination_protection_opt_out_reason": REASON},
    {"edge": {"redirects": (), "rewrites": ({"source": "/old", "destination": "/new"},)}},
    {"edge": {"redirects": tuple({"source": f"/r{n}", "destination": f"/to/{n}", "permanent": False} for n in range(50))}},
    {"edge": {"upload_paths": (), "static_paths": ("/favicon.ico",)}},
    {
        "edge": {
            "headers": {
                "content_security_policy": "",
                "permissions_policy": "",
                "hsts_max_age_seconds": 0,
                "hsts_preload": False,
                "opt_out_reason": REASON,
            }
        }
    },
    {
        "service": {
            "scheduled_scaling": ({"schedule": "cron(0 20 ? * MON-FRI *)", "time_zone": "Asia/Bangkok", "min_tasks": 0, "max_tasks": 0},)
        }
    },
    {"service": {"writable_paths": ()}},
    {"uptime": {"endpoints": tuple({"path": f"/api/{n}", "deadline_seconds": 30} for n in range(10))}},
    {"uptime": {"endpoints": ({"path": "/api/old", "expected_statuses": (301, 308), "redirects_to": "/new", "deadline_seconds": 1},)}},
    {"uptime": {"endpoints": ({"path": "/api/health", "body_contains": "healthy", "json_fields": {"database.state": "up"}},)}},
    {"service": {"cpu": 4096, "memory_mib": 30_720}},
    {"service": {"cpu": 256, "memory_mib": 512, "architecture": "X86_64"}},
    {"application": {"extra_variables": {f"EXTRA_{n}": "x" * 40 for n in range(20)}}},
    {"application": {"extra_secrets": {"PAYROLL_KEY": {"alphabet": "printable", "length": 256}, "ERP_LICENCE": {"generated": False}}}},
    {"application": {"email_from": "noreply@example.com", "smtp_host": "smtp.example.com", "smtp_user": "carmen"}},
    {"alerts": {"runbooks_url": "https://git.example.com/carmen/docs/runbooks"}},
    {"service": {"signing_profile": "arn:aws:signer:us-east-1:123456789012:/signing-profiles/carmen"}},
    {"working_hours": {"days": ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"), "starts": "00:00", "ends": "23:30"}},
    {
        "permissions_boundary": "CarmenBoundary",
        "pipeline": {"repository": "example@12/carmen@34", "branch": "main", "protected_environment": "production"},
    },
]


def limits() -> dict[str, list[Any]]:
    """Map each dotted key to the extreme values that the schema allows."""
    return {key: values for key, field in _leaves(Settings, "") if (values := CHOICES.get(key.rsplit(".", 1)[-1], _extremes(field)))}


def _leaves(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _extremes(field: FieldInfo) -> list[Any]:
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        return []  # optional settings have samples
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if kind is bool:
        return [True, False]
    bounds = [getattr(one, name) for one in field.metadata for name in ("ge", "le", "gt", "lt") if hasattr(one, name)]
    if kind in (int, float):
        return [kind(bound) for bound in bounds]
    lengths = [one for one in field.metadata if isinstance(one, annotated_types.MinLen | annotated_types.MaxLen)]
    if kind is str and lengths and isinstance(field.default, str):
        return ["x" * max(getattr(one, "min_length", 0) or getattr(one, "max_length", 0), 1) for one in lengths]
    return []


def _nested(key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _settings_or_none(values: dict[str, Any]) -> Settings | None:
    try:
        return Settings.model_validate(values)
    except ValidationError:
        return None


def every_option() -> list[Settings]:
    """Few settings that contain every sample and, where validation accepts it, every extreme value of every setting.

    ValueError for an optional setting without a value: then no test knows what it adds to the templates. Interactions of settings
    remain to the strategy below.
    """
    changes = [*SAMPLES, *(_nested(key, value) for key, values in limits().items() for value in values)]
    packed: list[tuple[dict[str, Any], set[str]]] = []
    for change in changes:
        keys = set(_keys(change, Settings))
        for values, used in (*packed, ({"name": f"option{len(packed)}"}, set[str]())):
            if keys & used:
                continue
            candidates = [merge(values, change), *(merge(merge(values, change), _nested(f"{key}_opt_out_reason", REASON)) for key in keys)]
            if accepted := next((one for one in candidates if _settings_or_none(one)), None):
                if not used:
                    packed.append((values, used))
                values.update(accepted)
                used |= keys
                break
    missing = {key for key, field in _leaves(Settings, "") if _is_optional(key, field)} - {key for _, used in packed for key in used}
    if missing:
        raise ValueError(f"No test sets {', '.join(sorted(missing))}: add values to SAMPLES in {__file__}")
    return [Settings.model_validate(values) for values, _ in packed]


def _keys(values: Any, section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted keys that `values` sets."""
    for name, value in values.items():
        kind = section.model_fields[name].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(value, kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _is_optional(key: str, field: FieldInfo) -> bool:
    """Whether a setting can add or remove something: a switch, a choice, a count from 0 on, or anything without a default."""
    counts_from_zero = any(getattr(one, "ge", None) == 0 for one in field.metadata)
    absent = field.get_default(call_default_factory=True) in (None, (), {})
    return not key.endswith("opt_out_reason") and (
        field.annotation is bool or get_origin(field.annotation) is Literal or counts_from_zero or absent
    )


@st.composite
def _values(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(environment_names()))
    values = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    values["name"] = draw(st.sampled_from(["prod", "q2", "abcdefghijkl"]))
    if values["name"] == "prod":
        values.pop("working_hours", None)  # not for production
    for sample in draw(st.lists(st.sampled_from(SAMPLES), max_size=2)):
        with_sample = merge(values, sample)
        values = with_sample if _settings_or_none(with_sample) else values
    extremes = limits()
    for key in draw(st.lists(st.sampled_from(sorted(extremes)), max_size=5, unique=True)):
        changed = merge(values, _nested(key, draw(st.sampled_from(extremes[key]))))
        with_reason = merge(changed, _nested(f"{key}_opt_out_reason", REASON))
        # An invalid change, with and without a reason, is dropped.
        values = next((one for one in (changed, with_reason) if _settings_or_none(one)), values)
    return values


def settings() -> st.SearchStrategy[Settings]:
    """Valid settings; changes that validation refuses are dropped."""
    return _values().map(Settings.model_validate)
