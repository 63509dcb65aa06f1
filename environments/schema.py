"""The settings of one environment, typed down to the leaf.

Defaults are production's: where the operations manual names a figure, the default is that figure (exceptions: ADR 0003).
`staging.toml` and `dev.toml` say where they are smaller. Units stand in the names. Unknown keys, wrong types and values
out of bounds are errors (`values.py` says what a value may be); so is what cannot work together (`consistency.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from environments import paths, values
from environments.consistency import complaints

# The minor version an instance is created with; RDS then moves it on by itself (auto minor version upgrade).
ENGINE_VERSIONS = {"15": "15.19", "16": "16.15", "17": "17.11", "18": "18.6"}


class Section(BaseModel):
    """A table of the TOML file: frozen; a key it does not know is an error, and no type is taken for another.

    `<key>_opt_out_reason` beside a key that protects is needed as soon as the protection is off (`consistency.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tags(Section):
    """Tags on every resource, for ownership and cost allocation."""

    owner: values.TagValue = Field("platform-team", min_length=2, max_length=64, description="Who answers for this environment.")
    cost_center: values.TagValue = Field("carmen", min_length=2, max_length=64, description="Where its cost is booked.")
    repository: values.TagValue = Field("carmen-infrastructure", min_length=2, max_length=128, description="Where its code lives.")


class Network(Section):
    """The VPC. Source: manual "Alternative Cloud Deployment"; AWS VPC sizing."""

    cidr: values.VpcRange = Field("10.20.0.0/16", description="The VPC's IPv4 range, /16 to /20, private.")
    peer_cidrs: values.Distinct[values.Range] = Field((), description="Ranges the VPC will be connected to; its own must not overlap them.")
    zones: values.Distinct[values.ZoneId] = Field(
        ("use1-az1", "use1-az2", "use1-az4"),
        min_length=2,
        max_length=3,
        description="Availability zone ids (not names: names mean another zone in every account).",
    )
    nat_gateways: int = Field(2, ge=0, le=3, description="0 needs interface_endpoints; more than one survives the loss of a zone.")
    nat_instances: bool = Field(
        False, description="A t4g.nano instead of each NAT gateway: a tenth of its price, of its bandwidth, and nobody but us to patch it."
    )
    interface_endpoints: bool = Field(False, description="Private endpoints to the AWS services used, instead of NAT.")
    flow_log_retention_days: values.LogRetentionDays = Field(90, description="How long VPC flow logs are kept.")


class Alerts(Section):
    """Who is told of what. Slack's webhook is given after deployment (`make secrets`). Source: manual "Monitoring Alerts"."""

    emails: values.Distinct[values.Email] = Field((), description="Addresses that are told by e-mail; each confirms by mail.")
    runbooks_url: values.HttpsUrl | None = Field(
        None, description="Where the repository can be read, such as https://github.com/example/carmen/blob/main; absent: paths alone."
    )
    settle_seconds: int = Field(300, ge=0, le=900, description="How long a recovery must last to be told.")
    flapping_openings: int = Field(
        4, ge=2, le=20, description="An alarm that opens this often within flapping_minutes is told as flapping."
    )
    flapping_minutes: int = Field(60, ge=15, le=720, description="How far flapping looks back, and how long it must be quiet to end.")
    digest_schedule: values.Cron = Field(
        "cron(30 12 * * ? *)", description="When the day's digest is told, UTC; ages are measured at 11:45."
    )


class Storage(Section):
    """Buckets and the image repository. Source: manual "Automated Backups" (7 days)."""

    daily_backup_days: int = Field(7, ge=1, le=90, description="How long a daily dump is kept (manual: 7).")
    weekly_backup_days: int = Field(35, ge=7, le=400, description="How long a weekly dump is kept.")
    monthly_backup_days: int = Field(400, ge=28, le=3650, description="How long a monthly dump is kept.")
    object_lock: bool = Field(True, description="Governance-mode Object Lock on backups. Fixed once the bucket exists.")
    object_lock_opt_out_reason: values.Reason | None = Field(None, description="Needed when object_lock is false.")
    object_lock_days: int = Field(7, ge=1, le=365, description="How long a backup cannot be deleted; no longer than the daily dumps live.")
    backup_copy_region: values.Region | None = Field(
        None, description="A second region, where every backup is copied; absent: none. Its bucket stays when this goes."
    )
    upload_old_version_days: int = Field(30, ge=1, le=365, description="How long a replaced or deleted upload can be brought back.")
    incomplete_upload_days: int = Field(7, ge=1, le=30, description="When unfinished multipart uploads are removed.")
    access_log_days: int = Field(365, ge=30, le=3650, description="How long access logs are kept.")
    release_file_days: int = Field(
        30, ge=1, le=365, description="How long the static files of a release are kept after the release that replaced it."
    )
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
    shared_preload_libraries: values.Distinct[Literal["pg_stat_statements", "auto_explain", "pg_cron"]] = Field(
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
    instance_class: values.InstanceClass = Field("t4g.medium", description="Without the leading 'db.'.")
    multi_az: bool = Field(True, description="A standby in a second zone.")
    multi_az_opt_out_reason: values.Reason | None = Field(None, description="Needed when multi_az is false.")
    proxy: bool = Field(True, description="RDS Proxy, which holds clients' connections through a failover and bounds their number.")
    proxy_opt_out_reason: values.Reason | None = Field(None, description="Needed when proxy is false.")
    storage_gib: int = Field(20, ge=20, le=65_536, description="gp3 storage at creation.")
    max_storage_gib: int = Field(200, ge=22, le=65_536, description="Where storage autoscaling ends.")
    point_in_time_days: int = Field(14, ge=1, le=35, description="How far back point-in-time recovery reaches.")
    backup_window: Annotated[values.DailyWindow, values.lasting(30)] = Field(
        "02:00-02:30", description="RDS snapshot, UTC; away from the maintenance window."
    )
    maintenance_window: Annotated[values.WeeklyWindow, values.lasting(30)] = Field(
        "sun:05:00-sun:06:00", description="RDS maintenance, UTC."
    )
    aws_backup_days: int = Field(0, ge=0, le=3650, description="How long AWS Backup keeps a daily snapshot in a vault; 0: none is made.")
    aws_backup_schedule: values.Cron = Field(
        "cron(0 14 * * ? *)", description="When that snapshot is made, UTC, daily; away from both windows."
    )
    aws_backup_lock: bool = Field(True, description="Governance-mode lock on that vault: no snapshot is deleted before its time.")
    aws_backup_lock_opt_out_reason: values.Reason | None = Field(None, description="Needed when aws_backup_lock is false.")
    roles_schedule: values.Cron = Field("cron(30 0 * * ? *)", description="When database roles are corrected, UTC, daily.")
    deletion_protection: bool = Field(True, description="Refuse to delete the instance.")
    deletion_protection_opt_out_reason: values.Reason | None = Field(None, description="Needed when deletion_protection is false.")
    insights: Literal["standard", "advanced"] = Field("standard", description="Database Insights: 7 days free of charge, or 465 days paid.")
    log_retention_days: values.LogRetentionDays = Field(90, description="How long PostgreSQL's logs are kept in CloudWatch.")
    parameters: DatabaseParameters = DatabaseParameters()
    pool: ConnectionPool = ConnectionPool()


class Cache(Section):
    """ElastiCache Redis, for cache and rate counters. Source: manual "Redis Cache Implementation", "Rate Limiting"."""

    engine: Literal["valkey", "redis"] = Field("valkey", description="valkey speaks Redis's protocol for a fifth less (ADR 0017).")
    node_type: values.CacheNodeType = Field("cache.t4g.micro", description="Node type.")
    replicas: int = Field(1, ge=0, le=5, description="0: no failover.")
    replicas_opt_out_reason: values.Reason | None = Field(None, description="Needed when replicas is 0.")
    snapshot_days: int = Field(0, ge=0, le=35, description="0: none; all of its content can be made anew.")
    eviction_policy: Literal["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-ttl"] = Field(
        "allkeys-lru",
        description="Cache entries and rate counters share the memory: the counter of a caller who still calls is recent and stays; "
        "a counter left without expiry can still go; a write is never refused.",
    )
    maintenance_window: Annotated[values.WeeklyWindow, values.lasting(60)] = Field(
        "sun:06:30-sun:07:30", description="ElastiCache maintenance, UTC, an hour or more."
    )


class Domain(Section):
    """A domain of one's own; without it, CloudFront's own name serves."""

    name: values.CertificateName = Field(description="The host users type, such as carmen.example.com.")
    hosted_zone_id: values.HostedZoneId = Field(description="The public Route 53 zone that holds the name.")
    hosted_zone_name: values.HostName = Field(description="That zone's name, such as example.com.")


class Headers(Section):
    """Security headers on every response. Source: manual "Security Headers"; an empty string leaves a header out."""

    content_security_policy: values.HeaderValue = Field(
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
    permissions_policy: values.HeaderValue = Field("camera=(), microphone=(), geolocation=()", description="Permissions-Policy.")
    opt_out_reason: values.Reason | None = Field(None, description="Needed when a header is left out.")


class PathRule(Section):
    """From one path, matched exactly, to another."""

    source: paths.PlainPath
    destination: paths.PlainPath


class Redirect(PathRule):
    """One redirect; the query string is kept."""

    permanent: bool = True


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
    static_paths: values.Distinct[paths.StaticPath] = Field(
        ("/images/*",), min_length=1, max_length=8, description="Cached as static, besides /_next/static/*."
    )
    upload_paths: values.Distinct[paths.PathPrefix] = Field(
        ("/api/upload",), max_length=5, description="Prefixes where bodies may be large files."
    )
    max_body_mb: Annotated[int, values.one_of(1, 10, 100)] = Field(
        1, description="Bodies declared at this size and more are refused outside upload_paths."
    )
    redirects: values.Entries[Redirect] = Field((Redirect(source="/dashboard/", destination="/dashboard"),), max_length=50)
    rewrites: values.Entries[Rewrite] = Field(
        (), max_length=50, description="None by default (the manual's would hide a real /api/health)."
    )
    error_max_age_seconds: int = Field(
        5, ge=0, le=5, description="How long the page for 502 and 504 is kept at the edge. The application's own errors are never kept."
    )
    rate_limits: RateLimits = RateLimits()
    all_firewall_rules: bool = Field(
        True, description="false: the managed rules against attacks and the site's rate limit alone, USD 6 a month less; no buttons."
    )
    all_firewall_rules_opt_out_reason: values.Reason | None = Field(None, description="Needed when all_firewall_rules is false.")
    headers: Headers = Headers()
    waf_log_retention_days: values.LogRetentionDays = Field(90, description="How long WAF logs are kept.")
    origin_metrics: bool = Field(True, description="CloudFront's eight additional metrics, USD 2.40 a month: how long the origin takes.")

    @property
    def all_static_paths(self) -> tuple[str, ...]:
        """Patterns of all files that are kept for `static_max_age_seconds`: those of releases, and `static_paths`."""
        return (paths.RELEASE_FILES, *self.static_paths)


class WorkingHours(Section):
    """When an environment works. Outside, no task runs and the database is stopped; alarms that open then are told in the morning."""

    days: values.Distinct[Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]] = Field(
        ("MON", "TUE", "WED", "THU", "FRI"), min_length=1, description="The days it works on."
    )
    starts: values.TimeOfDay = Field("07:00", description="When the database is started; tasks follow a quarter of an hour later.")
    ends: values.TimeOfDay = Field("19:00", description="When tasks and database are stopped; on the same day, two hours later or more.")
    time_zone: values.TimeZone = Field("Etc/UTC", description="The IANA time zone of these hours; its summer time is followed.")


class ScheduledScaling(Section):
    """Another minimum and maximum of tasks from a time on."""

    schedule: values.Cron
    time_zone: values.TimeZone = Field("Etc/UTC", description="The IANA time zone the schedule is read in; its summer time is followed.")
    min_tasks: int = Field(ge=0, le=100)
    max_tasks: int = Field(ge=0, le=100)


class Service(Section):
    """The Fargate service. Source: manual "Docker Deployment" (port 3006)."""

    cpu: Literal[256, 512, 1024, 2048, 4096] = Field(512, description="CPU units of a task; 1024 is one vCPU.")
    memory_mib: int = Field(1024, ge=512, le=30_720, description="Memory of a task; must fit its cpu.")
    architecture: Literal["ARM64", "X86_64"] = Field("ARM64", description="What the application's image is built for.")
    min_tasks: int = Field(2, ge=0, le=100, description="Tasks at rest.")
    max_tasks: int = Field(6, ge=1, le=100, description="Tasks under load.")
    cpu_target_percent: int = Field(60, ge=10, le=90, description="Target tracking on CPU.")
    memory_target_percent: int = Field(75, ge=10, le=95, description="Target tracking on memory.")
    requests_per_task_per_minute: int = Field(500, ge=10, le=1_000_000, description="Target tracking on requests.")
    scheduled_scaling: values.Distinct[ScheduledScaling] = Field((), max_length=10)
    health_path: values.UrlPath = Field(
        "/api/health/live", description="Asked by the load balancer; shallow, so that a dead database stops no task."
    )
    health_grace_seconds: int = Field(120, ge=0, le=900, description="Time to start before health counts.")
    spot: bool = Field(False, description="Run on Fargate Spot.")
    container_insights: Literal["enhanced", "enabled", "disabled"] = Field("enhanced", description="Cluster metrics.")
    container_insights_opt_out_reason: values.Reason | None = Field(None, description="Needed when container_insights is disabled.")
    log_retention_days: values.LogRetentionDays = Field(90, description="How long the application's logs are kept.")
    writable_paths: values.Distinct[values.ScratchPath] = Field(
        ("/tmp", "/app/.next/cache"), max_length=5, description="Paths on scratch volumes; the root file system is read-only."
    )
    placeholder_image: values.Image = Field(
        "public.ecr.aws/docker/library/node:24-alpine", description="Runs a few lines that answer until the first release."
    )
    psql_image: values.Image = Field("public.ecr.aws/docker/library/postgres:17-alpine", description="psql of the operations task.")
    redis_cli_image: values.Image = Field("public.ecr.aws/docker/library/redis:7-alpine", description="redis-cli of the operations task.")
    python_image: values.Image = Field(
        "public.ecr.aws/lambda/python:3.14", description="Lambda's own Python, for backups and drills that do not fit a function."
    )
    signing_profile: values.SigningProfile | None = Field(
        None, description="The AWS Signer profile whose signature a release asks for; absent: it asks for none."
    )
    backup_before_release: bool = Field(False, description="Back up the database before the migrations of a release.")
    migration_command: values.Entries[str] = Field(
        ("npx", "prisma", "migrate", "deploy"), min_length=1, description="Run by the migration task."
    )
    static_folder: values.ScratchPath = Field(
        "/app/.next/static", description="Where the image has what it serves as /_next/static; a release keeps it in a bucket."
    )


class Operations(Section):
    """What keeps the data alive, by the clock (UTC). Source: manual "Automated Backups", "Regular Maintenance Tasks"."""

    scheduled_backups: bool = Field(True, description="Backup and restore drill run by the clock; off: only when somebody starts them.")
    scheduled_backups_opt_out_reason: values.Reason | None = Field(None, description="Needed when scheduled_backups is false.")
    backup_schedule: values.Cron = Field("cron(0 3 * * ? *)", description="The logical backup, daily.")
    backup_formats: values.Distinct[Literal["archive", "sql_gz"]] = Field(
        ("archive", "sql_gz"),
        min_length=1,
        description="archive: for a parallel restore; sql_gz: plain SQL, as the manual's script made it. Each alone takes less time.",
    )
    weekly_backup_day: Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"] = Field("SUN", description="Whose backup is kept weekly.")
    monthly_backup_day: int = Field(1, ge=1, le=28, description="The day of the month whose backup is kept monthly.")
    drill_schedule: values.Cron = Field("cron(0 4 2 * ? *)", description="The newest backup is restored and compared (manual: monthly).")
    weekly_maintenance_schedule: values.Cron = Field(
        "cron(0,20,40 6-7 ? * SUN *)", description="VACUUM, ANALYZE, REINDEX (manual: weekly); each run goes on where the last one stopped."
    )
    monthly_maintenance_schedule: values.Cron = Field(
        "cron(0,20,40 8 1 * ? *)", description="Statistics and reports (manual: monthly), likewise."
    )
    rotation_schedule: values.Cron = Field("cron(0 10 * * ? *)", description="When rotation looks what is due, and goes on; daily.")
    application_password_days: int = Field(30, ge=1, le=365, description="After how many days the application's password is due.")
    owner_password_days: int = Field(90, ge=1, le=365, description="After how many days the migrations' password is due.")
    redis_token_days: int = Field(90, ge=1, le=365, description="After how many days Redis's token is due.")


class Endpoint(Section):
    """What is asked from outside, by GET. Up when all that stands here holds within the deadline."""

    path: paths.PlainPath = Field(description="What is asked for; each path once.")
    deadline_seconds: int = Field(5, ge=1, le=30, description="For all of it: name, connection, TLS, redirects, the body's last byte.")
    expected_statuses: values.Distinct[values.HttpStatus] = Field(
        (200,), min_length=1, max_length=10, description="Statuses that are right."
    )
    follow_redirects: int = Field(3, ge=0, le=10, description="How many redirects are followed, on the same host only; 0: none.")
    redirects_to: paths.PlainPath | None = Field(None, description="Where a redirect must lead; expected_statuses then are redirects.")
    body_contains: str = Field("", max_length=200, description="Text that must stand in the first 256 KiB of the body; empty: any body.")
    json_fields: dict[values.JsonField, str] = Field(
        {}, max_length=10, description="Fields that the body must have, as JSON, with their values: {status = 'healthy'}."
    )


class Uptime(Section):
    """What is asked every minute from outside, as users reach it. Source: manual "Uptime Monitoring", its endpoints and limits."""

    endpoints: values.Entries[Endpoint] = Field(
        (
            Endpoint(path="/api/health", deadline_seconds=5),
            Endpoint(path="/dashboard", deadline_seconds=10),
            Endpoint(path="/api/auth/session", deadline_seconds=5),
        ),
        min_length=1,
        max_length=10,
        description="Each is a table of its own: [[uptime.endpoints]].",
    )


class Alarms(Section):
    """When somebody is told. Each default says why it is that figure; docs/runbooks/ says what to do then."""

    watched: bool = Field(
        True,
        description="false: alarms only for roll-backs and the notifier; no probe, uptime, objectives, dashboard.",
    )
    watched_opt_out_reason: values.Reason | None = Field(None, description="Needed when watched is false.")
    server_errors_per_minute: int = Field(25, ge=1, le=100_000, description="5xx answers; rolls a running deployment back.")
    slow_response_seconds: float = Field(
        3.0, ge=0.1, le=120, description="p99 of the tasks' answers: pages that take longer are left by their users."
    )
    service_cpu_percent: int = Field(85, ge=20, le=100, description="Mean of all tasks; scaling holds 60, so this is past what it can do.")
    service_memory_percent: int = Field(90, ge=20, le=100, description="Mean of all tasks; at 100 the kernel ends them.")
    database_cpu_percent: int = Field(90, ge=20, le=100, description="For fifteen minutes: a backup or a report takes less.")
    database_cpu_credits: int = Field(30, ge=1, le=5000, description="t classes: half an hour of one processor; then AWS charges more.")
    database_free_memory_percent: int = Field(8, ge=1, le=50, description="Of the class's memory; below it, RDS begins to swap.")
    database_free_storage_gib: int = Field(2, ge=1, le=6000, description="Growing begins at a tenth free: here it has not helped.")
    database_days_until_full: int = Field(
        3, ge=1, le=60, description="At today's rate. Storage grows at a tenth free: what fills in fewer days outruns that."
    )
    database_connections_percent: int = Field(80, ge=10, le=100, description="Of max_connections; a roll-out at full strength stays below.")
    database_transaction_seconds: int = Field(
        3600, ge=60, le=86_400, description="The longest open transaction: it keeps VACUUM from its work. A backup is one, too."
    )
    database_deadlocks: int = Field(5, ge=1, le=10_000, description="In five minutes; one now and then is tried again by the application.")
    database_transaction_ids_percent: int = Field(
        25, ge=12, le=90, description="Of those there are; autovacuum should never let it past 10, writes stop near 100."
    )
    database_replication_lag_seconds: int = Field(60, ge=1, le=86_400, description="Of a replica, where there is one.")
    database_disk_latency_ms: int = Field(20, ge=1, le=1000, description="Mean of reads or writes; gp3 answers in single digits.")
    proxy_borrow_ms: int = Field(100, ge=1, le=60_000, description="Mean wait for a connection; requests fail at acquire_timeout_seconds.")
    proxy_pinned_percent: int = Field(85, ge=10, le=100, description="Pinned, of the proxy's maximum: Prisma pins all it uses.")
    redis_memory_percent: int = Field(95, ge=20, le=100, description="Of what counts for eviction; a full cache alone is no harm.")
    redis_evictions_per_minute: int = Field(500, ge=1, le=1_000_000, description="More, and entries go before they are used again.")
    redis_cpu_percent: int = Field(90, ge=20, le=100, description="Of Redis's one thread.")
    redis_replication_lag_seconds: int = Field(10, ge=1, le=3600, description="What a failover would lose.")
    function_duration_percent: int = Field(90, ge=20, le=100, description="Of a function's time limit: the next run may not end.")
    daily_backup_age_hours: int = Field(
        30, ge=25, le=168, description="A day, and six hours for the backup itself: a missed night is told in the morning."
    )
    weekly_backup_age_days: int = Field(8, ge=8, le=30, description="A day more than a week.")
    monthly_backup_age_days: int = Field(33, ge=32, le=90, description="Two days more than the longest month.")
    backup_size_percent: int = Field(50, ge=1, le=99, description="Of the median of those before; at half, data has gone or was left out.")
    drill_age_days: int = Field(35, ge=2, le=120, description="Since a restore passed: the longest month, and four days to repeat it.")
    weekly_maintenance_age_days: int = Field(9, ge=8, le=60, description="Since a cycle ended: a week, and two days.")
    monthly_maintenance_age_days: int = Field(35, ge=32, le=120, description="Since a cycle ended: the longest month, and four days.")
    rotation_days_late: int = Field(3, ge=1, le=30, description="Days past due; rotation tries every day.")
    certificate_days: int = Field(21, ge=2, le=60, description="ACM renews 60 days before the end: here it has failed for weeks.")
    endpoints_down_minutes: int = Field(3, ge=1, le=5, description="Of the last five; one lost answer is nobody's night.")
    edge_error_percent: int = Field(5, ge=1, le=100, description="5xx of all answers at CloudFront, five minutes long.")
    origin_latency_seconds: float = Field(5.0, ge=0.1, le=120, description="p90 of CloudFront's wait; slow for every tenth request.")
    firewall_blocked_percent: int = Field(25, ge=1, le=100, description="Of all requests; scanners make a few per cent.")
    firewall_blocked_requests: int = Field(
        1000, ge=1, le=10_000_000, description="In five minutes at least: the ratio of a quiet night says little."
    )


class Slo(Section):
    """What users may expect, over 28 days, of the answers that the load balancer gives. Source: Google SRE Workbook, "Alerting on SLOs"."""

    availability_percent: float = Field(99.9, ge=90, le=99.99, description="Answers that are no 5xx: 40 minutes a month may fail.")
    latency_percent: float = Field(99.0, ge=50, le=99.9, description="Answers within latency_seconds.")
    latency_seconds: float = Field(1.0, ge=0.05, le=60, description="What counts as fast.")
    requests_per_hour: int = Field(60, ge=1, le=1_000_000, description="With fewer, one failed request would burn days: nothing is told.")


class Budget(Section):
    """What the environment may cost."""

    monthly_usd: int = Field(500, ge=1, le=1_000_000, description="Told at 80 % spent, at all of it, and when the forecast is above.")
    anomaly_usd: int = Field(40, ge=1, le=100_000, description="An unusual rise is told from here on.")


class Pipeline(Section):
    """Whose pipeline deploys this environment, without a key (`CarmenPipelineAccess`). Source: manual "CI/CD Pipeline"."""

    platform: Literal["github", "gitlab"] = Field("github", description="Where the pipeline runs.")
    gitlab_host: values.HostName = Field("gitlab.com", description="GitLab's own address, if it is yours.")
    repository: values.RepositoryName = Field(
        description="This code's repository, such as example/carmen-infrastructure; on GitHub as its settings show it under OIDC: "
        "example@1234/carmen-infrastructure@5678 where ids are shown."
    )
    application_repository: values.RepositoryName | None = Field(
        None, description="The application's, whose pipeline pushes images and releases them; absent: none does."
    )
    branch: values.BranchName = Field(description="The one branch that is deployed here, in both repositories.")
    protected_environment: values.ProtectedEnvironment = Field(
        description="The platform's protected environment that the deployment waits for, such as production."
    )
    provider_exists: bool = Field(False, description="true: the account trusts the platform already (one identity provider an account).")


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
    email_from: values.Email | None = Field(None, description="EMAIL_FROM; noreply@ the domain when absent.")
    smtp_host: values.HostName | None = Field(None, description="SMTP_HOST; empty until given.")
    smtp_port: Literal[25, 465, 587, 2465, 2587] = Field(587, description="SMTP_PORT.")
    smtp_user: str = Field("", max_length=128, description="SMTP_USER; the password is a secret given by the operator.")
    smtp_secure: bool = Field(True, description="SMTP_SECURE.")
    extra_variables: dict[values.VariableName, str] = Field({}, description="Further plain variables.")
    extra_secrets: dict[values.VariableName, ExtraSecret] = Field({}, description="Further secret variables.")


class Settings(Section):
    """One environment, whole. `name` comes from the file's name."""

    name: values.EnvironmentName = Field(description="The file's name; CarmenProd for prod.toml.")
    region: values.Region = Field("us-east-1", description="Where the application lives; the edge is in us-east-1.")
    account: values.AccountId | None = Field(None, description="AWS account; absent: that of the credentials at deployment.")
    permissions_boundary: values.PolicyName | None = Field(None, description="Name of a policy bounding every role.")
    termination_protection: bool = Field(True, description="Stateful stacks refuse deletion.")
    termination_protection_opt_out_reason: values.Reason | None = Field(None, description="Needed when termination_protection is false.")
    keep_data: bool = Field(True, description="Buckets, database, images, keys, secrets and logs stay when their stack goes.")
    keep_data_opt_out_reason: values.Reason | None = Field(None, description="Needed when keep_data is false.")
    working_hours: WorkingHours | None = Field(None, description="Absent: it always runs. Not for production.")
    tags: Tags = Tags()
    network: Network = Network()
    domain: Domain | None = None
    alerts: Alerts = Alerts()
    storage: Storage = Storage()
    database: Database = Database()
    cache: Cache = Cache()
    edge: Edge = Edge()
    service: Service = Service()
    operations: Operations = Operations()
    uptime: Uptime = Uptime()
    alarms: Alarms = Alarms()
    slo: Slo = Slo()
    budget: Budget = Budget()
    pipeline: Pipeline | None = None
    application: Application = Application()

    @property
    def stack_prefix(self) -> str:
        """`CarmenProd` for `prod`, `CarmenPreview-pr-123` for the preview `pr-123`."""
        return f"Carmen{self.name.capitalize()}"

    @property
    def regions(self) -> list[str]:
        """All that an environment has stacks in: its own, CloudFront's, and where copies of backups are; each once, its own first."""
        copies = self.storage.backup_copy_region
        return list(dict.fromkeys([self.region, values.EDGE_REGION, *([copies] if copies else [])]))

    @property
    def preview(self) -> str | None:
        """`pr-123` of `preview-pr-123`; None of an environment that has a file of its own."""
        return self.name.removeprefix(values.PREVIEW_PREFIX) if self.name.startswith(values.PREVIEW_PREFIX) else None

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        """Each complaint becomes an error of its own, so that all are told at once."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("complaint", "{text}", {"keys": complaint.keys, "text": complaint.text}), loc=(), input=self
            )
            for complaint in complaints(self, production_over=info.context)
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self
