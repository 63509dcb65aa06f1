"""Alarms of Redis."""

from __future__ import annotations

from functools import partial

from constructs import Construct

from constructs_lib.cache.redis import Cache
from constructs_lib.foundation.alarm import FIVE_MINUTES, Alarm, AlarmMetric, Alerting, Expression, Metric
from settings import sections


class CacheAlarms(Construct):
    """`down`: Redis does not answer. `overloaded`: it works at its limit. The worst node counts: any may be the primary."""

    def __init__(self, scope: Construct, construct_id: str, *, alerting: Alerting, settings: sections.Cache, cache: Cache) -> None:
        super().__init__(scope, construct_id)
        limits = alerting.settings
        # Cluster mode disabled: node names end with a number. Source: ElastiCache, "Finding replication group member names".
        self._nodes = [f"{cache.replication_group.ref}-{number:03}" for number in range(1, settings.replicas + 2)]
        watch = partial(alerting.alarm, self, severity="ticket", missing="notBreaching", actions_enabled=False, periods=3)
        self.down = alerting.alarm(
            self,
            "Unreachable",
            description="Redis does not answer the probe. Pages are slow, and rate limits do not work.",
            runbook="redis",
            severity="page",
            metric=alerting.function_metric("RedisUp", statistic="Minimum", label="Redis answers"),
            below=1,
            periods=3,
            missing="ignore",
        )
        self.memory = watch(
            "Memory",
            description="Redis's memory is full. New entries evict older ones.",
            runbook="redis",
            metric=self._worst("DatabaseMemoryUsageCountedForEvictPercentage", "memory (%)"),
            at_least=limits.redis_memory_percent,
        )
        self.evictions = watch(
            "Evictions",
            description="Redis evicts entries before they are used again. The load moves to the database.",
            runbook="redis",
            metric=self._worst("Evictions", "evictions", "Sum"),
            at_least=limits.redis_evictions_per_minute * 5,
        )
        self.cpu = watch(
            "Cpu",
            description="Redis's single thread is always busy. All commands wait for it.",
            runbook="redis",
            metric=self._worst("EngineCPUUtilization", "CPU of the engine (%)"),
            at_least=limits.redis_cpu_percent,
        )
        self.lag = None
        if settings.replicas:
            self.lag = watch(
                "ReplicationLag",
                description="Redis's replica lags behind. A failover would lose recent writes.",
                runbook="redis",
                metric=self._worst("ReplicationLag", "replication lag (s)"),
                at_least=limits.redis_replication_lag_seconds,
            )
        self.overloaded = alerting.composite(
            self,
            "Overloaded",
            description="Redis works at its limit. Carmen gets slower, and its database busier.",
            runbook="redis",
            severity="ticket",
            alarms=[alarm for alarm in (self.memory, self.evictions, self.cpu, self.lag) if alarm],
            suppressor=self.down,
        )

    @property
    def notifying(self) -> list[Alarm]:
        """The alarms that notify people."""
        return [self.down, self.overloaded]

    def _worst(self, name: str, label: str, statistic: str = "Maximum") -> AlarmMetric:
        nodes = {
            f"node{number}": Metric("AWS/ElastiCache", name, {"CacheClusterId": node}, statistic, FIVE_MINUTES, label)
            for number, node in enumerate(self._nodes, start=1)
        }
        if len(nodes) == 1:
            return nodes["node1"]
        return Expression(f"MAX([{', '.join(nodes)}])", nodes, label)
