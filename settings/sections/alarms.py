"""Alert recipients, uptime checks, alarms, objectives and budget."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings import types, url_paths
from settings.field_metadata import InOrder, Protective, Saving, given, leaves_stack, switched_off
from settings.sections.base import Section


class Alerts(Section):
    """Who receives alerts. Set Slack's webhook after deployment (`./carmen secrets`). Source: manual "Monitoring Alerts"."""

    emails: Annotated[types.Distinct[types.Email], Protective(given)] = Field(
        (), description="Addresses that receive alerts; each must confirm the subscription."
    )
    runbooks_url: types.HttpsUrl | None = Field(
        None, description="URL of the repository, such as https://github.com/example/carmen/blob/main; default: alerts name paths only."
    )
    settle_seconds: int = Field(300, ge=0, le=900, description="How long a recovery must last before it is reported.")
    flapping_openings: int = Field(
        4, ge=2, le=20, description="An alarm that opens this often within flapping_minutes is reported as flapping."
    )
    flapping_minutes: int = Field(
        60, ge=15, le=720, description="Period in which openings are counted; flapping ends after the same time without one."
    )
    digest_schedule: types.Cron = Field(
        "cron(30 12 * * ? *)", description="When the daily digest is sent, UTC; ages are measured at 11:45."
    )


class Endpoint(Section):
    """A GET request from outside. The endpoint is up when the response meets every condition within the deadline."""

    path: url_paths.PlainPath = Field(description="Path to request; each path once.")
    deadline_seconds: int = Field(5, ge=1, le=30, description="For everything: DNS, connection, TLS, redirects and the whole body.")
    expected_statuses: types.Distinct[types.HttpStatus] = Field((200,), min_length=1, max_length=10, description="Accepted statuses.")
    follow_redirects: int = Field(3, ge=0, le=10, description="How many redirects to follow, on the same host only; 0: none.")
    redirects_to: url_paths.PlainPath | None = Field(
        None, description="Required target of a redirect; expected_statuses must then be redirects."
    )
    body_contains: str = Field("", max_length=200, description="Text that the first 256 KiB of the body must contain; empty: any body.")
    json_fields: dict[types.JsonField, str] = Field(
        {}, max_length=10, description="Fields with values that the JSON body must contain: {status = 'healthy'}."
    )


class Uptime(Section):
    """Requests sent every minute from outside, on the users' path. Endpoints and limits: manual "Uptime Monitoring"."""

    endpoints: types.Entries[Endpoint] = Field(
        (
            Endpoint(path="/api/health", deadline_seconds=5),
            Endpoint(path="/dashboard", deadline_seconds=10),
            Endpoint(path="/api/auth/session", deadline_seconds=5),
        ),
        min_length=1,
        max_length=10,
        description="One table for each: [[uptime.endpoints]].",
    )


class Alarms(Section):
    """Alarm thresholds. Each description gives the reason for the default; docs/runbooks/ says what to do."""

    watched: Annotated[
        bool,
        Protective(opt_out=True),
        Saving(False, "no alerts about failures"),
        InOrder(
            "The stack of CloudFront's alarms leaves the app, and a deployment deletes no stacks: it would continue to send alerts.",
            leaves_stack("CarmenNAMEEdgeAlarms"),
            applies=switched_off,
        ),
    ] = Field(
        True,
        description="false: alarms only for rollbacks and the notifier; no probe, uptime checks, objectives or dashboard.",
    )
    server_errors_per_minute: int = Field(25, ge=1, le=100_000, description="5xx responses; rolls back a running deployment.")
    slow_response_seconds: float = Field(3.0, ge=0.1, le=120, description="p99 of the tasks' responses: users leave slower pages.")
    service_cpu_percent: int = Field(
        85, ge=20, le=100, description="Mean of all tasks; scaling keeps 60, so at this value it no longer suffices."
    )
    service_memory_percent: int = Field(90, ge=20, le=100, description="Mean of all tasks; at 100 the kernel stops them.")
    database_cpu_percent: int = Field(90, ge=20, le=100, description="For 15 minutes: backups and reports take less.")
    database_cpu_credits: int = Field(30, ge=1, le=5000, description="t classes: half an hour of one processor; below 0, AWS charges more.")
    database_free_memory_percent: int = Field(8, ge=1, le=50, description="Of the class's memory; below it, RDS starts to swap.")
    database_free_storage_gib: int = Field(2, ge=1, le=6000, description="Autoscaling starts at 10 % free; at this value it has failed.")
    database_days_until_full: int = Field(
        3, ge=1, le=60, description="At today's rate. Storage is extended at 10 % free; faster growth can fill it before."
    )
    database_connections_percent: int = Field(80, ge=10, le=100, description="Of max_connections; a deployment with max_tasks stays below.")
    database_transaction_seconds: int = Field(
        3600, ge=60, le=86_400, description="The longest open transaction, which blocks VACUUM. A backup is one, too."
    )
    database_deadlocks: int = Field(5, ge=1, le=10_000, description="In five minutes; the application retries an occasional one.")
    database_transaction_ids_percent: int = Field(
        25, ge=12, le=90, description="Of all ids; autovacuum keeps it below 10, and writes stop near 100."
    )
    database_replication_lag_seconds: int = Field(60, ge=1, le=86_400, description="Of a replica, if there is one.")
    database_disk_latency_ms: int = Field(20, ge=1, le=1000, description="Mean of reads or writes; gp3 needs less than 10.")
    proxy_borrow_ms: int = Field(100, ge=1, le=60_000, description="Mean wait for a connection; requests fail at acquire_timeout_seconds.")
    proxy_pinned_percent: int = Field(85, ge=10, le=100, description="Pinned, of the proxy's maximum: Prisma pins all it uses.")
    redis_memory_percent: int = Field(
        95, ge=20, le=100, description="Of the memory that counts for eviction; a full cache alone is harmless."
    )
    redis_evictions_per_minute: int = Field(
        500, ge=1, le=1_000_000, description="Above it, entries are evicted before they are used again."
    )
    redis_cpu_percent: int = Field(90, ge=20, le=100, description="Of Redis's single thread.")
    redis_replication_lag_seconds: int = Field(10, ge=1, le=3600, description="Writes that a failover would lose.")
    function_duration_percent: int = Field(90, ge=20, le=100, description="Of a function's timeout: the next run may exceed it.")
    daily_backup_age_hours: int = Field(
        30, ge=25, le=168, description="A day, and six hours for the backup: a missed night is reported in the morning."
    )
    weekly_backup_age_days: int = Field(8, ge=8, le=30, description="A week and one day.")
    monthly_backup_age_days: int = Field(33, ge=32, le=90, description="The longest month and two days.")
    backup_size_percent: int = Field(50, ge=1, le=99, description="Of the median of earlier backups; at half, data is probably missing.")
    drill_age_days: int = Field(
        35, ge=2, le=120, description="Since a successful restore: the longest month, and four days for repetitions."
    )
    weekly_maintenance_age_days: int = Field(9, ge=8, le=60, description="Since the last complete cycle: a week and two days.")
    monthly_maintenance_age_days: int = Field(
        35, ge=32, le=120, description="Since the last complete cycle: the longest month and four days."
    )
    rotation_days_late: int = Field(3, ge=1, le=30, description="Days overdue; rotation retries daily.")
    certificate_days: int = Field(
        21, ge=2, le=60, description="Until expiry. ACM renews 60 days before: at this value it has failed for weeks."
    )
    endpoints_down_minutes: int = Field(3, ge=1, le=5, description="Of the last five; a single failed request wakes no one.")
    edge_error_percent: int = Field(5, ge=1, le=100, description="5xx of all responses of CloudFront, in five minutes.")
    origin_latency_seconds: float = Field(5.0, ge=0.1, le=120, description="p90 of CloudFront's wait: every tenth request is slower.")
    firewall_blocked_percent: int = Field(25, ge=1, le=100, description="Of all requests; scanners cause a few per cent.")
    firewall_blocked_requests: int = Field(
        1000, ge=1, le=10_000_000, description="Minimum in five minutes: the ratio means little when there are few requests."
    )


class Slo(Section):
    """Objectives over 28 days for the load balancer's responses. Source: Google SRE Workbook, "Alerting on SLOs"."""

    availability_percent: float = Field(99.9, ge=90, le=99.99, description="Responses other than 5xx: 40 minutes a month may fail.")
    latency_percent: float = Field(99.0, ge=50, le=99.9, description="Responses within latency_seconds.")
    latency_seconds: float = Field(1.0, ge=0.05, le=60, description="Limit of a fast response.")
    requests_per_hour: int = Field(
        60, ge=1, le=1_000_000, description="With fewer requests there is no alert: one failure would use the budget of days."
    )


class Budget(Section):
    """The budget of the environment, in a stack of its own, such as CarmenProdBudget."""

    monthly_usd: Annotated[
        int,
        Protective(given, opt_out=True),
        InOrder(
            "The budget's stack leaves the app, and a deployment deletes no stacks: the budget would continue to send alerts.",
            leaves_stack("CarmenNAMEBudget"),
            applies=switched_off,
        ),
    ] = Field(500, ge=0, le=1_000_000, description="Alerts at 80 %, at 100 %, and when the forecast is higher; 0: no budget.")


class AnomalyDetection(Section):
    """AWS Cost Anomaly Detection for the services of the **account**, in the stack CarmenAccount.

    In one environment of an account at most, whose alert topic receives the anomalies: an account can have one monitor of its
    services (FAQ of AWS Cost Anomaly Detection), and only the management account can have monitors of tags (Cost Management
    User Guide, "Getting started with AWS Cost Anomaly Detection").
    """

    minimum_usd: int = Field(40, ge=1, le=100_000, description="Minimum of an unusual increase that is reported.")
    monitor_arn: types.AnomalyMonitorArn | None = Field(
        None,
        description="The account's monitor of services, if it has one (`aws ce get-anomaly-monitors`): AWS creates "
        "Default-Services-Monitor with Cost Explorer. Default: create it.",
    )
