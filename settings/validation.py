"""Cross-field validation: values that are valid alone but cannot work together.

A check yields `Problem`s and raises nothing, so that `Settings` can report all of them at once. A problem names the keys, what is
wrong and what to change; `errors.py` adds the values.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from settings.constants import COMPARED
from settings.field_metadata import Protective, declarations, value_at
from settings.schedules import daily_minute, minute_of_day, overlap_daily, window_minutes
from settings.secret_detection import detect_secret, is_secret_name
from settings.sections import Tables
from settings.types import as_toml, check_range, instance_memory_gib, zone_prefix
from settings.url_paths import SIGN_IN, overlap
from settings.working_hours import SHORTEST_MINUTES, describe_spans, fires_outside, longest_pause_hours, open_spans, window_outside

# PostgreSQL's manual, "Resource Consumption": more than 40 % of memory rarely works better, and RDS then lacks memory.
SHARED_BUFFERS_SHARE = 0.4
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html: LEAST(DBInstanceClassMemory/9531392, 5000).
BYTES_PER_CONNECTION = 9_531_392
# A function has 10 KB, which constructs_lib/edge/viewer_request.js shares; tests/models/edge proves that it fits.
ROUTING_CHARACTERS = 7_500
ROUTING_RULE = 48
FARGATE_GIB = {256: (0.5, 2), 512: (1, 4), 1024: (2, 8), 2048: (4, 16), 4096: (8, 30)}
RESERVED_VARIABLES = frozenset([
    "NODE_ENV", "PORT", "HOSTNAME", "KEEP_ALIVE_TIMEOUT", "NEXT_TELEMETRY_DISABLED", "NEXT_PUBLIC_APP_URL", "DATABASE_URL",
    "DIRECT_URL", "REDIS_URL", "NEXTAUTH_URL", "NEXTAUTH_SECRET", "JWT_SECRET", "WEBHOOK_SECRET", "EMAIL_FROM", "SMTP_HOST",
    "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURE", "UPLOAD_STORAGE", "API_RATE_LIMIT", "SENTRY_DSN", "ENABLE_ANALYTICS",
    "LOG_LEVEL", "ENABLE_ADVANCED_ANALYTICS", "ENABLE_EXPERIMENTAL_FEATURES",
])  # fmt: skip
# Lambda's time limit.
RUNS_FOR_MINUTES = {"backup_schedule": 15, "weekly_maintenance_schedule": 15, "monthly_maintenance_schedule": 15, "rotation_schedule": 15}
REDIRECTS = frozenset([301, 302, 303, 307, 308])
# Of the 4 KB of a function's environment, as constructs_lib/monitoring/uptime.py writes them: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENDPOINT_CHARACTERS = 3_000
RESERVED_PREFIXES = ("AWS_", "ECS_")


@dataclass(frozen=True)
class Problem:
    """`keys` are dotted; list entries have numbers (`edge.redirects.0.source`)."""

    keys: tuple[str, ...]
    text: str


def problems(settings: Tables, production_over: Tables | None = None) -> Iterator[Problem]:
    """Yield all problems; with `production_over`, also each setting that protects less than in that environment."""
    for check in (
        _opt_outs,
        _network,
        _storage,
        _database,
        _memory,
        _connections,
        _domain,
        _routing,
        _headers,
        _service,
        _working_hours,
        _removal,
        _uptime,
        _alarms,
        _pipeline,
        _application,
        _secrets,
    ):
        yield from check(settings)
    if production_over:
        yield from _weaker_than(production_over, settings)


def _wrong(*checks: tuple[object, tuple[str, ...], str]) -> Iterator[Problem]:
    """A problem for each check (whether it is wrong, keys, text) whose condition is true."""
    return (Problem(keys, text) for is_wrong, keys, text in checks if is_wrong)


def _weaker_than(other: Tables, settings: Tables) -> Iterator[Problem]:
    """Production must protect at least as much as staging."""
    for key, protective in declarations(Tables, Protective):
        theirs = value_at(other, key)
        if protective.strictness(value_at(settings, key)) < protective.strictness(theirs):
            yield Problem(
                (key,),
                f"protects less than in environments/{other.name}.toml, where it is {as_toml(theirs)}; {settings.name} must "
                f"protect at least as much: raise it here, or lower it in {other.name}.toml first",
            )


def _opt_outs(settings: Tables) -> Iterator[Problem]:
    """A protection that is off needs a reason, one that is on must have none. Several settings can share a reason."""
    protected: dict[str, list[str]] = defaultdict(list)
    protections = dict(declarations(type(settings), Protective))
    for key, protective in protections.items():
        if reason_key := protective.reason_key(key):
            protected[reason_key].append(key)
    for reason_key, keys in protected.items():
        off = [key for key in keys if protections[key].is_off(value_at(settings, key))]
        reason = value_at(settings, reason_key)
        if off and not reason:
            yield Problem(
                (*off, reason_key), f"a disabled protection needs a reason: set {reason_key.rpartition('.')[2]}; the template then shows it"
            )
        if reason and not off:
            shown = keys if len(keys) == 1 else []
            yield Problem((*shown, reason_key), "the protection is on, so it needs no reason; delete the reason")


def _network(settings: Tables) -> Iterator[Problem]:
    network = settings.network
    if not network.nat_gateways:
        if not network.interface_endpoints:
            yield Problem(("network.nat_gateways", "network.interface_endpoints"), "tasks cannot reach any AWS service; set one of the two")
        ours = f".dkr.ecr.{settings.region}.amazonaws.com/"
        images = ("placeholder_image", "psql_image", "redis_cli_image", "python_image")
        far = [name for name in images if ours not in getattr(settings.service, name)]
        if far:
            yield Problem(
                ("network.nat_gateways", *(f"service.{name}" for name in far)),
                f"without NAT, only ECR in {settings.region} can be reached; copy the images to a private repository there and name those",
            )
    prefix = f"{zone_prefix(settings.region)}-"
    foreign = [zone for zone in network.zones if not zone.startswith(prefix)]
    own = check_range(network.cidr)
    overlapping = [peer for peer in network.peer_cidrs if own.overlaps(check_range(peer))]
    yield from _wrong(
        (
            network.nat_instances and not network.nat_gateways,
            ("network.nat_instances", "network.nat_gateways"),
            "nat_gateways sets their number; it must be at least 1",
        ),
        (
            network.nat_gateways > len(network.zones),
            ("network.nat_gateways", "network.zones"),
            f"there are more gateways than zones; use at most {len(network.zones)}",
        ),
        (
            foreign,
            ("region", "network.zones"),
            f"{', '.join(foreign)} {'is' if len(foreign) == 1 else 'are'} not in {settings.region}, whose zone ids start with {prefix}",
        ),
        (
            overlapping,
            ("network.cidr", "network.peer_cidrs"),
            f"{', '.join(overlapping)} {'overlaps' if len(overlapping) == 1 else 'overlap'} the VPC's range, and addresses in both ranges "
            "cannot be reached; choose another cidr before the VPC is created",
        ),
    )


def _storage(settings: Tables) -> Iterator[Problem]:
    storage = settings.storage
    days = {f"storage.{tier}_backup_days": getattr(storage, f"{tier}_backup_days") for tier in ("daily", "weekly", "monthly")}
    if storage.object_lock:
        for key, kept in days.items():
            if storage.object_lock_days > kept:
                yield Problem(
                    ("storage.object_lock_days", key),
                    f"the lock lasts longer than the retention, so a dump cannot expire; lock at most {kept} days",
                )
    if storage.backup_copy_region == settings.region:
        yield Problem(
            ("region", "storage.backup_copy_region"),
            "the copies would be lost together with the region; name another region, or delete the key",
        )
    elif storage.backup_copy_region and not settings.network.nat_gateways:
        yield Problem(
            ("network.nat_gateways", "storage.backup_copy_region"),
            f"interface endpoints reach S3 in {settings.region} only, so backups cannot be copied; a NAT gateway reaches "
            f"{storage.backup_copy_region}",
        )
    for frequent, rare in pairwise(days):
        if days[frequent] > days[rare]:
            yield Problem(
                (frequent, rare), "the less frequent dump is kept for a shorter time than the more frequent one; keep it at least as long"
            )


def _database(settings: Tables) -> Iterator[Problem]:
    database, pool = settings.database, settings.database.pool
    backup, maintenance = window_minutes(database.backup_window), window_minutes(database.maintenance_window)
    yield from _wrong(
        (
            database.max_storage_gib < database.storage_gib * 1.1,
            ("database.storage_gib", "database.max_storage_gib"),
            "storage grows in steps of at least 10 %; set max_storage_gib at least 10 % above storage_gib",
        ),
        (
            pool.proxy_idle_client_seconds <= pool.idle_seconds,
            ("database.pool.idle_seconds", "database.pool.proxy_idle_client_seconds"),
            "the proxy would close connections that the application still keeps; make the second longer than the first",
        ),
        (
            pool.proxy_max_idle_percent > pool.proxy_max_connections_percent,
            ("database.pool.proxy_max_idle_percent", "database.pool.proxy_max_connections_percent"),
            "RDS Proxy cannot keep more idle connections than its maximum; lower the first",
        ),
        (
            overlap_daily(backup, maintenance),
            ("database.backup_window", "database.maintenance_window"),
            "the windows overlap, and RDS refuses that; move one of them",
        ),
        (
            "pg_stat_statements" not in database.parameters.shared_preload_libraries,
            ("database.parameters.shared_preload_libraries",),
            "must include pg_stat_statements, which monitoring reads",
        ),
    )
    fires = daily_minute(database.aws_backup_schedule) if database.aws_backup_days else None
    for key, window in (("backup_window", backup), ("maintenance_window", maintenance)):
        if fires is not None and overlap_daily(window, (fires, 60)):  # minutes: constructs_lib/database/snapshots.py
            yield Problem(
                ("database.aws_backup_schedule", f"database.{key}"),
                "AWS Backup can start up to an hour later, and RDS cannot create a second snapshot while it is busy; move one of them",
            )
    fires = daily_minute(database.roles_schedule)
    if fires is not None and overlap_daily(backup, (fires, 5)):  # minutes: the function's timeout
        yield Problem(("database.roles_schedule", "database.backup_window"), "the schedule runs during the backup; move one of them")
    for key, minutes in RUNS_FOR_MINUTES.items():
        fires = daily_minute(getattr(settings.operations, key))
        if fires is not None and overlap_daily(maintenance, (fires, minutes)):
            yield Problem((f"operations.{key}", "database.maintenance_window"), "the run can overlap RDS maintenance; move one of them")


def _memory(settings: Tables) -> Iterator[Problem]:
    """Memory and connections that the instance class supports."""
    parameters, instance_class = settings.database.parameters, settings.database.instance_class
    mib = int(instance_memory_gib(instance_class) * 1024)
    supported = mib * 1024**2 // BYTES_PER_CONNECTION
    name = f"db.{instance_class} has {mib} MiB"
    limits = {
        "max_connections": (parameters.max_connections > supported, f"{name}, enough for {supported} connections by RDS's formula"),
        "shared_buffers_mb": (
            parameters.shared_buffers_mb > mib * SHARED_BUFFERS_SHARE,
            f"{name}, of which at most {int(mib * SHARED_BUFFERS_SHARE)} (40 %) can be shared buffers",
        ),
        "effective_cache_size_mb": (parameters.effective_cache_size_mb > mib, name),
        "maintenance_work_mem_mb": (
            parameters.shared_buffers_mb + parameters.maintenance_work_mem_mb >= mib,
            f"{name}, which include shared_buffers_mb",
        ),
    }
    yield from _wrong(
        *(
            (is_wrong, (f"database.parameters.{key}", "database.instance_class"), f"{why}; lower it, or choose a larger class")
            for key, (is_wrong, why) in limits.items()
        )
    )


def _connections(settings: Tables) -> Iterator[Problem]:
    service, pool, most = settings.service, settings.database.pool, settings.database.parameters.max_connections
    ranges = {"service.max_tasks": service.max_tasks} | {
        f"service.scheduled_scaling.{number}.max_tasks": entry.max_tasks for number, entry in enumerate(service.scheduled_scaling)
    }
    key, tasks = max(ranges.items(), key=lambda item: item[1])
    needed = tasks * 2 * pool.connections_per_task + pool.reserve
    offered = most * pool.proxy_max_connections_percent // 100
    if needed > offered:
        yield Problem(
            (
                key,
                "database.pool.connections_per_task",
                "database.pool.reserve",
                "database.parameters.max_connections",
                "database.pool.proxy_max_connections_percent",
            ),
            f"not enough connections: {tasks} × 2 (a deployment) × {pool.connections_per_task} + {pool.reserve} = {needed} needed, "
            f"{most} × {pool.proxy_max_connections_percent} % = {offered} available; lower max_tasks or connections_per_task, or raise "
            "max_connections",
        )


def _domain(settings: Tables) -> Iterator[Problem]:
    domain, application = settings.domain, settings.application
    zone = domain.hosted_zone_name if domain else ""
    yield from _wrong(
        (
            domain and not f".{domain.name}".endswith(f".{zone}"),
            ("domain.name", "domain.hosted_zone_name"),
            f"the name is not in the zone; it must be {zone} or end in .{zone}",
        ),
        (
            application.smtp_host and not application.email_from and not domain,
            ("application.smtp_host", "application.email_from", "domain"),
            "mail would be sent from noreply@example.com; set application.email_from or [domain]",
        ),
    )


def _routing(settings: Tables) -> Iterator[Problem]:
    redirects, rewrites = settings.edge.redirects, settings.edge.rewrites
    rules = {
        "edge.redirects": [(rule.source, rule.destination) for rule in redirects],
        "edge.rewrites": [(rule.source, rule.destination) for rule in rewrites],
    }
    for table, pairs in rules.items():
        for number, (source, destination) in enumerate(pairs):
            if source in [earlier for earlier, _ in pairs[:number]]:
                yield Problem((f"{table}.{number}.source",), "is used twice, and only the last entry would apply; delete one of them")
            if source == destination:
                yield Problem(
                    (f"{table}.{number}.source", f"{table}.{number}.destination"), "source and destination are the same; change one of them"
                )
    redirected = {rule.source for rule in redirects}
    for number, redirect in enumerate(redirects):
        if redirect.destination in redirected - {redirect.source}:
            yield Problem((f"edge.redirects.{number}.destination",), "is itself redirected; name the final destination")
    for number, rewrite in enumerate(rewrites):
        if rewrite.source in redirected:
            yield Problem(
                (f"edge.rewrites.{number}.source",), "is redirected before it can be rewritten; delete the redirect or the rewrite"
            )
        cached_as = _cache_pattern(settings, rewrite.source)
        if cached_as and cached_as != _cache_pattern(settings, rewrite.destination):
            yield Problem(
                (f"edge.rewrites.{number}.source", f"edge.rewrites.{number}.destination"),
                f"the response would be cached like {cached_as}, without cookies; redirect instead, or choose another source",
            )
        if overlap(rewrite.destination, f"{SIGN_IN}*") and not overlap(rewrite.source, f"{SIGN_IN}*"):
            yield Problem(
                (f"edge.rewrites.{number}.source", f"edge.rewrites.{number}.destination"),
                f"the firewall reads the path before the rewrite, so the limit on sign-ins would not apply; redirect to {SIGN_IN} instead",
            )
    for table, pairs in rules.items():
        for number, (source, _) in enumerate(pairs):
            if overlap(source, "/errors/*"):
                yield Problem(
                    (f"{table}.{number}.source",), "is below /errors/, where redirects and rewrites do not run; choose another source"
                )
    size = sum(len(source) + len(destination) + ROUTING_RULE for pairs in rules.values() for source, destination in pairs)
    if size > ROUTING_CHARACTERS:
        yield Problem(
            (),
            f"edge.redirects and edge.rewrites: {size} characters ({ROUTING_RULE} plus the paths for each) do not fit into CloudFront's "
            f"function; the limit is {ROUTING_CHARACTERS}: shorten or delete some, or move them to the application's next.config",
        )


def _cache_pattern(settings: Tables, path: str) -> str | None:
    """The path pattern whose caching rules apply to a path; None for the default rules."""
    return next((pattern for pattern in (*settings.edge.all_static_paths, "/_next/image") if overlap(path, pattern)), None)


def _headers(settings: Tables) -> Iterator[Problem]:
    headers = settings.edge.headers
    year = 31_536_000
    if (
        headers.hsts_preload
        and headers.hsts_max_age_seconds
        and not (headers.hsts_max_age_seconds >= year and headers.hsts_include_subdomains)
    ):
        yield Problem(
            ("edge.headers.hsts_preload", "edge.headers.hsts_max_age_seconds", "edge.headers.hsts_include_subdomains"),
            f"the preload list (hstspreload.org) requires a year ({year} seconds) or more and subdomains; set hsts_preload = false, or "
            "change the other two",
        )


def _service(settings: Tables) -> Iterator[Problem]:
    service = settings.service
    reversed_range = "max_tasks is below min_tasks; raise max_tasks or lower min_tasks"
    if service.max_tasks < service.min_tasks:
        yield Problem(("service.min_tasks", "service.max_tasks"), reversed_range)
    for number, entry in enumerate(service.scheduled_scaling):
        key = f"service.scheduled_scaling.{number}"
        if entry.max_tasks < entry.min_tasks:
            yield Problem((f"{key}.min_tasks", f"{key}.max_tasks"), reversed_range)
        if (entry.schedule, entry.time_zone) in [(other.schedule, other.time_zone) for other in service.scheduled_scaling[:number]]:
            yield Problem((f"{key}.schedule", f"{key}.time_zone"), "another entry has the same schedule; delete one of them")
    lowest, highest = FARGATE_GIB[service.cpu]
    whole = service.memory_mib % 1024 == 0 or service.memory_mib == 512
    yield from _wrong(
        (
            not (whole and lowest <= service.memory_mib / 1024 <= highest),
            ("service.cpu", "service.memory_mib"),
            f"Fargate does not offer this size; with this cpu, memory must be {lowest} to {highest} GiB in whole GiB",
        ),
        (
            f"{service.static_folder}/".startswith("/tmp/"),  # noqa: S108 (a folder in a container)
            ("service.static_folder",),
            "is hidden by the volume to which the files are copied; choose a folder outside /tmp",
        ),
    )


def _working_hours(settings: Tables) -> Iterator[Problem]:
    """Whatever needs the database runs inside the working hours."""
    if (hours := settings.working_hours) is None:
        return
    keys = ("working_hours.starts", "working_hours.ends")
    if settings.name in COMPARED:
        yield Problem(keys, f"{settings.name} is production and must run at any hour; delete [working_hours]")
        return
    if minute_of_day(hours.ends) - minute_of_day(hours.starts) < SHORTEST_MINUTES:
        yield Problem(keys, "a day must end at least two hours after its start, on the same day; move one of them")
        return
    spans = open_spans(hours.days, hours.starts, hours.ends, hours.time_zone)
    allowed = describe_spans(hours.days, spans)
    for key, cron, minutes in _schedules(settings):
        if outside := fires_outside(cron, minutes, spans):
            lasting = f" for up to {minutes} minutes" if minutes else ""
            yield Problem(
                (key, *keys),
                f"runs on {outside} UTC{lasting}, when the database is stopped or still starting; move it into {allowed}, with days of the "
                "week as in cron(30 10 ? * MON-FRI *)",
            )
    for key in ("backup_window", "maintenance_window"):
        if outside := window_outside(getattr(settings.database, key), hours.days, spans):
            yield Problem(
                (f"database.{key}", *keys),
                f"starts on {outside} UTC, when the instance is stopped and RDS cannot work on it; move it into {allowed}",
            )
    for number, entry in enumerate(settings.service.scheduled_scaling):
        local = open_spans(hours.days, hours.starts, hours.ends, "Etc/UTC")  # both use the same time zone
        if entry.max_tasks and (entry.time_zone != hours.time_zone or fires_outside(entry.schedule, 0, local)):
            key = f"service.scheduled_scaling.{number}"
            yield Problem(
                (f"{key}.schedule", f"{key}.time_zone", *keys, "working_hours.time_zone"),
                f"starts tasks outside working hours; move it into {describe_spans(hours.days, local).removesuffix(' UTC')} in their zone",
            )
    pause = longest_pause_hours(settings.operations.backup_schedule)
    if settings.alarms.watched and settings.operations.scheduled_backups and settings.alarms.daily_backup_age_hours <= pause:
        yield Problem(
            ("alarms.daily_backup_age_hours", "operations.backup_schedule"),
            f"two backups are {pause:.0f} hours apart, so the alarm would open in every such pause; raise the age above {pause:.0f}",
        )


def _schedules(settings: Tables) -> Iterator[tuple[str, str, int]]:
    """Yield (key, cron, longest run in minutes) of all schedules that need the database, and of the digest."""
    for key, minutes in RUNS_FOR_MINUTES.items():
        if key != "backup_schedule" or settings.operations.scheduled_backups:
            yield f"operations.{key}", getattr(settings.operations, key), minutes
    yield "database.roles_schedule", settings.database.roles_schedule, 5
    if settings.database.aws_backup_days:
        yield "database.aws_backup_schedule", settings.database.aws_backup_schedule, 60
    if settings.alarms.watched:
        yield "alerts.digest_schedule", settings.alerts.digest_schedule, 0


def _removal(settings: Tables) -> Iterator[Problem]:
    """With keep_data = false, nothing may protect data from deletion."""
    if settings.keep_data:
        return
    for key, is_set, instead in (
        ("termination_protection", settings.termination_protection, "set termination_protection to false"),
        ("database.deletion_protection", settings.database.deletion_protection, "set deletion_protection to false"),
        ("storage.object_lock", settings.storage.object_lock, "set object_lock to false"),
        ("database.aws_backup_days", settings.database.aws_backup_days, "set aws_backup_days to 0"),
        ("storage.backup_copy_region", settings.storage.backup_copy_region, "delete backup_copy_region"),
    ):
        if is_set:
            yield Problem(("keep_data", key), f"keep_data = false deletes all data, but this setting keeps some; {instead}")


def _uptime(settings: Tables) -> Iterator[Problem]:
    endpoints = settings.uptime.endpoints
    for number, endpoint in enumerate(endpoints):
        key = f"uptime.endpoints.{number}"
        if endpoint.path in [other.path for other in endpoints[:number]]:
            yield Problem((f"{key}.path",), "is used twice, but metrics are named by path; delete one of them")
        if endpoint.redirects_to and not set(endpoint.expected_statuses) <= REDIRECTS:
            yield Problem(
                (f"{key}.redirects_to", f"{key}.expected_statuses"),
                f"only a redirect has a destination; expect some of {', '.join(map(str, sorted(REDIRECTS)))}, or delete redirects_to",
            )
    if settings.alarms.watched and settings.edge.all_firewall_rules and not any(one.path.startswith("/api/") for one in endpoints):
        yield Problem(
            (),
            "uptime.endpoints: in attack mode the firewall challenges every page, so an outage would not be seen; add an endpoint below "
            "/api/, which it does not challenge, such as /api/health",
        )
    size = sum(len(json.dumps(endpoint.model_dump(mode="json"), separators=(",", ":"))) for endpoint in endpoints)
    if size > ENDPOINT_CHARACTERS:
        yield Problem(
            (),
            f"uptime.endpoints: {size} characters as JSON do not fit into the function's environment; the limit is {ENDPOINT_CHARACTERS}: "
            "shorten body_contains, or delete an endpoint",
        )


def _alarms(settings: Tables) -> Iterator[Problem]:
    """Thresholds that can never be reached, or always are."""
    alarms, timeout = settings.alarms, settings.edge.origin_timeout_seconds
    responses = {
        "alarms.slow_response_seconds": alarms.slow_response_seconds,
        "alarms.origin_latency_seconds": alarms.origin_latency_seconds,
        "slo.latency_seconds": settings.slo.latency_seconds,
    }
    yield from _wrong(
        *(
            (
                seconds >= timeout,
                (key, "edge.origin_timeout_seconds"),
                "CloudFront times out before that, so the alarm would never open; lower the first",
            )
            for key, seconds in responses.items()
        ),
        (
            alarms.proxy_borrow_ms >= settings.database.pool.acquire_timeout_seconds * 1000,
            ("alarms.proxy_borrow_ms", "database.pool.acquire_timeout_seconds"),
            "requests fail after a shorter wait, so the alarm would never open; lower the first",
        ),
        (
            alarms.database_free_storage_gib >= settings.database.storage_gib,
            ("alarms.database_free_storage_gib", "database.storage_gib"),
            "a new database would be in alarm immediately; lower the first",
        ),
    )


def _pipeline(settings: Tables) -> Iterator[Problem]:
    if (pipeline := settings.pipeline) is None:
        return
    yield from _wrong(
        (
            settings.permissions_boundary is None,
            ("pipeline.repository", "permissions_boundary"),
            "without a boundary, the pipeline could give itself more permissions; set 'CarmenBoundary', which CarmenPipelineAccess creates "
            "(docs/first-pipeline.md)",
        ),
        (
            pipeline.platform == "github" and pipeline.gitlab_host != "gitlab.com",
            ("pipeline.platform", "pipeline.gitlab_host"),
            "GitHub does not use gitlab_host; delete it",
        ),
    )
    for key in ("repository", "application_repository"):
        name, keys = getattr(pipeline, key) or "", ("pipeline.platform", f"pipeline.{key}")
        yield from _wrong(
            (
                pipeline.platform == "github" and name.count("/") > 1,
                keys,
                "a GitHub repository is owner/name; only GitLab has nested groups",
            ),
            (
                pipeline.platform == "gitlab" and "@" in name,
                keys,
                "only GitHub uses ids after @; GitLab's tokens contain the path alone",
            ),
        )


def _application(settings: Tables) -> Iterator[Problem]:
    variables, secrets = settings.application.extra_variables, settings.application.extra_secrets
    for table, names in (("extra_variables", variables), ("extra_secrets", secrets)):
        for name in names:
            key = f"application.{table}.{name}"
            if name in RESERVED_VARIABLES:
                yield Problem((), f"{key}: is set by this CDK application (the environment contract); choose another name")
            elif name.startswith(RESERVED_PREFIXES):
                yield Problem((), f"{key}: AWS libraries and agents read variables that start with AWS_ or ECS_; choose another name")
    for name in sorted(variables.keys() & secrets.keys()):
        yield Problem((), f"application.extra_variables.{name}: is also in extra_secrets; delete one of them")
    yield from _secret_resources(secrets)


def _secret_resources(secrets: Iterable[str]) -> Iterator[Problem]:
    """Two secrets must not have the same resource names: `StripeKey`, and `StripeKeyInitialValue` where the operator supplies the value."""
    taken: dict[str, str] = {}
    for name in (*sorted(RESERVED_VARIABLES), *secrets):
        resource = "".join(map(str.capitalize, name.split("_")))
        for each in (resource, f"{resource}InitialValue"):
            if (first := taken.setdefault(each, name)) != name:
                yield Problem(
                    (), f"application.extra_secrets.{name}: its resource would have the same name as that of {first}; choose another name"
                )


def _secrets(settings: Tables) -> Iterator[Problem]:
    """TOML files must not contain secrets. A message never repeats what looks like one."""
    advice = (
        "TOML files must not contain secrets; declare it in application.extra_secrets and set its value after deployment "
        f"(./carmen secrets --env {settings.name}). Replace a secret that was in a file"
    )
    for key, text in _texts(settings, ""):
        variable = key.removeprefix("application.extra_variables.") if key.startswith("application.extra_variables.") else None
        if variable in RESERVED_VARIABLES:
            continue
        if kind := detect_secret(text, is_user_name=key == "application.smtp_user", is_variable=variable is not None):
            yield Problem((), f"{key}: looks like {kind}. {advice}")
        elif variable and is_secret_name(variable):
            yield Problem((), f"{key}: is a secret by its name. {advice}")


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield every text in the settings with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, BaseModel | dict):
        for name, inner in dict(value).items():
            yield from _texts(inner, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{number}")
