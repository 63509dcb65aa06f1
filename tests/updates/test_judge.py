"""The judge refuses what CloudFormation refuses: changes made by hand in production's templates, each with its public source."""

from __future__ import annotations

import pytest

from tests.reports.changed_templates import Edit, Edits, compare_all, setting, together
from tests.updates.judge import findings
from tools.reports.assembly import Assembly
from tools.reports.diff.collect import Comparison
from tools.reports.diff.unsupported_updates import refusal

CACHE, DATABASE, ORIGIN = "Data/Cache/Redis", "Data/Database/Instance", "Edge/Balancer/VpcOrigin"
BALANCER, GATEWAY = "Edge/Balancer/LoadBalancer", "Network/Network/Vpc/PublicSubnet1/NATGateway"
MAIL, FINDER = "Alerts/Alerts/EmailTopic", "Edge/Balancer/OriginSecurityGroup/Function"
ONE_NODE = together(
    setting(CACHE, "NumCacheClusters", 1), setting(CACHE, "AutomaticFailoverEnabled", False), setting(CACHE, "MultiAZEnabled", False)
)


def _renamed(path: str) -> Edit:
    return lambda edits: edits.rename(path, "Other01234567")


def _in_another_subnet(edits: Edits) -> None:
    subnet = edits.logical_id("Network/Network/Vpc/PublicSubnet3/Subnet")
    edits.set(GATEWAY, "SubnetId", {"Ref": subnet})


# Change → (edit, part of the reason).
REFUSED: dict[str, tuple[Edit, str]] = {
    "another type": (
        lambda edits: edits.resource("Edge/Edge/ViewerRequest").update(Type="AWS::CloudFront::CachePolicy"),
        "Update of resource type is not permitted",
    ),
    "another function behind a custom resource": (_renamed(FINDER), "Modifying service token is not allowed"),
    "a VPC origin in use": (
        setting(ORIGIN, "VpcOriginEndpointConfig.HTTPPort", 8080),
        "currently associated with one or more distributions",
    ),
    "tags of a VPC origin in use": (setting(ORIGIN, "Tags", [{"Key": "one", "Value": "two"}]), "currently associated"),
    "no replica and no failover at once": (ONE_NODE, "in two deployments"),
    "first snapshots of a cache": (setting(CACHE, "SnapshotRetentionLimit", 5), "SnapshottingClusterId"),
    "less storage": (setting(DATABASE, "AllocatedStorage", "10"), "RDS cannot reduce"),
    "a little more storage": (setting(DATABASE, "AllocatedStorage", "21"), "at least a tenth"),
    "a gateway with the address of the old one": (_in_another_subnet, "same `AllocationId`"),
    "a flow log under another id": (_renamed("Network/Network/FlowLog"), "same `ResourceId`"),
    "a protected load balancer under another id": (_renamed(BALANCER), "deletion protection"),
}
ACCEPTED: dict[str, Edit] = {
    "another replica": setting(CACHE, "NumCacheClusters", 3),
    "no failover": together(setting(CACHE, "AutomaticFailoverEnabled", False), setting(CACHE, "MultiAZEnabled", False)),
    "more storage": setting(DATABASE, "AllocatedStorage", "22"),
    "other code behind a custom resource": setting(FINDER, "Code.S3Key", f"{'ab' * 32}.zip"),
    "a VPC origin under another id and name": together(
        setting(ORIGIN, "VpcOriginEndpointConfig.Name", "another"),
        lambda edits: edits.rename(ORIGIN, "Other01234567", "Balancer/VpcOriginHttps/Resource"),
    ),
}


@pytest.fixture(scope="module")
def comparisons(production: Assembly, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    edits = {name: edit for name, (edit, _) in REFUSED.items()} | ACCEPTED
    return compare_all(production, edits, tmp_path_factory.mktemp("judged"))


@pytest.mark.parametrize("name", REFUSED)
def test_change_is_refused(name: str, comparisons: dict[str, Comparison]) -> None:
    words = [finding.words for finding in findings(comparisons[name])]
    assert [one for one in words if REFUSED[name][1] in one], words


@pytest.mark.parametrize("name", ACCEPTED)
def test_change_is_accepted(name: str, comparisons: dict[str, Comparison]) -> None:
    assert comparisons[name].changes
    assert [finding.words for finding in findings(comparisons[name])] == []


def test_named_resource_that_is_replaced_is_refused(production: Assembly, tmp_path_factory: pytest.TempPathFactory) -> None:
    """convox/rack#2941: "cannot update a stack when a custom-named resource requires replacing"."""
    edits = Edits(production)
    edits.set(MAIL, "TopicName", "mail")
    named = Assembly(edits.write(tmp_path_factory.mktemp("named") / "base"))
    compared = compare_all(named, {"fifo": setting(MAIL, "FifoTopic", True)}, tmp_path_factory.mktemp("fifo"))
    assert any("same `TopicName`" in finding.words for finding in findings(compared["fifo"]))


@pytest.mark.parametrize(
    ("old", "new", "refused"), [("17.11", "17.9", True), ("17.9", "17.11", False), ("17.11", "17", False), ("17", "17.4", False)]
)
def test_minor_version_of_the_database_never_falls(old: str, new: str, refused: bool) -> None:
    """guardian/typerighter#132. ModifyDBInstance: a major version alone means "if the current minor version is lower" (ADR 0023)."""
    assert bool(refusal("AWS::RDS::DBInstance", {"EngineVersion": old}, {"EngineVersion": new})) == refused
