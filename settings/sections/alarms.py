"""Uptime checks, alarms, objectives, budget, and who receives alerts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings import types, url_paths
from settings.field_metadata import Protective, Saving, given
from settings.sections.base import Section


class Alerts(Section):
    """Who is told of what. Slack's webhook is given after deployment (`make secrets`). Source: manual "Monitoring Alerts"."""

    emails: Annotated[types.Distinct[types.Email], Protective(given)] = Field(
        (), description="Addresses that are told by e-mail; each confirms by mail."
    )
    runbooks_url: types.HttpsUrl | None = Field(
        None, description="Where the repository can be read, such as https://github.com/example/carmen/blob/main; absent: paths alone."
    )
    settle_seconds: int = Field(300, ge=0, le=900, description="How long a recovery must last to be told.")
    flapping_openings: int = Field(
        4, ge=2, le=20, description="An alarm that opens this often within flapping_minutes is told as flapping."
    )
    flapping_minutes: int = Field(60, ge=15, le=720, description="How far flapping looks back, and how long it must be quiet to end.")
    digest_schedule: types.Cron = Field(
        "cron(30 12 * * ? *)", description="When the day's digest is told, UTC; ages are measured at 11:45."
    )


class Endpoint(Section):
    """What is asked from outside, by GET. Up when all that stands here holds within the deadline."""

    path: url_paths.PlainPath = Field(description="What is asked for; each path once.")
    deadline_seconds: int = Field(5, ge=1, le=30, description="For all of it: name, connection, TLS, redirects, the body's last byte.")
    expected_statuses: types.Distinct[types.HttpStatus] = Field((200,), min_length=1, max_length=10, description="Statuses that are right.")
    follow_redirects: int = Field(3, ge=0, le=10, description="How many redirects are followed, on the same host only; 0: none.")
    redirects_to: url_paths.PlainPath | None = Field(None, description="Where a redirect must lead; expected_statuses then are redirects.")
    body_contains: str = Field("", max_length=200, description="Text that must stand in the first 256 KiB of the body; empty: any body.")
    json_fields: dict[types.JsonField, str] = Field(
        {}, max_length=10, description="Fields that the body must have, as JSON, with their values: {status = 'healthy'}."
    )


class Uptime(Section):
    """What is asked every minute from outside, as users reach it. Source: manual "Uptime Monitoring", its endpoints and limits."""

    endpoints: types.Entries[Endpoint] = Field(
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

    watched: Annotated[bool, Protective(opt_out=True), Saving(False, "nobody is told that anything is wrong")] = Field(
        True,
        description="false: alarms only for roll-backs and the notifier; no probe, uptime, objectives, dashboard.",
    )
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
