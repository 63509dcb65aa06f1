"""The report's texts on restarts and interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.changed_templates import Edit, Edits, compare_all, setting, together
from tools.reports.assembly import Assembly
from tools.reports.diff.collect import Comparison, compare
from tools.reports.diff.deployment import interruptions

DB, REDIS, SERVICE = "Data/Database/Instance", "Data/Cache/Redis", "Service/Web/Service/Service"
PROPAGATES = "`Edge/Edge/Distribution`: takes effect in all CloudFront locations within minutes; until then both versions are served."
CASES: dict[str, tuple[Edit, list[str]]] = {
    "a bigger instance": (
        setting(DB, "DBInstanceClass", "db.t4g.large"),
        [f"`{DB}`: the database restarts with a failover to the standby, 1 to 2 minutes (`DBInstanceClass`)."],
    ),
    "a new version": (
        setting(DB, "EngineVersion", "17.12"),
        [f"`{DB}`: the database is down during the engine upgrade, for minutes even with Multi-AZ (`EngineVersion`)."],
    ),
    "more storage": (
        setting(DB, "AllocatedStorage", "40"),
        [f"`{DB}`: no interruption; the storage cannot be changed again for six hours (`AllocatedStorage`)."],
    ),
    "a parameter": (
        lambda edits: edits.properties("Data/Database/Parameters")["Parameters"].update({"work_mem": "8192"}),
        ["`Data/Database/Parameters`: static parameters take effect at the next reboot, the others immediately (work_mem)."],
    ),
    "a bigger Redis": (
        setting(REDIS, "CacheNodeType", "cache.t4g.small"),
        [f"`{REDIS}`: nodes are replaced one by one; Redis is unavailable for seconds during the failover (`CacheNodeType`)."],
    ),
    "a task with more memory": (
        setting("Service/Web/Task", "Memory", "4096"),
        [f"`{SERVICE}`: all tasks are replaced; new tasks start before old ones stop."],
    ),
    "a service with less patience": (
        together(setting("Service/Web/Task", "Memory", "4096"), setting(SERVICE, "DeploymentConfiguration.MinimumHealthyPercent", 50)),
        [f"`{SERVICE}`: all tasks are replaced; at least 50 % of them keep running."],
    ),
    "another period of grace": (setting(SERVICE, "HealthCheckGracePeriodSeconds", 60), []),
    "a one-off task": (setting("Service/Migration/Task", "Memory", "2048"), []),
    "a function": (
        setting("Operations/Backup/Function", "MemorySize", 512),
        ["`Operations/Backup/Function`: the next invocation runs the new version."],
    ),
    "the edge": (setting("Edge/Edge/Distribution", "DistributionConfig.PriceClass", "PriceClass_All"), [PROPAGATES]),
    "a tag at the edge": (lambda edits: edits.properties("Edge/Edge/Distribution")["Tags"].pop(), []),
    "a load balancer": (
        setting("Edge/Balancer/LoadBalancer", "Name", "another"),
        [
            "`Edge/Balancer/LoadBalancer`: replaced; the origin has another name; requests fail until CloudFront uses it.",
        ],
    ),
    "a gateway less": (
        lambda edits: edits.remove("Network/Network/Vpc/PublicSubnet2/NATGateway"),
        ["`Network/Network/Vpc/PublicSubnet2/NATGateway`: removed; outgoing connections of its zone break."],
    ),
    "the worst first": (
        together(
            setting("Operations/Backup/Function", "MemorySize", 512),
            setting(DB, "DBInstanceClass", "db.t4g.large"),
            lambda edits: edits.remove("Network/Network/Vpc/PublicSubnet2/EIP"),
        ),
        [
            "`Network/Network/Vpc/PublicSubnet2/EIP`: removed; outgoing connections come from another address: update allow-lists elsewhere.",
            f"`{DB}`: the database restarts with a failover to the standby, 1 to 2 minutes (`DBInstanceClass`).",
            "`Operations/Backup/Function`: the next invocation runs the new version.",
        ],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def comparisons(production: Assembly, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    return compare_all(production, {name: edit for name, (edit, _) in CASES.items()}, tmp_path_factory.mktemp("changed"))


@pytest.mark.parametrize("name", CASES)
def test_interruption_has_this_text(name: str, comparisons: dict[str, Comparison]) -> None:
    assert [one.words for one in interruptions(comparisons[name])] == CASES[name][1]


def test_database_without_standby_is_down_for_minutes(production: Assembly, tmp_path: Path) -> None:
    edits = Edits(production)
    edits.set(DB, "MultiAZ", False)
    alone = Assembly(edits.write(tmp_path / "alone"))
    edits.set(DB, "DBInstanceClass", "db.t4g.large")
    (one,) = interruptions(compare(alone, Assembly(edits.write(tmp_path / "changed"))))
    assert one.words == f"`{DB}`: the database restarts, several minutes: it has no standby (`DBInstanceClass`)."
