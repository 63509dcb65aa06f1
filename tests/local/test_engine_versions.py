"""Engine versions on the embedded AWS: refused where RDS refuses, kept where RDS keeps them.

Sources: RDS API, ModifyDBInstance "EngineVersion": "If you specify only a major version, Amazon RDS updates the DB instance to the
default minor version if the current minor version is lower"; "Cannot upgrade postgres from 9.6.11 to 9.6.6" (hashicorp/terraform#22462);
CloudFormation sends the version only if the template changes it (Translator.modifyDbInstanceRequest in
aws-cloudformation/aws-cloudformation-resource-providers-rds).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ministack.services import rds as ministack_rds
from ministack.services.cloudformation import provisioners

from local.emulator.handlers import rds

KIND = "AWS::RDS::DBInstance"


@pytest.mark.parametrize(
    ("running", "wanted", "result"),
    [("17.10", "17", "17.11"), ("17.11", "17", "17.11"), ("17.12", "17", "17.12"), ("17.10", "17.12", "17.12"), ("9.6.11", "18", "18.6")],
)
def test_version_after_a_change(running: str, wanted: str, result: str) -> None:
    assert rds.resulting_version(running, wanted, major_upgrade=True) == result


@pytest.mark.parametrize(
    ("running", "wanted", "major_upgrade", "reason"),
    [
        ("17.12", "17.11", True, "Cannot upgrade postgres from 17.12 to 17.11"),
        ("17.11", "16", True, "Cannot upgrade postgres from 17.11 to 16.15"),
        ("17.11", "18", False, "AllowMajorVersionUpgrade flag must be present"),
    ],
)
def test_downgrade_and_unintended_major_upgrade_are_refused(running: str, wanted: str, major_upgrade: bool, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rds.resulting_version(running, wanted, major_upgrade=major_upgrade)


Update = Callable[[dict[str, Any], dict[str, Any]], str]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Update:
    """An instance created with major version 17; updates it and returns the version that RDS describes."""
    monkeypatch.setattr(provisioners, "_RESOURCE_HANDLERS", dict(provisioners._RESOURCE_HANDLERS))
    monkeypatch.setattr(ministack_rds, "_ACTION_MAP", dict(ministack_rds._ACTION_MAP))
    monkeypatch.setattr(ministack_rds, "_instances", {})
    rds.register()
    handler = provisioners._RESOURCE_HANDLERS[KIND]
    name, _ = handler["create"]("Database", {"Engine": "postgres", "EngineVersion": "17", "DBInstanceClass": "db.t4g.small"}, "stack")

    def update(old: dict[str, Any], new: dict[str, Any]) -> str:
        base = {"Engine": "postgres", "EngineVersion": "17", "DBInstanceClass": "db.t4g.small", "AllowMajorVersionUpgrade": False}
        handler["update"](name, {**base, **old}, {**base, **new}, "stack", "Database")
        return str(ministack_rds._instances[name]["EngineVersion"])

    return update


def test_update_keeps_an_upgraded_minor_version(stack: Update) -> None:
    assert stack({}, {"DBInstanceClass": "db.t4g.medium"}) == "17.11"
    (name,) = ministack_rds._instances
    ministack_rds._ACTION_MAP["ModifyDBInstance"]({"DBInstanceIdentifier": name, "EngineVersion": "17.12", "ApplyImmediately": "true"})
    assert stack({"DBInstanceClass": "db.t4g.medium"}, {}) == "17.12"
    assert stack({"EngineVersion": "17.11"}, {"EngineVersion": "17"}) == "17.12"
    with pytest.raises(ValueError, match=r"Cannot upgrade postgres from 17\.12 to 17\.11"):
        stack({}, {"EngineVersion": "17.11"})
    with pytest.raises(ValueError, match="AllowMajorVersionUpgrade"):
        stack({}, {"EngineVersion": "18"})
    assert stack({}, {}) == "17.12"


def test_cache_is_not_downgraded() -> None:
    """Source: ElastiCache API, ModifyReplicationGroup: "you cannot downgrade to an earlier engine version"."""
    versions = [
        {"Engine": engine, "EngineVersion": version} for engine, version in (("valkey", "8.1"), ("valkey", "8.0"), ("redis", "7.1"))
    ]
    rds.before_cache_update("group", versions[1], versions[0])
    rds.before_cache_update("group", versions[0], versions[2])
    with pytest.raises(ValueError, match=r"valkey cannot be downgraded from 8\.1 to 8\.0"):
        rds.before_cache_update("group", versions[0], versions[1])


def test_api_refuses_a_downgrade(stack: Update) -> None:
    (name,) = ministack_rds._instances
    status, _, body = ministack_rds._ACTION_MAP["ModifyDBInstance"]({"DBInstanceIdentifier": name, "EngineVersion": "17.10"})
    assert (status, b"InvalidParameterCombination" in body, b"from 17.11 to 17.10" in body) == (400, True, True)
