"""Forty changes of production's settings, deployed one after another to the embedded AWS, and changes that it must refuse.

Each deployment takes back the previous change and makes the next one, so both directions are deployed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.deployment import Deployment, DeploymentError
from settings.changes import FIXED, kind
from settings.loader import merge
from settings.model import Settings
from tests.updates.judge import Synthesis
from tests.updates.rows import Row, rows

pytestmark = pytest.mark.nightly
COUNT, SEED = 40, 16
# Refused half-way before ADR 0025; those in a stated order too: their steps are deployments.
KNOWN = (
    *("network.nat_instances", "operations.scheduled_backups", "storage.object_lock", "database.proxy", "alarms.watched"),
    *("network.nat_gateways", "tags.owner", "edge.all_firewall_rules", "cache.failover"),
)
# What the embedded AWS does not have: a public hosted zone, another region, another account, pipelines with their boundary; and what
# takes two deployments.
NOT_HERE = ("domain", "region", "account", "pipeline", "storage.backup_copy_region", "working_hours", "cache.replicas")
NAT_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-arm64"  # Amazon's public parameter
Json = dict[str, Any]


def chosen() -> list[Row]:
    """The known faults, and a seeded sample of other changes that no field forbids."""
    possible = {row.key: row for row in reversed(rows("prod")) if row.key.split(".")[0] not in NOT_HERE and row.key not in NOT_HERE}
    others = [row for key, row in sorted(possible.items()) if kind(key) != FIXED and key not in KNOWN]
    return [*(possible[key] for key in KNOWN), *random.Random(SEED).sample(others, COUNT - len(KNOWN))]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    running = Deployment(tmp_path_factory.mktemp("deployments") / "run")
    running.start()
    running.client("ssm").put_parameter(Name=NAT_IMAGE, Type="String", Value="ami-0123456789abcdef0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def deploy(deployment: Deployment) -> Iterator[Callable[[Json], list[str]]]:
    """Deploy settings: the stacks that changed, in order. The first call deploys everything."""
    synthesis = Synthesis(deployment.folder)

    def deploy(settings: Json) -> list[str]:
        shutil.rmtree(deployment.assembly, ignore_errors=True)
        synthesis.write(settings, deployment.assembly)
        if not deployment.stacks():
            deployment.bootstrap()
        changed = deployment.changed()
        deployment.deploy(*changed)
        assert deployment.changed() == []
        return changed

    yield deploy
    synthesis.close()


def test_forty_changes_deploy(deploy: Callable[[Json], list[str]]) -> None:
    changes = chosen()
    assert len({row.key for row in changes}) == COUNT
    base = changes[0].base
    deploy(base)
    for row in changes:
        assert deploy(row.head), f"{row}: no template changed"
    assert deploy(base)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"network": {"zones": ("use1-az1", "use1-az2")}}, "Cannot delete export .* as it is in use by"),
        ({"network": {"zones": ("use1-az2", "use1-az1", "use1-az4")}}, "already exists"),
        ({"network": {"cidr": "10.99.0.0/16"}}, "cannot be changed in place|in use by"),
    ],
)
def test_fixed_settings_are_refused(change: Json, reason: str, deploy: Callable[[Json], list[str]]) -> None:
    """And the deployment before it can be repeated."""
    base = rows("prod")[0].base
    deploy(base)
    with pytest.raises(DeploymentError, match=reason):
        deploy(Settings.model_validate(merge(base, change)).model_dump(mode="json"))
    deploy(base)
