"""`./carmen preflight` and `./carmen postflight`: findings and the exit code."""

from __future__ import annotations

import io
import json

import pytest

from settings.loader import validated
from tests.cli.fakes import Aws, deployed
from tools.cli.commands import checklist
from tools.environment import Deployed, FailedError, NotDeployedError


def test_checklist_with_a_failed_check_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(environment: Deployed) -> checklist.Finding:
        raise NotDeployedError("CarmenProd is not deployed")

    def well(environment: Deployed) -> checklist.Finding:
        return checklist.Finding(True, "as it should be")

    monkeypatch.setattr(checklist, "CHECKS", {"preflight": (well, missing), "postflight": (well, missing)})
    checklist.run_checks(deployed(), "preflight")
    with pytest.raises(FailedError, match="1 of 2 checks failed"):
        checklist.run_checks(deployed(), "postflight")
    output = capsys.readouterr().out
    assert "✓ well: as it should be\n- missing: CarmenProd is not deployed" in output
    assert "✗ missing: CarmenProd is not deployed\n\nTo be checked by a person:\n  [ ] A person signed in" in output


def _rds(default: list[str], storage: str = "gp3", multi_az: bool = True) -> Deployed:
    """What RDS answers in us-east-1, shortened to the fields that are read."""
    return deployed(
        describe_db_engine_versions={"DBEngineVersions": [{"EngineVersion": version} for version in default]},
        describe_orderable_db_instance_options=[{"OrderableDBInstanceOptions": [{"StorageType": storage, "MultiAZCapable": multi_az}]}],
    )


def test_database_version_must_be_offered_with_its_class() -> None:
    good = checklist.database_version_is_offered(_rds(["17.9"]))
    assert good == checklist.Finding(True, "a new database gets PostgreSQL 17.9 on db.t4g.medium")
    for environment, reason in (
        (_rds([]), "no PostgreSQL 17 in us-east-1: change [database] engine_major"),
        (_rds(["17.9"], storage="io1"), "no db.t4g.medium with gp3 in two zones for PostgreSQL 17.9"),
        (_rds(["17.9"], multi_az=False), "change [database] instance_class"),
    ):
        found = checklist.database_version_is_offered(environment)
        assert found.good is False
        assert reason in found.text


def _cache(offered: list[str], running: str) -> Deployed:
    resource = {"ResourceType": "AWS::ElastiCache::ReplicationGroup", "LogicalResourceId": "Redis", "PhysicalResourceId": "ours"}
    node = {"ReplicationGroupId": "ours", "Engine": "valkey", "EngineVersion": running}
    return deployed(
        list_stack_resources=[{"StackResourceSummaries": [resource]}],
        describe_cache_engine_versions=[{"CacheEngineVersions": [{"EngineVersion": version} for version in offered]}],
        describe_cache_clusters=[{"CacheClusters": [node, {**node, "ReplicationGroupId": "other", "EngineVersion": "9.0.0"}]}],
    )


@pytest.mark.parametrize(
    ("offered", "running", "good", "text"),
    [
        (["8.0", "8.1"], "8.1.0", True, "the cache runs valkey 8.1"),
        (["8.1", "8.2"], "8.1.0", True, "the cache runs valkey 8.1; 8.2 exists, upgrade with CACHE_ENGINES in settings/constants.py"),
        (["8.1", "8.2"], "8.2.0", False, "ours runs valkey 8.2.0, and the template's 8.1 would be a downgrade: change CACHE_ENGINES"),
        (["8.2", "9.0"], "8.1.0", False, "ElastiCache offers valkey 8.2, 9.0, not 8.1: change CACHE_ENGINES"),
    ],
)
def test_cache_version_must_be_offered_and_no_downgrade(offered: list[str], running: str, good: bool, text: str) -> None:
    found = checklist.cache_version_is_offered(_cache(offered, running))
    assert (found.good, found.text.startswith(text)) == (good, True), found.text


@pytest.mark.parametrize(
    ("answer", "good", "text"),
    [
        ({"Changes": "0", "Advice": ""}, True, "no table is hidden from backups"),
        ({"Changes": "0", "Advice": "Row-level security hides t"}, False, "Row-level security hides t"),
        ({"errorMessage": "no database"}, False, "the database-roles function failed: no database"),
    ],
)
def test_tables_hidden_from_backups_fail_postflight(answer: dict[str, str], good: bool, text: str) -> None:
    resource = {"ResourceType": "AWS::Lambda::Function", "LogicalResourceId": "DatabaseRolesFunction1", "PhysicalResourceId": "roles"}
    environment = deployed(
        list_stack_resources=[{"StackResourceSummaries": [resource]}],
        invoke={"Payload": io.BytesIO(json.dumps(answer).encode()), **({"FunctionError": "Unhandled"} if "errorMessage" in answer else {})},
    )
    assert checklist.backup_can_read_every_table(environment) == checklist.Finding(good, text)


class Regions:
    """Stacks and alarms by region."""

    def __init__(self, **found: list[dict[str, str]]) -> None:
        self._found = found

    def client(self, service: str, *, region_name: str) -> Aws:
        found = self._found.get(region_name.replace("-", "_"), [])
        pages = [{"Stacks": found, "MetricAlarms": found}]
        return Aws(describe_stacks=pages, describe_alarms=pages)


@pytest.mark.parametrize(
    ("status", "good"),
    [
        ("CREATE_COMPLETE", True),
        ("UPDATE_COMPLETE", True),
        *((one, False) for one in ("UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED", "UPDATE_IN_PROGRESS")),
    ],
)
def test_stack_in_the_second_region_counts_and_a_rollback_is_no_success(status: str, good: bool) -> None:
    """Source: AWS CloudFormation User Guide, "Stack status codes"."""
    settings = validated({"region": "eu-west-1", "network": {"zones": ["euw1-az1", "euw1-az2"]}}, "prod")
    stacks = [{"StackName": "CarmenProdEdgeGlobal", "StackStatus": status}, {"StackName": "Other", "StackStatus": "CREATE_FAILED"}]
    home = [{"StackName": "CarmenProd", "StackStatus": "CREATE_COMPLETE"}]
    found = checklist.stacks_are_complete(Deployed(settings, Regions(us_east_1=stacks, eu_west_1=home)))
    assert found.good is good
    assert found.text == ("2 stacks are complete" if good else f"CarmenProdEdgeGlobal is {status}")


def test_alarms_of_all_regions_count() -> None:
    settings = validated({"region": "eu-west-1", "network": {"zones": ["euw1-az1", "euw1-az2"]}}, "prod")
    alarms = [{"AlarmName": "CarmenProdEdgeGlobal-Errors"}]
    assert checklist.nothing_is_in_alarm(Deployed(settings, Regions(us_east_1=alarms))).text == "in alarm: CarmenProdEdgeGlobal-Errors"
