"""RDS PostgreSQL and ElastiCache."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types
from settings.field_metadata import NEW_ENVIRONMENT, Fixed, InOrder, Protective, Saving, order, switched_off
from settings.sections.base import Section


class DatabaseParameters(Section):
    """PostgreSQL's parameters. Source: manual "PostgreSQL Configuration", in the manual's units.

    The three memory figures are minimums for the smallest class; on larger classes they grow with memory (ADR 0003).
    """

    shared_buffers_mb: int = Field(256, ge=128, le=65536, description="Minimum of shared_buffers; otherwise 1/4 of memory.")
    effective_cache_size_mb: int = Field(1024, ge=256, le=262144, description="Minimum of effective_cache_size; otherwise 1/2 of memory.")
    maintenance_work_mem_mb: int = Field(64, ge=16, le=4096, description="Minimum of maintenance_work_mem; otherwise 1/62 of memory.")
    checkpoint_completion_target: float = Field(0.9, ge=0.5, le=1.0, description="Share of the checkpoint interval used for writing.")
    wal_buffers_mb: int = Field(16, ge=1, le=64, description="Memory for WAL not yet written.")
    max_connections: int = Field(300, ge=50, le=5000, description="Manual: 100, which two tasks already use (ADR 0003).")
    shared_preload_libraries: types.Distinct[Literal["pg_stat_statements", "auto_explain", "pg_cron"]] = Field(
        ("pg_stat_statements",), description="Loaded at start; maintenance needs pg_stat_statements."
    )
    log_statement: Literal["none", "ddl", "mod", "all"] = Field("ddl", description="Which statements are logged.")
    log_min_duration_statement_ms: int = Field(1000, ge=-1, le=600_000, description="Log statements that take longer; -1: none.")
    log_checkpoints: bool = Field(True, description="Log checkpoints.")
    log_lock_waits: bool = Field(True, description="Log waits for locks longer than deadlock_timeout.")
    track_activity_query_size: int = Field(2048, ge=100, le=102_400, description="Bytes of a running statement to keep.")
    track_functions: Literal["none", "pl", "all"] = Field("all", description="Which function calls are counted.")
    track_io_timing: bool = Field(True, description="Time reads and writes.")


class ConnectionPool(Section):
    """The application's pool and the proxy's. Source: manual "Connection Pooling"; the table is in docs/connection-pool.md."""

    connections_per_task: int = Field(20, ge=1, le=100, description="Prisma's connection_limit (manual: max 20).")
    idle_seconds: int = Field(
        30, ge=5, le=600, description="When the application closes an idle connection (manual: idleTimeoutMillis 30000)."
    )
    acquire_timeout_seconds: int = Field(2, ge=1, le=60, description="Wait for a connection (manual: connectionTimeoutMillis 2000).")
    proxy_max_connections_percent: int = Field(90, ge=10, le=100, description="The proxy's share of max_connections.")
    proxy_max_idle_percent: int = Field(50, ge=0, le=100, description="Idle connections the proxy keeps, of max_connections.")
    proxy_idle_client_seconds: int = Field(
        1800, ge=60, le=28_800, description="When the proxy closes an idle client connection; above idle_seconds."
    )
    reserve: int = Field(30, ge=5, le=500, description="Connections reserved for migrations, backup, maintenance, monitoring and people.")


class Database(Section):
    """RDS PostgreSQL. Source: manual "Production Database Setup"."""

    engine_major: Annotated[
        Literal["15", "16", "17", "18"],
        # Source: RDS User Guide, "Upgrading the PostgreSQL DB engine"; AllowMajorVersionUpgrade stays false in the template.
        Fixed(
            "PostgreSQL cannot go back to an earlier major version.",
            (
                "Create environments/NAME.toml with the earlier version, and deploy it: `./carmen deploy --env NAME`.",
                "Restore a dump of before the upgrade there (docs/runbooks/restore-a-backup.md).",
            ),
            applies=lambda old, new: int(new) < int(old),
        ),
        InOrder(
            "The template never allows a major upgrade, so that none happens by accident.",
            (
                "Try the upgrade in a copy: restore the newest backup into an environment with the new version.",
                "`./carmen backup now`, and stop the tasks: `./carmen tasks scale 0`.",
                "Upgrade the instance: `aws rds modify-db-instance --allow-major-version-upgrade --apply-immediately --engine-version NEW "
                "--db-parameter-group-name default.postgresNEW --db-instance-identifier ID`, and wait until it is available.",
                "`./carmen deploy --steps-taken {key}`: it gives the instance its parameter group and records the version.",
                "Reboot the instance, `./carmen tasks scale NUMBER`, and run ANALYZE (`./carmen database shell`).",
            ),
            applies=lambda old, new: int(new) > int(old),
        ),
    ] = Field("17", description="PostgreSQL's major version. Manual: 15; reason for 17: ADR 0002.")
    instance_class: Annotated[
        types.InstanceClass,
        Saving("t4g.small", "half the memory, for half the connections"),
        Saving("t4g.micro", "1 GiB of memory, for a handful of users"),
    ] = Field("t4g.medium", description="Without the leading 'db.'.")
    multi_az: Annotated[
        bool, Protective(opt_out=True), Saving(False, "no standby: hours without a database when its zone or host fails")
    ] = Field(True, description="A standby in a second zone.")
    proxy: Annotated[
        bool,
        Protective(opt_out=True),
        Saving(False, "connections break at a failover, and their number is not limited"),
        InOrder(
            "Running tasks keep the proxy's address until they restart, so requests fail between the two steps.",
            ("`./carmen deploy --steps-taken {key}`.", "Immediately afterwards: `./carmen tasks restart`."),
            applies=switched_off,
        ),
    ] = Field(True, description="RDS Proxy, which keeps client connections through a failover and limits their number.")
    storage_gib: Annotated[
        int,
        # Source: RDS User Guide, "Working with storage for Amazon RDS DB instances": it cannot be reduced, and increases by 10 % at least.
        Fixed(
            "RDS cannot reduce the storage of an instance.",
            ("Keep the value: storage costs little.", "Or restore a backup into a new environment with less storage."),
            applies=lambda old, new: new < old,
        ),
        Fixed(
            "RDS refuses to add less than a tenth to the storage of an instance.",
            ("Choose a value that is at least a tenth larger.",),
            applies=lambda old, new: old < new < old * 1.1,
        ),
    ] = Field(20, ge=20, le=65_536, description="gp3 storage at creation.")
    max_storage_gib: int = Field(200, ge=22, le=65_536, description="Maximum of storage autoscaling.")
    point_in_time_days: Annotated[int, Protective()] = Field(14, ge=1, le=35, description="How far back point-in-time recovery reaches.")
    backup_window: Annotated[types.DailyWindow, types.lasting(30)] = Field(
        "02:00-02:30", description="RDS snapshot, UTC; outside the maintenance window."
    )
    maintenance_window: Annotated[types.WeeklyWindow, types.lasting(30)] = Field("sun:05:00-sun:06:00", description="RDS maintenance, UTC.")
    aws_backup_days: Annotated[
        int,
        Protective(),
        InOrder(
            "The vault keeps its name and its snapshots when it leaves the stack, so it could not be created again.",
            (
                "`./carmen deploy --steps-taken {key}`: no more snapshots are created; the existing ones expire.",
                "Delete the vault when it is empty: `aws backup delete-backup-vault --backup-vault-name NAME`; only then set days again.",
            ),
            applies=switched_off,
        ),
    ] = Field(0, ge=0, le=3650, description="How long AWS Backup keeps a daily snapshot in a vault; 0: no snapshots.")
    aws_backup_schedule: types.Cron = Field(
        "cron(0 14 * * ? *)", description="When that snapshot is created, UTC, daily; outside both windows."
    )
    aws_backup_lock: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Governance-mode lock on that vault: snapshots cannot be deleted early."
    )
    roles_schedule: types.Cron = Field("cron(30 0 * * ? *)", description="When database roles are checked and corrected, UTC, daily.")
    deletion_protection: Annotated[bool, Protective(opt_out=True)] = Field(True, description="Refuse to delete the instance.")
    insights: Annotated[Literal["standard", "advanced"], Protective(order("standard", "advanced"))] = Field(
        "standard", description="Database Insights: standard keeps 7 days free of charge, advanced 465 days."
    )
    log_retention_days: Annotated[types.LogRetentionDays, Protective()] = Field(
        90, description="How long PostgreSQL's logs are kept in CloudWatch."
    )
    parameters: DatabaseParameters = DatabaseParameters()
    pool: ConnectionPool = ConnectionPool()


class Cache(Section):
    """ElastiCache Redis, for cache and rate counters. Source: manual "Redis Cache Implementation", "Rate Limiting"."""

    engine: Annotated[
        Literal["valkey", "redis"],
        # ElastiCache itself upgrades Redis to Valkey in place, but never back (User Guide, "Engine versions and upgrading").
        Fixed(
            "According to CloudFormation's schema another engine replaces the cache, whose address other stacks use.",
            ("Keep the engine: both have the same protocol.", *NEW_ENVIRONMENT),
        ),
    ] = Field("valkey", description="valkey has Redis's protocol and costs a fifth less (ADR 0017).")
    node_type: types.CacheNodeType = Field("cache.t4g.micro", description="Node type.")
    replicas: Annotated[
        int,
        Protective(opt_out=True),
        Saving(0, "minutes without a cache, which is then empty, when its host fails"),
        # Sources: aws-cloudformation/cloudformation-coverage-roadmap#383 (adding), crossplane-contrib/provider-aws#1594 (removing).
        InOrder(
            "ElastiCache has failover only while there is a replica, and CloudFormation does not change both at once.",
            (
                "Set `failover = false` with its reason below [cache]; before the last replica is removed, `./carmen deploy` this alone.",
                "Change `replicas`, and `./carmen deploy --steps-taken {key}`.",
                "Remove `failover` and its reason from the file, and `./carmen deploy`.",
            ),
            applies=lambda old, new: bool(old) != bool(new),
        ),
    ] = Field(1, ge=0, le=5, description="0: no failover.")
    failover: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="A replica takes over when the primary fails; without replicas, there is no failover."
    )
    snapshot_days: Annotated[
        int,
        Protective(),
        # Sources: aws/aws-cdk#6256, aws-controllers-k8s/community#1846.
        InOrder(
            "ElastiCache switches snapshots on only for a node that the request names, and a template cannot name a node of its own group.",
            (
                "Switch them on: `aws elasticache modify-replication-group --apply-immediately --replication-group-id ID "
                "--snapshot-retention-limit DAYS --snapshotting-cluster-id NODE`, with ID and a NODE of `aws elasticache "
                "describe-replication-groups` (MemberClusters).",
                "`./carmen deploy --steps-taken {key}`.",
            ),
            applies=lambda old, new: not old and bool(new),
        ),
    ] = Field(0, ge=0, le=35, description="0: none; all content can be recomputed.")
    eviction_policy: Literal["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-ttl"] = Field(
        "allkeys-lru",
        description="Cache entries and rate counters share the memory: counters of active callers are recent and stay, counters "
        "without expiry can be evicted, and writes are never refused.",
    )
    maintenance_window: Annotated[types.WeeklyWindow, types.lasting(60)] = Field(
        "sun:06:30-sun:07:30", description="ElastiCache maintenance, UTC, at least an hour."
    )
