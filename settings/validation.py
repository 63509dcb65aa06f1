"""What must fit together in one environment, each value being right by itself.

Every check yields its complaints and raises nothing, so that `Settings` can tell all of them at once. A complaint names the
keys it is about and says what is wrong and what would be right; `messages.py` puts the values beside the keys.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from settings.baseline import COMPARED, weaker
from settings.field_metadata import Protective, declarations, value_at
from settings.schedules import daily_minute, meet_in_a_day, minute_of_day, window_minutes
from settings.secret_detection import kind_of_secret, named_like_a_secret
from settings.sections import Tables
from settings.types import as_toml, check_range, instance_memory_gib, zone_prefix
from settings.url_paths import meet
from settings.working_hours import SHORTEST_MINUTES, fires_outside, in_words, longest_pause_hours, open_spans, window_outside

# PostgreSQL's manual, "Resource Consumption": more than 40 % of memory rarely works better, and RDS then lacks the rest.
SHARED_BUFFERS_SHARE = 0.4
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html: LEAST(DBInstanceClassMemory/9531392, 5000).
BYTES_PER_CONNECTION = 9_531_392
# Beside the rest of constructs_lib/edge/viewer_request.js in a function's 10 KB; tests/models/edge holds that it fits.
ROUTING_CHARACTERS = 7_500
ROUTING_RULE = 48
FARGATE_GIB = {256: (0.5, 2), 512: (1, 4), 1024: (2, 8), 2048: (4, 16), 4096: (8, 30)}
RESERVED_VARIABLES = frozenset([
    "NODE_ENV", "PORT", "HOSTNAME", "KEEP_ALIVE_TIMEOUT", "NEXT_TELEMETRY_DISABLED", "NEXT_PUBLIC_APP_URL", "DATABASE_URL",
    "DIRECT_URL", "REDIS_URL", "NEXTAUTH_URL", "NEXTAUTH_SECRET", "JWT_SECRET", "WEBHOOK_SECRET", "EMAIL_FROM", "SMTP_HOST",
    "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURE", "UPLOAD_STORAGE", "API_RATE_LIMIT", "SENTRY_DSN", "ENABLE_ANALYTICS",
    "LOG_LEVEL", "ENABLE_ADVANCED_ANALYTICS", "ENABLE_EXPERIMENTAL_FEATURES",
])  # fmt: skip
# Lambda's time limit, and what a drill of a large database may need.
RUNS_FOR_MINUTES = {"backup_schedule": 15, "weekly_maintenance_schedule": 15, "monthly_maintenance_schedule": 15, "rotation_schedule": 15}
REDIRECTS = frozenset([301, 302, 303, 307, 308])
# Of the 4 KB that a function's environment holds, as constructs_lib/monitoring/uptime.py writes them: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENDPOINT_CHARACTERS = 3_000
RESERVED_PREFIXES = ("AWS_", "ECS_")


@dataclass(frozen=True)
class Complaint:
    """`keys` are dotted, entries of a list by number (`edge.redirects.0.source`)."""

    keys: tuple[str, ...]
    text: str


def complaints(settings: Tables, production_over: Tables | None = None) -> Iterator[Complaint]:
    """All that does not fit; with `production_over`, also where `settings` protect less than that environment."""
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
        _what_goes,
        _uptime,
        _alarms,
        _pipeline,
        _application,
        _secrets,
    ):
        yield from check(settings)
    if production_over:
        for key, theirs in weaker(settings, production_over):
            yield Complaint(
                (key,),
                f"protects less than environments/{production_over.name}.toml, where it is {as_toml(theirs)}; {settings.name} protects at "
                "least as much: change it here, or there first",
            )


def _opt_outs(settings: Tables) -> Iterator[Complaint]:
    """A protection that is off has a reason, and one that is on has none. Several settings can share a reason."""
    protected: dict[str, list[str]] = defaultdict(list)
    protections = dict(declarations(type(settings), Protective))
    for key, protective in protections.items():
        if reason_key := protective.reason_key(key):
            protected[reason_key].append(key)
    for reason_key, keys in protected.items():
        off = [key for key in keys if protections[key].is_off(value_at(settings, key))]
        reason = value_at(settings, reason_key)
        if off and not reason:
            yield Complaint((*off, reason_key), "a protection that is off takes a reason, which the template then shows")
        if reason and not off:
            shown = keys if len(keys) == 1 else []
            yield Complaint((*shown, reason_key), "the protection is on and needs no reason; delete the reason")


def _network(settings: Tables) -> Iterator[Complaint]:
    network = settings.network
    if not network.nat_gateways:
        if not network.interface_endpoints:
            yield Complaint(("network.nat_gateways", "network.interface_endpoints"), "tasks could reach no AWS service; set one of the two")
        ours = f".dkr.ecr.{settings.region}.amazonaws.com/"
        images = ("placeholder_image", "psql_image", "redis_cli_image", "python_image")
        far = [name for name in images if ours not in getattr(settings.service, name)]
        if far:
            yield Complaint(
                ("network.nat_gateways", *(f"service.{name}" for name in far)),
                f"endpoints reach no registry but ECR in {settings.region}; copy the images to a private repository there and name those",
            )
    if network.nat_instances and not network.nat_gateways:
        yield Complaint(("network.nat_instances", "network.nat_gateways"), "nat_gateways says how many of them there are; at least 1")
    if network.nat_gateways > len(network.zones):
        yield Complaint(("network.nat_gateways", "network.zones"), f"more gateways than zones; {len(network.zones)} at most")
    prefix = f"{zone_prefix(settings.region)}-"
    if foreign := [zone for zone in network.zones if not zone.startswith(prefix)]:
        yield Complaint(
            ("region", "network.zones"),
            f"{', '.join(foreign)} {'is' if len(foreign) == 1 else 'are'} not in {settings.region}, whose zone ids begin with {prefix}",
        )
    own = check_range(network.cidr)
    if overlapping := [peer for peer in network.peer_cidrs if own.overlaps(check_range(peer))]:
        yield Complaint(
            ("network.cidr", "network.peer_cidrs"),
            f"{', '.join(overlapping)} {'overlaps' if len(overlapping) == 1 else 'overlap'} the VPC's own range, and what has the same "
            "address on both sides cannot be reached; choose another cidr before the VPC is made",
        )


def _storage(settings: Tables) -> Iterator[Complaint]:
    storage = settings.storage
    days = {f"storage.{tier}_backup_days": getattr(storage, f"{tier}_backup_days") for tier in ("daily", "weekly", "monthly")}
    if storage.object_lock:
        for key, kept in days.items():
            if storage.object_lock_days > kept:
                yield Complaint(
                    ("storage.object_lock_days", key), f"locked for longer than kept, a dump could not expire; lock {kept} days at most"
                )
    if storage.backup_copy_region == settings.region:
        yield Complaint(
            ("region", "storage.backup_copy_region"), "what is lost with the region would be lost twice; name another region, or none"
        )
    elif storage.backup_copy_region and not settings.network.nat_gateways:
        yield Complaint(
            ("network.nat_gateways", "storage.backup_copy_region"),
            f"endpoints reach S3 in {settings.region} only, and so no copy is made; a NAT gateway leads to {storage.backup_copy_region}",
        )
    for frequent, rare in pairwise(days):
        if days[frequent] > days[rare]:
            yield Complaint((frequent, rare), "the rarer dump is kept for less time than the more frequent one; keep it as long or longer")


def _database(settings: Tables) -> Iterator[Complaint]:
    database, pool = settings.database, settings.database.pool
    if database.max_storage_gib < database.storage_gib * 1.1:
        yield Complaint(
            ("database.storage_gib", "database.max_storage_gib"),
            "storage grows by a tenth or more; max_storage_gib must be at least 10 % above storage_gib",
        )
    if pool.proxy_idle_client_seconds <= pool.idle_seconds:
        yield Complaint(
            ("database.pool.idle_seconds", "database.pool.proxy_idle_client_seconds"),
            "the proxy would cut connections that the application still keeps; the proxy's must be the longer one",
        )
    if pool.proxy_max_idle_percent > pool.proxy_max_connections_percent:
        yield Complaint(
            ("database.pool.proxy_max_idle_percent", "database.pool.proxy_max_connections_percent"),
            "RDS Proxy cannot keep more idle connections than it may have; lower the first",
        )
    backup, maintenance = window_minutes(database.backup_window), window_minutes(database.maintenance_window)
    if meet_in_a_day(backup, maintenance):
        yield Complaint(
            ("database.backup_window", "database.maintenance_window"), "the windows overlap, which RDS refuses; move one of them"
        )
    fires = daily_minute(database.aws_backup_schedule) if database.aws_backup_days else None
    for key, window in (("backup_window", backup), ("maintenance_window", maintenance)):
        if fires is not None and meet_in_a_day(window, (fires, 60)):  # minutes: constructs_lib/database/snapshots.py
            yield Complaint(
                ("database.aws_backup_schedule", f"database.{key}"),
                "AWS Backup may begin within an hour, and RDS makes no second snapshot while it is busy; move one of them",
            )
    fires = daily_minute(database.roles_schedule)
    if fires is not None and meet_in_a_day(backup, (fires, 5)):  # minutes: the function's timeout
        yield Complaint(("database.roles_schedule", "database.backup_window"), "the schedule fires during the backup; move one of them")
    for key, minutes in RUNS_FOR_MINUTES.items():
        fires = daily_minute(getattr(settings.operations, key))
        if fires is not None and meet_in_a_day(maintenance, (fires, minutes)):
            yield Complaint((f"operations.{key}", "database.maintenance_window"), "it may run into RDS's own maintenance; move one of them")
    if "pg_stat_statements" not in database.parameters.shared_preload_libraries:
        yield Complaint(("database.parameters.shared_preload_libraries",), "pg_stat_statements must be among them: monitoring reads it")


def _memory(settings: Tables) -> Iterator[Complaint]:
    """What the instance class can carry."""
    parameters, instance_class = settings.database.parameters, settings.database.instance_class
    mib = int(instance_memory_gib(instance_class) * 1024)
    carried = mib * 1024**2 // BYTES_PER_CONNECTION
    name = f"db.{instance_class} has {mib} MiB"
    wrong = {
        "max_connections": (parameters.max_connections > carried, f"{name}, which carry {carried} connections as RDS reckons"),
        "shared_buffers_mb": (
            parameters.shared_buffers_mb > mib * SHARED_BUFFERS_SHARE,
            f"{name}, of which PostgreSQL can use {int(mib * SHARED_BUFFERS_SHARE)} (40 %) here",
        ),
        "effective_cache_size_mb": (parameters.effective_cache_size_mb > mib, name),
        "maintenance_work_mem_mb": (
            parameters.shared_buffers_mb + parameters.maintenance_work_mem_mb >= mib,
            f"{name}, shared_buffers_mb among them",
        ),
    }
    for key, (is_wrong, why) in wrong.items():
        if is_wrong:
            yield Complaint((f"database.parameters.{key}", "database.instance_class"), f"{why}; lower it, or choose a larger class")


def _connections(settings: Tables) -> Iterator[Complaint]:
    service, pool, most = settings.service, settings.database.pool, settings.database.parameters.max_connections
    ranges = {"service.max_tasks": service.max_tasks} | {
        f"service.scheduled_scaling.{number}.max_tasks": entry.max_tasks for number, entry in enumerate(service.scheduled_scaling)
    }
    key, tasks = max(ranges.items(), key=lambda item: item[1])
    needed = tasks * 2 * pool.connections_per_task + pool.reserve
    offered = most * pool.proxy_max_connections_percent // 100
    if needed > offered:
        yield Complaint(
            (
                key,
                "database.pool.connections_per_task",
                "database.pool.reserve",
                "database.parameters.max_connections",
                "database.pool.proxy_max_connections_percent",
            ),
            f"connections do not add up: {tasks} × 2 (a roll-out) × {pool.connections_per_task} + {pool.reserve} = {needed} are needed, "
            f"{most} × {pool.proxy_max_connections_percent} % = {offered} are there; lower max_tasks or connections_per_task, or raise "
            "max_connections",
        )


def _domain(settings: Tables) -> Iterator[Complaint]:
    domain, application = settings.domain, settings.application
    if domain and not f".{domain.name}".endswith(f".{domain.hosted_zone_name}"):
        yield Complaint(
            ("domain.name", "domain.hosted_zone_name"),
            f"the zone does not hold the name, which must be it or end in .{domain.hosted_zone_name}",
        )
    if application.smtp_host and not application.email_from and not domain:
        keys = ("application.smtp_host", "application.email_from", "domain")
        yield Complaint(keys, "mail would come from noreply@example.com; set application.email_from or [domain]")


def _routing(settings: Tables) -> Iterator[Complaint]:
    redirects, rewrites = settings.edge.redirects, settings.edge.rewrites
    ways = {
        "edge.redirects": [(rule.source, rule.destination) for rule in redirects],
        "edge.rewrites": [(rule.source, rule.destination) for rule in rewrites],
    }
    for table, pairs in ways.items():
        for number, (source, destination) in enumerate(pairs):
            if source in [earlier for earlier, _ in pairs[:number]]:
                yield Complaint((f"{table}.{number}.source",), "stands twice; the first would never be used")
            if source == destination:
                yield Complaint((f"{table}.{number}.source", f"{table}.{number}.destination"), "leads to itself")
    redirected = {rule.source for rule in redirects}
    for number, redirect in enumerate(redirects):
        if redirect.destination in redirected - {redirect.source}:
            yield Complaint((f"edge.redirects.{number}.destination",), "is redirected again; name the end of the way")
    for number, rewrite in enumerate(rewrites):
        if rewrite.source in redirected:
            yield Complaint((f"edge.rewrites.{number}.source",), "is redirected before it could be rewritten; keep one of the two")
        kept = _kept_as(settings, rewrite.source)
        if kept and kept != _kept_as(settings, rewrite.destination):
            yield Complaint(
                (f"edge.rewrites.{number}.source", f"edge.rewrites.{number}.destination"),
                f"the answer would be kept as {kept} is, without cookies; redirect instead, or choose a source outside",
            )
    for table, pairs in ways.items():
        for number, (source, _) in enumerate(pairs):
            if meet(source, "/errors/*"):
                yield Complaint(
                    (f"{table}.{number}.source",), "is below /errors/, where no redirect or rewrite runs; choose another source"
                )
    size = sum(len(source) + len(destination) + ROUTING_RULE for pairs in ways.values() for source, destination in pairs)
    if size > ROUTING_CHARACTERS:
        yield Complaint(
            (),
            f"edge.redirects and edge.rewrites: {size} characters ({ROUTING_RULE} and their paths each) do not fit into CloudFront's "
            f"function; {ROUTING_CHARACTERS} at most: shorten or drop some, or move them to the application's next.config",
        )


def _kept_as(settings: Tables, path: str) -> str | None:
    """The path pattern whose caching rules a path falls under, if any but the default's."""
    return next((pattern for pattern in (*settings.edge.all_static_paths, "/_next/image") if meet(path, pattern)), None)


def _headers(settings: Tables) -> Iterator[Complaint]:
    headers = settings.edge.headers
    year = 31_536_000
    if (
        headers.hsts_preload
        and headers.hsts_max_age_seconds
        and not (headers.hsts_max_age_seconds >= year and headers.hsts_include_subdomains)
    ):
        yield Complaint(
            ("edge.headers.hsts_preload", "edge.headers.hsts_max_age_seconds", "edge.headers.hsts_include_subdomains"),
            f"the preload list (hstspreload.org) takes a year ({year} seconds) or more, subdomains included; set hsts_preload = false, or "
            "the other two so",
        )


def _service(settings: Tables) -> Iterator[Complaint]:
    service = settings.service
    upside_down = "the range is upside down; max_tasks must be min_tasks or more"
    if service.max_tasks < service.min_tasks:
        yield Complaint(("service.min_tasks", "service.max_tasks"), upside_down)
    for number, entry in enumerate(service.scheduled_scaling):
        key = f"service.scheduled_scaling.{number}"
        if entry.max_tasks < entry.min_tasks:
            yield Complaint((f"{key}.min_tasks", f"{key}.max_tasks"), upside_down)
        if (entry.schedule, entry.time_zone) in [(other.schedule, other.time_zone) for other in service.scheduled_scaling[:number]]:
            yield Complaint((f"{key}.schedule", f"{key}.time_zone"), "another range starts at the same time; keep one of the two")
    lowest, highest = FARGATE_GIB[service.cpu]
    gib = service.memory_mib / 1024
    if not lowest <= gib <= highest or (service.memory_mib % 1024 and service.memory_mib != 512):
        yield Complaint(
            ("service.cpu", "service.memory_mib"),
            f"Fargate has no such task; with this cpu, memory is {lowest} to {highest} GiB in whole GiB",
        )
    if f"{service.static_folder}/".startswith("/tmp/"):  # noqa: S108 (a folder of a container's)
        yield Complaint(("service.static_folder",), "is hidden by the volume that the files are copied to; choose a folder outside /tmp")


def _working_hours(settings: Tables) -> Iterator[Complaint]:
    """What needs the database lies within."""
    if (hours := settings.working_hours) is None:
        return
    keys = ("working_hours.starts", "working_hours.ends")
    if settings.name in COMPARED:
        yield Complaint(keys, f"{settings.name} is production, which users find at any hour; take [working_hours] out")
        return
    if minute_of_day(hours.ends) - minute_of_day(hours.starts) < SHORTEST_MINUTES:
        yield Complaint(keys, "a day's end lies two hours or more after its start, on the same day; move one of them")
        return
    spans = open_spans(hours.days, hours.starts, hours.ends, hours.time_zone)
    allowed = in_words(hours.days, spans)
    for key, cron, minutes in _schedules(settings):
        if outside := fires_outside(cron, minutes, spans):
            lasting = f" for up to {minutes} minutes" if minutes else ""
            yield Complaint(
                (key, *keys),
                f"fires on {outside} UTC{lasting}, when the database is stopped or not up yet; it belongs into {allowed}: "
                "name days of the week, in the form cron(30 10 ? * MON-FRI *)",
            )
    for key in ("backup_window", "maintenance_window"):
        if outside := window_outside(getattr(settings.database, key), hours.days, spans):
            yield Complaint(
                (f"database.{key}", *keys),
                f"begins on {outside} UTC, and RDS does nothing to a stopped instance; it belongs into {allowed}",
            )
    for number, entry in enumerate(settings.service.scheduled_scaling):
        local = open_spans(hours.days, hours.starts, hours.ends, "Etc/UTC")  # both are read in one zone
        if entry.max_tasks and (entry.time_zone != hours.time_zone or fires_outside(entry.schedule, 0, local)):
            key = f"service.scheduled_scaling.{number}"
            yield Complaint(
                (f"{key}.schedule", f"{key}.time_zone", *keys, "working_hours.time_zone"),
                f"would start tasks outside; keep it to {in_words(hours.days, local).removesuffix(' UTC')}, in the same time zone",
            )
    pause = longest_pause_hours(settings.operations.backup_schedule)
    if settings.alarms.watched and settings.operations.scheduled_backups and settings.alarms.daily_backup_age_hours <= pause:
        yield Complaint(
            ("alarms.daily_backup_age_hours", "operations.backup_schedule"),
            f"{pause:.0f} hours lie between two backups, and the alarm would open in each such pause; raise it above that",
        )


def _schedules(settings: Tables) -> Iterator[tuple[str, str, int]]:
    """(key, cron, minutes it may take) of what needs the database, and of what people are told."""
    for key, minutes in RUNS_FOR_MINUTES.items():
        if key != "backup_schedule" or settings.operations.scheduled_backups:
            yield f"operations.{key}", getattr(settings.operations, key), minutes
    yield "database.roles_schedule", settings.database.roles_schedule, 5
    if settings.database.aws_backup_days:
        yield "database.aws_backup_schedule", settings.database.aws_backup_schedule, 60
    if settings.alarms.watched:
        yield "alerts.digest_schedule", settings.alerts.digest_schedule, 0


def _what_goes(settings: Tables) -> Iterator[Complaint]:
    """What is to go with its stack is not protected from going."""
    if settings.keep_data:
        return
    for key, is_in_the_way, instead in (
        ("termination_protection", settings.termination_protection, "false"),
        ("database.deletion_protection", settings.database.deletion_protection, "false"),
        ("storage.object_lock", settings.storage.object_lock, "false"),
        ("database.aws_backup_days", settings.database.aws_backup_days, "0"),
        ("storage.backup_copy_region", settings.storage.backup_copy_region, "nothing: take it out"),
    ):
        if is_in_the_way:
            yield Complaint(("keep_data", key), f"nothing is to stay, and this would; set {key.rpartition('.')[2]} to {instead}")


def _uptime(settings: Tables) -> Iterator[Complaint]:
    endpoints = settings.uptime.endpoints
    for number, endpoint in enumerate(endpoints):
        key = f"uptime.endpoints.{number}"
        if endpoint.path in [other.path for other in endpoints[:number]]:
            yield Complaint((f"{key}.path",), "stands twice; its metrics are told apart by path, so each path is asked once")
        if endpoint.redirects_to and not set(endpoint.expected_statuses) <= REDIRECTS:
            yield Complaint(
                (f"{key}.redirects_to", f"{key}.expected_statuses"),
                f"what is no redirect leads nowhere; expect some of {', '.join(map(str, sorted(REDIRECTS)))}, or drop redirects_to",
            )
    size = sum(len(json.dumps(endpoint.model_dump(mode="json"), separators=(",", ":"))) for endpoint in endpoints)
    if size > ENDPOINT_CHARACTERS:
        yield Complaint(
            (),
            f"uptime.endpoints: {size} characters as JSON do not fit into the function's environment; {ENDPOINT_CHARACTERS} at most: "
            "shorten what bodies must contain, or drop an endpoint",
        )


def _alarms(settings: Tables) -> Iterator[Complaint]:
    """Thresholds that nothing can ever reach."""
    alarms, timeout, wait = settings.alarms, settings.edge.origin_timeout_seconds, settings.database.pool.acquire_timeout_seconds
    for key, seconds in (
        ("alarms.slow_response_seconds", alarms.slow_response_seconds),
        ("alarms.origin_latency_seconds", alarms.origin_latency_seconds),
        ("slo.latency_seconds", settings.slo.latency_seconds),
    ):
        if seconds >= timeout:
            yield Complaint(
                (key, "edge.origin_timeout_seconds"), "CloudFront gives up before that, and nobody would be told; lower the first"
            )
    if alarms.proxy_borrow_ms >= wait * 1000:
        yield Complaint(
            ("alarms.proxy_borrow_ms", "database.pool.acquire_timeout_seconds"), "requests fail before that long a wait; lower the first"
        )
    if alarms.database_free_storage_gib >= settings.database.storage_gib:
        yield Complaint(
            ("alarms.database_free_storage_gib", "database.storage_gib"), "a new database would be in alarm at once; lower the first"
        )


def _pipeline(settings: Tables) -> Iterator[Complaint]:
    if (pipeline := settings.pipeline) is None:
        return
    if settings.permissions_boundary is None:
        yield Complaint(
            ("pipeline.repository", "permissions_boundary"),
            "what a pipeline deploys could make itself more powerful; 'CarmenBoundary' comes with CarmenPipelineAccess "
            "(docs/first-pipeline.md)",
        )
    for key in ("repository", "application_repository"):
        name = getattr(pipeline, key) or ""
        if pipeline.platform == "github" and name.count("/") > 1:
            yield Complaint(
                ("pipeline.platform", f"pipeline.{key}"), "a repository on GitHub is owner and name; groups within groups are GitLab's"
            )
        if pipeline.platform == "gitlab" and "@" in name:
            yield Complaint(("pipeline.platform", f"pipeline.{key}"), "ids after @ are GitHub's; GitLab's tokens name the path alone")
    if pipeline.platform == "github" and pipeline.gitlab_host != "gitlab.com":
        yield Complaint(("pipeline.platform", "pipeline.gitlab_host"), "GitHub's tokens come from one address; take gitlab_host out")


def _application(settings: Tables) -> Iterator[Complaint]:
    variables, secrets = settings.application.extra_variables, settings.application.extra_secrets
    for table, names in (("extra_variables", variables), ("extra_secrets", secrets)):
        for name in names:
            key = f"application.{table}.{name}"
            if name in RESERVED_VARIABLES:
                yield Complaint((), f"{key}: is part of the environment contract and set by this application; choose another name")
            elif name.startswith(RESERVED_PREFIXES):
                yield Complaint((), f"{key}: names with AWS_ and ECS_ are read by AWS's own libraries and agents; choose another name")
    for name in sorted(variables.keys() & secrets.keys()):
        yield Complaint((), f"application.extra_variables.{name}: stands in extra_secrets too; keep one of the two")
    yield from _resources_of_secrets(secrets)


def _resources_of_secrets(secrets: Iterable[str]) -> Iterator[Complaint]:
    """A secret's resources are called `StripeKey` and, where the operator fills it, `StripeKeyInitialValue` too."""
    taken: dict[str, str] = {}
    for name in (*sorted(RESERVED_VARIABLES), *secrets):
        resource = "".join(map(str.capitalize, name.split("_")))
        for each in (resource, f"{resource}InitialValue"):
            if (first := taken.setdefault(each, name)) != name:
                yield Complaint((), f"application.extra_secrets.{name}: its resource would be called as {first}'s is; choose another name")


def _secrets(settings: Tables) -> Iterator[Complaint]:
    """No secret stands in TOML. What looks like one is never repeated in the message."""
    where = f"fill it after deployment (make secrets ENV={settings.name}); a secret that was in a file is to be changed"
    for key, text in _texts(settings, ""):
        variable = key.removeprefix("application.extra_variables.") if key.startswith("application.extra_variables.") else None
        if variable in RESERVED_VARIABLES:
            continue
        if kind := kind_of_secret(text, is_user_name=key == "application.smtp_user", is_variable=variable is not None):
            yield Complaint(
                (), f"{key}: looks like {kind}, and no secret stands in TOML; declare it in application.extra_secrets and {where}"
            )
        elif variable and named_like_a_secret(variable):
            yield Complaint(
                (), f"{key}: is a secret by its name, and no secret stands in TOML; declare it in application.extra_secrets and {where}"
            )


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text of the settings with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, BaseModel | dict):
        for name, inner in dict(value).items():
            yield from _texts(inner, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{number}")
