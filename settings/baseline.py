"""Which of two environments protects more: for settings that have an order, and for those alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from settings.sections import Tables

# Production protects at least as much as the environment it is rehearsed in.
COMPARED = {"prod": "staging"}

Strength = Callable[[Any], float]


def _more(value: float) -> float:
    """More is stronger, `true` stronger than `false`."""
    return float(value)


def _less(value: float) -> float:
    return -float(value)


def _given(value: Any) -> float:
    """Something is stronger than nothing."""
    return float(bool(value))


def _in_order(*weakest_first: str) -> Strength:
    return weakest_first.index


def _ways_out(nat_gateways: int) -> float:
    """None means interface endpoints, which stand in every zone."""
    return nat_gateways or float("inf")


STRENGTH: dict[str, Strength] = {
    "permissions_boundary": _given,
    "termination_protection": _more,
    "keep_data": _more,
    "network.zones": len,
    "network.nat_gateways": _ways_out,
    "network.nat_instances": _less,
    "network.flow_log_retention_days": _more,
    "alerts.emails": _given,
    "alarms.watched": _more,
    "storage.daily_backup_days": _more,
    "storage.weekly_backup_days": _more,
    "storage.monthly_backup_days": _more,
    "storage.object_lock": _more,
    "storage.object_lock_days": _more,
    "storage.backup_copy_region": _given,
    "storage.upload_old_version_days": _more,
    "storage.access_log_days": _more,
    "storage.images_kept": _more,
    "database.multi_az": _more,
    "database.proxy": _more,
    "database.point_in_time_days": _more,
    "database.aws_backup_days": _more,
    "database.aws_backup_lock": _more,
    "database.deletion_protection": _more,
    "database.insights": _in_order("standard", "advanced"),
    "database.log_retention_days": _more,
    "operations.scheduled_backups": _more,
    "cache.replicas": _more,
    "cache.snapshot_days": _more,
    "edge.max_body_mb": _less,
    "edge.all_firewall_rules": _more,
    "edge.rate_limits.site": _less,
    "edge.rate_limits.api": _less,
    "edge.rate_limits.sign_in": _less,
    "edge.headers.content_security_policy": _given,
    "edge.headers.frame_options": _in_order("SAMEORIGIN", "DENY"),
    "edge.headers.content_type_nosniff": _more,
    "edge.headers.xss_protection": _more,
    "edge.headers.hsts_max_age_seconds": _more,
    "edge.headers.hsts_include_subdomains": _more,
    "edge.headers.hsts_preload": _more,
    "edge.headers.permissions_policy": _given,
    "edge.waf_log_retention_days": _more,
    "service.min_tasks": _more,
    "service.spot": _less,
    "service.container_insights": _in_order("disabled", "enabled", "enhanced"),
    "service.log_retention_days": _more,
    "service.signing_profile": _given,
}


def weaker(settings: Tables, other: Tables) -> Iterator[tuple[str, Any]]:
    """The keys at which `settings` protect less than `other`, each with the other's value."""
    for key, strength in STRENGTH.items():
        theirs = value_at(other, key)
        if strength(value_at(settings, key)) < strength(theirs):
            yield key, theirs


def value_at(settings: Tables, key: str) -> Any:
    """The value at a dotted key; a part that is a number counts the entries of a list."""
    value: Any = settings
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value
