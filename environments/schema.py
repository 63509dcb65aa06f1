"""The settings of one environment, typed down to the leaf.

Defaults are production's: where the operations manual names a figure, the default is that figure (exceptions: ADR 0003).
`staging.toml` and `dev.toml` say where they are smaller. Units stand in the names. Unknown keys, wrong types and values
out of bounds are errors; so is what cannot work together (`Settings._fits_together`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from environments.paths import PathPrefix, PlainPath, StaticPath, meet

LogRetentionDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653]
Reason = Annotated[str, StringConstraints(min_length=15, strip_whitespace=True)]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$")]
HostName = Annotated[str, StringConstraints(max_length=253, pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$")]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&()+,;=:@%/*-]*$")]
# What a CloudFront response headers policy takes.
HeaderValue = Annotated[str, StringConstraints(max_length=1783, pattern=r"^[ -~]*$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,62}$")]
Cron = Annotated[str, StringConstraints(pattern=r"^cron\(\S+( \S+){5}\)$")]
WeeklyWindow = Annotated[
    str,
    StringConstraints(
        pattern=r"^(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d-(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d$"
    ),
]
DailyWindow = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]

ZONES_NOT_SERVED = {
    # RDS Proxy silently drops the first (FIELD_NOTES); CloudFront VPC origins serve none of them:
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-vpc-origins.html
    "use1-az3": "RDS Proxy and CloudFront VPC origins do not serve it",
    "usw1-az2": "CloudFront VPC origins do not serve it",
    "apne1-az3": "CloudFront VPC origins do not serve it",
    "apne2-az1": "CloudFront VPC origins do not serve it",
    "cac1-az3": "CloudFront VPC origins do not serve it",
}
# The minor version an instance is created with; RDS then moves it on by itself (auto minor version upgrade).
ENGINE_VERSIONS = {"15": "15.19", "16": "16.15", "17": "17.11", "18": "18.6"}
RESERVED_VARIABLES = frozenset(
    [
        "NODE_ENV",
        "PORT",
        "HOSTNAME",
        "NEXT_PUBLIC_APP_URL",
        "DATABASE_URL",
        "DIRECT_URL",
        "REDIS_URL",
        "NEXTAUTH_URL",
        "NEXTAUTH_SECRET",
        "JWT_SECRET",
        "WEBHOOK_SECRET",
        "EMAIL_FROM",
        "SMTP_HOST",
        "SMTP_PORT",
        "SMTP_USER",
        "SMTP_PASSWORD",
        "SMTP_SECURE",
        "UPLOAD_STORAGE",
        "AWS_S3_BUCKET",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "API_RATE_LIMIT",
        "SENTRY_DSN",
        "ENABLE_ANALYTICS",
        "LOG_LEVEL",
        "ENABLE_ADVANCED_ANALYTICS",
        "ENABLE_EXPERIMENTAL_FEATURES",
    ]
)
GIB_BY_FAMILY_AT_LARGE = {"t": 8, "m": 8, "r": 16}
SIZE_OF_LARGE = {"micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8, "8xlarge": 16}


def instance_memory_gib(instance_class: str) -> float:
    """Memory of an RDS class such as `t4g.medium`; raises ValueError for one that is not offered."""
    match = re.fullmatch(r"(t4g|[mr][678]g)\.(\w+)", instance_class)
    if not match or match[2] not in SIZE_OF_LARGE or (match[1] != "t4g" and SIZE_OF_LARGE[match[2]] < 1):
        raise ValueError(f"'{instance_class}' is not offered: t4g.micro to t4g.2xlarge, m6g/m7g/m8g or r6g/r7g/r8g from large to 8xlarge")
    if match[1] == "t4g" and SIZE_OF_LARGE[match[2]] > 4:
        raise ValueError(f"'{instance_class}' is not offered: t4g ends at 2xlarge")
    return GIB_BY_FAMILY_AT_LARGE[match[1][0]] * SIZE_OF_LARGE[match[2]]


def _minutes(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two daily ranges in minutes meet, midnight taken into account."""
    minutes = [{(start + step) % 1440 for step in range((end - start) % 1440)} for start, end in (one, other)]
    return bool(minutes[0] & minutes[1])


def zone_prefix(region: str) -> str:
    """How the zone ids of a region begin: `euc1` for eu-central-1, `apse2` for ap-southeast-2."""
    area, *directions, number = region.split("-")
    short = {"north": "n", "south": "s", "east": "e", "west": "w", "central": "c"}
    words = re.findall("|".join(short), "".join(directions))
    return area + "".join(short[word] for word in words) + number


def _daily_minute(cron: str) -> int | None:
    """The minute of the day a schedule fires at, when it names one hour and minute."""
    minute, hour = cron.removeprefix("cron(").split()[:2]
    return int(hour) * 60 + int(minute) if minute.isdigit() and hour.isdigit() else None


def _window_minutes(window: str) -> int:
    """Length of a weekly window such as sun:23:30-mon:00:30."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start, end = (days.index(part[:3]) * 1440 + _minutes(part[4:]) for part in window.split("-"))
    return (end - start) % (7 * 1440)


class Section(BaseModel):
    """A table of the TOML file: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Tags(Section):
    """Tags on every resource, for ownership and cost allocation."""

    owner: str = Field("platform-team", min_length=2, max_length=64, description="Who answers for this environment.")
    cost_center: str = Field("carmen", min_length=2, max_length=64, description="Where its cost is booked.")
    repository: str = Field("carmen-infrastructure", min_length=2, max_length=128, description="Where its code lives.")


class Network(Section):
    """The VPC. Source: manual "Alternative Cloud Deployment"; AWS VPC sizing."""

    cidr: str = Field("10.20.0.0/16", description="The VPC's IPv4 range, /16 to /20, private.")
    zones: tuple[str, ...] = Field(
        ("use1-az1", "use1-az2", "use1-az4"),
        min_length=2,
        max_length=3,
        description="Availability zone ids (not names: names mean another zone in every account).",
    )
    nat_gateways: int = Field(2, ge=0, le=3, description="0 needs interface_endpoints; more than one survives the loss of a zone.")
    interface_endpoints: bool = Field(False, description="Private endpoints to the AWS services used, instead of NAT.")
    flow_log_retention_days: LogRetentionDays = Field(90, description="How long VPC flow logs are kept.")

    @field_validator("cidr")
    @classmethod
    def _private_and_sized(cls, value: str) -> str:
        network = ipaddress.IPv4Network(value)
        if not network.is_private or not 16 <= network.prefixlen <= 20:
            raise ValueError("must be a private range of size /16 to /20, such as 10.20.0.0/16")
        return value

    @field_validator("zones")
    @classmethod
    def _served(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        for zone in zones:
            if not re.fullmatch(r"[a-z]{3,5}\d-az\d", zone):
                raise ValueError(f"'{zone}' is not a zone id such as use1-az1 (aws ec2 describe-availability-zones lists them)")
            if zone in ZONES_NOT_SERVED:
                raise ValueError(f"'{zone}' cannot be used: {ZONES_NOT_SERVED[zone]}")
        if len(set(zones)) != len(zones):
            raise ValueError("names a zone twice")
        return zones


class Alerts(Section):
    """Who is told."""

    emails: tuple[Email, ...] = Field((), description="Addresses subscribed to the alert topic; each confirms by mail.")


class Storage(Section):
    """Buckets and the image repository. Source: manual "Automated Backups" (7 days)."""

    daily_backup_days: int = Field(7, ge=1, le=90, description="How long a daily dump is kept (manual: 7).")
    weekly_backup_days: int = Field(35, ge=7, le=400, description="How long a weekly dump is kept.")
    monthly_backup_days: int = Field(400, ge=28, le=3650, description="How long a monthly dump is kept.")
    object_lock: bool = Field(True, description="Governance-mode Object Lock on backups. Fixed once the bucket exists.")
    object_lock_days: int = Field(7, ge=1, le=365, description="How long a backup cannot be deleted; no longer than the daily dumps live.")
    upload_old_version_days: int = Field(30, ge=1, le=365, description="How long a replaced or deleted upload can be brought back.")
    incomplete_upload_days: int = Field(7, ge=1, le=30, description="When unfinished multipart uploads are removed.")
    access_log_days: int = Field(365, ge=30, le=3650, description="How long access logs are kept.")
    images_kept: int = Field(30, ge=5, le=500, description="How many images the repository keeps to roll back to.")


class DatabaseParameters(Section):
    """PostgreSQL's parameters. Source: manual "PostgreSQL Configuration", in the manual's units.

    The three memory figures are what the smallest class gets; on a larger one they grow with its memory (ADR 0003).
    """

    shared_buffers_mb: int = Field(256, ge=128, le=65536, description="Floor of shared_buffers; a quarter of memory above it.")
    effective_cache_size_mb: int = Field(1024, ge=256, le=262144, description="Floor of effective_cache_size; half of memory above it.")
    maintenance_work_mem_mb: int = Field(64, ge=16, le=4096, description="Floor of maintenance_work_mem; 1/62 of memory above it.")
    checkpoint_completion_target: float = Field(0.9, ge=0.5, le=1.0, description="Share of the checkpoint interval used to write.")
    wal_buffers_mb: int = Field(16, ge=1, le=64, description="Memory for WAL not yet written.")
    max_connections: int = Field(300, ge=50, le=5000, description="Manual: 100, which two tasks already fill (ADR 0003).")
    shared_preload_libraries: tuple[Literal["pg_stat_statements", "auto_explain", "pg_cron"], ...] = Field(
        ("pg_stat_statements",), description="Loaded at start; pg_stat_statements is needed by maintenance."
    )
    log_statement: Literal["none", "ddl", "mod", "all"] = Field("ddl", description="Which statements are logged.")
    log_min_duration_statement_ms: int = Field(1000, ge=-1, le=600_000, description="Statements slower than this are logged; -1: none.")
    log_checkpoints: bool = Field(True, description="Log checkpoints.")
    log_lock_waits: bool = Field(True, description="Log waits for locks longer than deadlock_timeout.")
    track_activity_query_size: int = Field(2048, ge=100, le=102_400, description="Bytes of a running statement that are kept.")
    track_functions: Literal["none", "pl", "all"] = Field("all", description="Which function calls are counted.")
    track_io_timing: bool = Field(True, description="Time reads and writes.")


class ConnectionPool(Section):
    """The application's pool and the proxy's. Source: manual "Connection Pooling"; the table is in docs/connection-pool.md."""

    connections_per_task: int = Field(20, ge=1, le=100, description="Prisma's connection_limit (manual: max 20).")
    idle_seconds: int = Field(30, ge=5, le=600, description="When an idle connection is closed (manual: idleTimeoutMillis 30000).")
    acquire_timeout_seconds: int = Field(2, ge=1, le=60, description="Wait for a connection (manual: connectionTimeoutMillis 2000).")
    proxy_max_connections_percent: int = Field(90, ge=10, le=100, description="The proxy's share of max_connections.")
    proxy_max_idle_percent: int = Field(50, ge=0, le=100, description="Idle connections the proxy keeps, of max_connections.")
    proxy_idle_client_seconds: int = Field(1800, ge=60, le=28_800, description="When the proxy drops an idle client; above idle_seconds.")
    reserve: int = Field(30, ge=5, le=500, description="Connections kept for migrations, backup, maintenance, monitoring, people.")


class Database(Section):
    """RDS PostgreSQL. Source: manual "Production Database Setup"."""

    engine_major: Literal["15", "16", "17", "18"] = Field("17", description="Manual: 15; why 17: ADR 0002.")
    instance_class: str = Field("t4g.medium", description="Without the leading 'db.'.")
    multi_az: bool = Field(True, description="A standby in a second zone.")
    storage_gib: int = Field(20, ge=20, le=65_536, description="gp3 storage at creation.")
    max_storage_gib: int = Field(200, ge=22, le=65_536, description="Where storage autoscaling ends.")
    point_in_time_days: int = Field(14, ge=1, le=35, description="How far back point-in-time recovery reaches.")
    backup_window: DailyWindow = Field("02:00-02:30", description="RDS snapshot, UTC; away from the maintenance window.")
    maintenance_window: WeeklyWindow = Field("sun:05:00-sun:06:00", description="RDS maintenance, UTC.")
    roles_schedule: Cron = Field("cron(30 0 * * ? *)", description="When database roles are corrected, UTC, daily.")
    deletion_protection: bool = Field(True, description="Refuse to delete the instance.")
    deletion_protection_opt_out_reason: Reason | None = Field(None, description="Needed when deletion_protection is false.")
    insights: Literal["standard", "advanced"] = Field("standard", description="Database Insights: 7 days free of charge, or 465 days paid.")
    log_retention_days: LogRetentionDays = Field(90, description="How long PostgreSQL's logs are kept in CloudWatch.")
    parameters: DatabaseParameters = DatabaseParameters()
    pool: ConnectionPool = ConnectionPool()

    @field_validator("instance_class")
    @classmethod
    def _known_class(cls, value: str) -> str:
        instance_memory_gib(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_storage_gib < self.storage_gib * 1.1:
            raise ValueError(f"max_storage_gib = {self.max_storage_gib} must be at least 10 % above storage_gib = {self.storage_gib}")
        if not self.deletion_protection and not self.deletion_protection_opt_out_reason:
            raise ValueError("deletion_protection = false needs deletion_protection_opt_out_reason (a sentence)")
        if self.pool.proxy_idle_client_seconds <= self.pool.idle_seconds:
            raise ValueError("pool.proxy_idle_client_seconds must be above pool.idle_seconds, or the proxy cuts connections in use")
        start, end = (_minutes(part) for part in self.backup_window.split("-"))
        if (end - start) % 1440 < 30:
            raise ValueError(f"backup_window = {self.backup_window} must be at least 30 minutes long")
        if not 30 <= _window_minutes(self.maintenance_window) <= 1440:
            raise ValueError(f"maintenance_window = {self.maintenance_window} must be between 30 minutes and 24 hours long")
        begin, finish = (_minutes(part[4:]) for part in self.maintenance_window.split("-"))
        if _overlap((start, end), (begin, finish)):
            raise ValueError(f"backup_window {self.backup_window} and maintenance_window {self.maintenance_window} overlap")
        if (at := _daily_minute(self.roles_schedule)) is not None and _overlap((start, end), (at, at + 5)):
            raise ValueError(f"roles_schedule {self.roles_schedule} starts inside backup_window {self.backup_window}")
        carried = int(instance_memory_gib(self.instance_class) * 1024**3 / 9_531_392)
        if self.parameters.max_connections > carried:
            raise ValueError(
                f"parameters.max_connections = {self.parameters.max_connections} is more than db.{self.instance_class} carries "
                f"({carried}, memory / 9531392 as RDS reckons): lower it or choose a larger instance_class"
            )
        return self


class Cache(Section):
    """ElastiCache Redis, for cache and rate counters. Source: manual "Redis Cache Implementation", "Rate Limiting"."""

    node_type: str = Field("cache.t4g.micro", pattern=r"^cache\.[a-z]\d[a-z]*\.[a-z0-9]+$", description="Node type.")
    replicas: int = Field(1, ge=0, le=5, description="0: no failover.")
    snapshot_days: int = Field(0, ge=0, le=35, description="0: none; all of its content can be made anew.")
    eviction_policy: Literal["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-ttl"] = Field(
        "allkeys-lru",
        description="Cache entries and rate counters share the memory: the counter of a caller who still calls is recent and stays; "
        "a counter left without expiry can still go; a write is never refused.",
    )
    maintenance_window: WeeklyWindow = Field("sun:06:30-sun:07:30", description="ElastiCache maintenance, UTC, an hour or more.")

    @field_validator("maintenance_window")
    @classmethod
    def _an_hour_or_more(cls, value: str) -> str:
        if not 60 <= _window_minutes(value) <= 1440:
            raise ValueError("must be between one hour and 24 hours long")
        return value


class Domain(Section):
    """A domain of one's own; without it, CloudFront's own name serves."""

    name: HostName = Field(description="The host users type, such as carmen.example.com.")
    hosted_zone_id: str = Field(pattern=r"^Z[A-Z0-9]{8,31}$", description="The public Route 53 zone that holds the name.")
    hosted_zone_name: HostName = Field(description="That zone's name, such as example.com.")

    @model_validator(mode="after")
    def _inside_zone(self) -> Self:
        if self.name != self.hosted_zone_name and not self.name.endswith(f".{self.hosted_zone_name}"):
            raise ValueError(f"name = {self.name} is not inside hosted_zone_name = {self.hosted_zone_name}")
        return self


class Headers(Section):
    """Security headers on every response. Source: manual "Security Headers"; an empty string leaves a header out."""

    content_security_policy: HeaderValue = Field(
        "default-src 'self'; script-src 'self' 'unsafe-eval' 'unsafe-inline'; style-src 'self' 'unsafe-inline' "
        "https://fonts.googleapis.com; font-src 'self' https://fonts.gstatic.com; img-src 'self' data: https: blob:; "
        "connect-src 'self' https: wss:; frame-ancestors 'none'",
        description="The manual's policy without its Vercel host.",
    )
    frame_options: Literal["DENY", "SAMEORIGIN"] = Field("DENY", description="X-Frame-Options.")
    content_type_nosniff: bool = Field(True, description="X-Content-Type-Options: nosniff.")
    xss_protection: bool = Field(True, description="X-XSS-Protection: 1; mode=block.")
    hsts_max_age_seconds: int = Field(31_536_000, ge=0, le=63_072_000, description="Strict-Transport-Security; 0 leaves it out.")
    hsts_include_subdomains: bool = Field(True, description="includeSubDomains.")
    hsts_preload: bool = Field(True, description="preload.")
    referrer_policy: Literal["origin-when-cross-origin", "strict-origin-when-cross-origin", "same-origin", "no-referrer"] = Field(
        "origin-when-cross-origin", description="Referrer-Policy."
    )
    permissions_policy: HeaderValue = Field("camera=(), microphone=(), geolocation=()", description="Permissions-Policy.")


class PathRule(Section):
    """From one path, matched exactly, to another."""

    source: PlainPath
    destination: PlainPath


class Redirect(PathRule):
    """One redirect; the query string is kept."""

    permanent: bool = True

    @model_validator(mode="after")
    def _no_loop(self) -> Self:
        if self.source == self.destination:
            raise ValueError(f"source and destination are the same ({self.source}): an endless loop")
        return self


class Rewrite(PathRule):
    """One rewrite: the origin is asked for `destination`; the user sees `source`, by whose rules the answer is kept or not."""


class RateLimits(Section):
    """Requests per client address in five minutes at the edge. The manual's 100 an hour is the application's own."""

    site: int = Field(3000, ge=10, le=2_000_000, description="All paths but static files.")
    api: int = Field(1000, ge=10, le=2_000_000, description="Paths below /api/.")
    sign_in: int = Field(100, ge=10, le=2_000_000, description="Paths below /api/auth/, GET and HEAD excepted.")


class Edge(Section):
    """CloudFront, WAF and the load balancer. Source: manual "Vercel Configuration", "CDN Configuration"."""

    price_class: Literal["100", "200", "All"] = Field("100", description="Which of CloudFront's locations serve.")
    origin_timeout_seconds: int = Field(30, ge=5, le=120, description="Manual: maxDuration 30.")
    static_max_age_seconds: int = Field(31_536_000, ge=60, le=31_536_000, description="/_next/static/* and /images/* (manual: a year).")
    image_max_age_seconds: int = Field(86_400, ge=60, le=31_536_000, description="Upper bound for /_next/image.")
    static_paths: tuple[StaticPath, ...] = Field(
        ("/_next/static/*", "/images/*"), min_length=1, max_length=8, description="Cached as static."
    )
    upload_paths: tuple[PathPrefix, ...] = Field(("/api/upload",), max_length=5, description="Prefixes where bodies may be large files.")
    max_body_mb: Literal[1, 10, 100] = Field(1, description="Bodies declared at this size and more are refused outside upload_paths.")
    redirects: tuple[Redirect, ...] = Field((Redirect(source="/dashboard/", destination="/dashboard"),), max_length=50)
    rewrites: tuple[Rewrite, ...] = Field((), max_length=50, description="None by default (the manual's would hide a real /api/health).")
    error_max_age_seconds: int = Field(
        5, ge=0, le=5, description="How long the page for 502 and 504 is kept at the edge. The application's own errors are never kept."
    )
    rate_limits: RateLimits = RateLimits()
    headers: Headers = Headers()
    waf_log_retention_days: LogRetentionDays = Field(90, description="How long WAF logs are kept.")

    @model_validator(mode="after")
    def _redirects_end(self) -> Self:
        sources = [redirect.source for redirect in self.redirects]
        if len(set(sources)) != len(sources):
            raise ValueError("redirects name a source twice")
        for redirect in self.redirects:
            if redirect.destination in sources:
                raise ValueError(f"redirect {redirect.source} → {redirect.destination} leads to another redirect: name its end")
        return self

    @model_validator(mode="after")
    def _rewrites_have_an_effect(self) -> Self:
        sources = [rewrite.source for rewrite in self.rewrites]
        if len(set(sources)) != len(sources):
            raise ValueError("rewrites name a source twice")
        if both := sorted({redirect.source for redirect in self.redirects} & set(sources)):
            raise ValueError(f"{', '.join(both)} stand in redirects and in rewrites: the redirect would always win")
        for rewrite in self.rewrites:
            if rewrite.source == rewrite.destination:
                raise ValueError(f"rewrite {rewrite.source} leads to itself: leave it out")
            rules = self._kept_by(rewrite.source)
            if rules and rules != self._kept_by(rewrite.destination):
                raise ValueError(
                    f"rewrite {rewrite.source} → {rewrite.destination}: the answer would be kept as {rules} is, without cookies; "
                    "redirect instead, or choose a source outside"
                )
        return self

    @model_validator(mode="after")
    def _fits_the_viewer_function(self) -> Self:
        rules: tuple[PathRule, ...] = (*self.redirects, *self.rewrites)
        for rule in rules:
            if meet(rule.source, "/errors/*"):
                raise ValueError(f"{rule.source} is below /errors/, where no redirect or rewrite runs: choose another source")
        # Beside the rest of constructs_lib/viewer_request.js; tests/edge holds that it fits.
        characters = sum(len(rule.source) + len(rule.destination) + 48 for rule in rules)
        if characters > 7500:
            raise ValueError(
                f"redirects and rewrites take {characters} characters (48 and their paths each), and CloudFront's function has room for "
                "7500: shorten or drop some, or move them to the application's next.config"
            )
        return self

    def _kept_by(self, path: str) -> str | None:
        """The path pattern whose caching rules a path falls under, if any but the default's."""
        return next((pattern for pattern in (*self.static_paths, "/_next/image") if meet(path, pattern)), None)


class ScheduledScaling(Section):
    """Another minimum and maximum of tasks from a time on."""

    schedule: Cron
    min_tasks: int = Field(ge=0, le=100)
    max_tasks: int = Field(ge=0, le=100)


class Service(Section):
    """The Fargate service. Source: manual "Docker Deployment" (port 3006)."""

    cpu: Literal[256, 512, 1024, 2048, 4096] = Field(1024, description="CPU units of a task; 1024 is one vCPU.")
    memory_mib: int = Field(2048, ge=512, le=30_720, description="Memory of a task; must fit its cpu.")
    architecture: Literal["ARM64", "X86_64"] = Field("ARM64", description="What the application's image is built for.")
    min_tasks: int = Field(2, ge=0, le=100, description="Tasks at rest.")
    max_tasks: int = Field(6, ge=1, le=100, description="Tasks under load.")
    cpu_target_percent: int = Field(60, ge=10, le=90, description="Target tracking on CPU.")
    memory_target_percent: int = Field(75, ge=10, le=95, description="Target tracking on memory.")
    requests_per_task_per_minute: int = Field(1000, ge=10, le=1_000_000, description="Target tracking on requests.")
    scheduled_scaling: tuple[ScheduledScaling, ...] = Field((), max_length=10)
    health_path: UrlPath = Field(
        "/api/health/live", description="Asked by the load balancer; shallow, so that a dead database stops no task."
    )
    health_grace_seconds: int = Field(120, ge=0, le=900, description="Time to start before health counts.")
    spot: bool = Field(False, description="Run on Fargate Spot.")
    container_insights: Literal["enhanced", "enabled", "disabled"] = Field("enhanced", description="Cluster metrics.")
    log_retention_days: LogRetentionDays = Field(90, description="How long the application's logs are kept.")
    writable_paths: tuple[UrlPath, ...] = Field(
        ("/tmp", "/app/.next/cache"), max_length=5, description="Paths on scratch volumes; the root file system is read-only."
    )
    placeholder_image: str = Field(
        "public.ecr.aws/docker/library/node:24-alpine", min_length=5, description="Runs a few lines that answer until the first release."
    )
    psql_image: str = Field("public.ecr.aws/docker/library/postgres:17-alpine", min_length=5, description="psql of the operations task.")
    redis_cli_image: str = Field(
        "public.ecr.aws/docker/library/redis:7-alpine", min_length=5, description="redis-cli of the operations task."
    )
    migration_command: tuple[str, ...] = Field(
        ("npx", "prisma", "migrate", "deploy"), min_length=1, description="Run by the migration task."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tasks < self.min_tasks:
            raise ValueError(f"max_tasks = {self.max_tasks} is below min_tasks = {self.min_tasks}")
        for entry in self.scheduled_scaling:
            if entry.max_tasks < entry.min_tasks:
                raise ValueError(f"scheduled_scaling {entry.schedule}: max_tasks is below min_tasks")
        if len(set(self.writable_paths)) != len(self.writable_paths):
            raise ValueError("writable_paths names a path twice")
        gib = self.memory_mib / 1024
        lowest, highest = {256: (0.5, 2), 512: (1, 4), 1024: (2, 8), 2048: (4, 16), 4096: (8, 30)}[self.cpu]
        if not lowest <= gib <= highest or (self.memory_mib % 1024 and self.memory_mib != 512):
            raise ValueError(f"memory_mib = {self.memory_mib} does not go with cpu = {self.cpu}: {lowest} to {highest} GiB in whole GiB")
        return self


class ExtraSecret(Section):
    """A further secret variable of the application, generated or given by the operator. Never its value."""

    generated: bool = Field(True, description="false: created empty, the operator fills it.")
    length: int = Field(48, ge=32, le=256, description="Characters, when generated.")
    alphabet: Literal["alphanumeric", "printable"] = Field("alphanumeric", description="Characters to choose from, when generated.")


class Application(Section):
    """The container's environment. Source: manual "Environment Configuration"."""

    api_rate_limit: int = Field(
        100, ge=1, le=1_000_000, description="API_RATE_LIMIT: requests per hour per IP, counted by the application."
    )
    log_level: Literal["trace", "debug", "info", "warn", "error"] = Field("info", description="LOG_LEVEL.")
    enable_analytics: bool = Field(True, description="ENABLE_ANALYTICS.")
    enable_advanced_analytics: bool = Field(True, description="ENABLE_ADVANCED_ANALYTICS.")
    enable_experimental_features: bool = Field(False, description="ENABLE_EXPERIMENTAL_FEATURES.")
    email_from: Email | None = Field(None, description="EMAIL_FROM; noreply@ the domain when absent.")
    smtp_host: HostName | None = Field(None, description="SMTP_HOST; empty until given.")
    smtp_port: Literal[25, 465, 587, 2465, 2587] = Field(587, description="SMTP_PORT.")
    smtp_user: str = Field("", max_length=128, description="SMTP_USER; the password is a secret given by the operator.")
    smtp_secure: bool = Field(True, description="SMTP_SECURE.")
    extra_variables: dict[VariableName, str] = Field({}, description="Further plain variables.")
    extra_secrets: dict[VariableName, ExtraSecret] = Field({}, description="Further secret variables.")

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in (*self.extra_variables, *self.extra_secrets):
            if name in RESERVED_VARIABLES:
                raise ValueError(f"extra variable {name} is part of the environment contract and set by this application")
        if both := sorted(set(self.extra_variables) & set(self.extra_secrets)):
            raise ValueError(f"{', '.join(both)} stand in extra_variables and in extra_secrets")
        return self


class Settings(Section):
    """One environment, whole. `name` comes from the file's name."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]{1,11}$", description="The file's name; CarmenProd for prod.toml.")
    region: str = Field(
        "us-east-1", pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d$", description="Where the application lives; the edge is in us-east-1."
    )
    account: str | None = Field(None, pattern=r"^\d{12}$", description="AWS account; absent: that of the credentials at deployment.")
    permissions_boundary: str | None = Field(None, pattern=r"^[\w+=,.@-]{1,128}$", description="Name of a policy bounding every role.")
    termination_protection: bool = Field(True, description="Stateful stacks refuse deletion.")
    termination_protection_opt_out_reason: Reason | None = Field(None, description="Needed when termination_protection is false.")
    tags: Tags = Tags()
    network: Network = Network()
    domain: Domain | None = None
    alerts: Alerts = Alerts()
    storage: Storage = Storage()
    database: Database = Database()
    cache: Cache = Cache()
    edge: Edge = Edge()
    service: Service = Service()
    application: Application = Application()

    @property
    def stack_prefix(self) -> str:
        """`CarmenProd` for `prod`."""
        return f"Carmen{self.name.capitalize()}"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.network.nat_gateways and not self.network.interface_endpoints:
            raise ValueError("network.nat_gateways = 0 and network.interface_endpoints = false: tasks could reach no AWS service; set one")
        images = (self.service.placeholder_image, self.service.psql_image, self.service.redis_cli_image)
        if not self.network.nat_gateways and any(image.startswith("public.ecr.aws/") for image in images):
            raise ValueError(
                "network.nat_gateways = 0: endpoints do not reach public.ecr.aws; set service.placeholder_image, psql_image and "
                "redis_cli_image to copies in a private ECR repository"
            )
        if self.network.nat_gateways > len(self.network.zones):
            raise ValueError(f"network.nat_gateways = {self.network.nat_gateways} is more than the {len(self.network.zones)} zones")
        if not self.termination_protection and not self.termination_protection_opt_out_reason:
            raise ValueError("termination_protection = false needs termination_protection_opt_out_reason (a sentence)")
        storage = self.storage
        if storage.object_lock and storage.object_lock_days > storage.daily_backup_days:
            raise ValueError(
                f"storage.object_lock_days = {storage.object_lock_days} is above storage.daily_backup_days = {storage.daily_backup_days}: "
                "a daily dump could not expire"
            )
        foreign = [zone for zone in self.network.zones if not zone.startswith(f"{zone_prefix(self.region)}-")]
        if foreign:
            raise ValueError(
                f"network.zones: {', '.join(foreign)} are not in region = {self.region}, "
                f"whose zone ids begin with {zone_prefix(self.region)}-"
            )
        pool = self.database.pool
        tasks = max([self.service.max_tasks, *(entry.max_tasks for entry in self.service.scheduled_scaling)])
        needed = tasks * 2 * pool.connections_per_task + pool.reserve
        offered = self.database.parameters.max_connections * pool.proxy_max_connections_percent // 100
        if needed > offered:
            raise ValueError(
                f"connections do not add up: service.max_tasks (scheduled ones too) {tasks} × 2 (a roll-out) × pool.connections_per_task "
                f"{pool.connections_per_task} + pool.reserve {pool.reserve} = {needed}, but max_connections "
                f"{self.database.parameters.max_connections} × {pool.proxy_max_connections_percent} % = {offered}: "
                "lower max_tasks or connections_per_task, or raise database.parameters.max_connections"
            )
        return self
