"""`./carmen destroy` with a fake account: order, protections, what is retained, confirmation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from settings.loader import load
from tests.cli.conftest import main
from tools.cli.commands.destroy import BALANCER, CACHE, INSTANCE, destroy
from tools.cli.stack_removal import BUCKET, StackRemoval
from tools.environment import Deployed, RefusedError

STACKS = [("CarmenDevNetwork", "us-east-1"), ("CarmenDevStorage", "us-east-1"), ("CarmenDevData", "us-east-1"), ("CarmenDev", "eu-west-1")]
PARAMETERS = "/carmen/dev/image-release-lock", "/carmen/dev/image"
KEY = "AWS::KMS::Key"


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Any")


class Account:
    """`resources`: (stack, logical id, type, physical id, deletion policy). `on`: protections, and what still exists."""

    def __init__(self, *on: str) -> None:
        self.on, self.done, self.deleted = set(on), list[str](), set[str]()
        self.resources = [
            ("CarmenDevStorage", "Key", KEY, "key-1", "RetainExceptOnCreate"),
            ("CarmenDevStorage", "Uploads", BUCKET, "kept", "Retain"),
            ("CarmenDevStorage", "Logs", BUCKET, "logs", "Delete"),
            ("CarmenDevData", "Database", INSTANCE, "db-1", "Retain" if "retained" in on else "Delete"),
            ("CarmenDevData", "Cache", CACHE, "cache-1", "Retain" if "retained" in on else "Delete"),
            ("CarmenDevData", "Balancer", BALANCER, "arn:balancer", "Delete"),
        ]

    def client(self, service: str, region_name: str) -> Client:
        return Client(self, region_name)


class Client:
    def __init__(self, account: Account, region: str) -> None:
        self.account, self.region = account, region

    def get_paginator(self, method: str) -> Any:
        return type("Pages", (), {"paginate": lambda _, **arguments: [getattr(self, method)(**arguments)]})()

    def get_waiter(self, name: str) -> Any:
        return type("Waiter", (), {"wait": lambda *_, **__: None})()

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName in self.account.deleted or (StackName, self.region) not in STACKS:
            raise refused("ValidationError")
        protected = "termination" in self.account.on
        return {"Stacks": [{"CreationTime": datetime.now(UTC), "StackStatus": "UPDATE_COMPLETE", "EnableTerminationProtection": protected}]}

    def get_template(self, StackName: str) -> dict[str, Any]:
        mine = [one for one in self.account.resources if one[0] == StackName]
        return {"TemplateBody": {"Resources": {key: {"DeletionPolicy": policy} for _, key, _, _, policy in mine}}}

    def list_stack_resources(self, StackName: str) -> dict[str, Any]:
        mine = [one for one in self.account.resources if one[0] == StackName]
        fields = ("LogicalResourceId", "ResourceType", "PhysicalResourceId")
        return {"StackResourceSummaries": [dict(zip(fields, one[1:4], strict=True)) for one in mine]}

    def describe_load_balancer_attributes(self, LoadBalancerArn: str) -> dict[str, Any]:
        return {"Attributes": [{"Key": "deletion_protection.enabled", "Value": "true" if "balancer" in self.account.on else "false"}]}

    def describe_db_instances(self, DBInstanceIdentifier: str) -> dict[str, Any]:
        if "gone" in self.account.on:
            raise refused("DBInstanceNotFound")
        return {"DBInstances": [{"DeletionProtection": "database" in self.account.on}]}

    def describe_replication_groups(self, ReplicationGroupId: str) -> dict[str, Any]:
        if "gone" in self.account.on:
            raise refused("ReplicationGroupNotFoundFault")
        return {"ReplicationGroups": [{"ReplicationGroupId": ReplicationGroupId}]}

    def list_object_versions(self, Bucket: str) -> dict[str, Any]:
        self.account.done.append(f"empties {Bucket}")
        return {}

    def delete_stack(self, StackName: str) -> None:
        self.account.deleted.add(StackName)
        self.account.done.append(StackName)

    def delete_log_group(self, logGroupName: str) -> None: ...

    def delete_parameter(self, Name: str) -> None:
        self.account.done.append(Name)


@pytest.fixture(autouse=True)
def _stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.reports.drift.stacks_of", lambda settings: [*STACKS, ("CarmenDevBudget", "us-east-1")])


def run(account: Account, confirmed: str | None = "dev") -> None:
    deployed = Deployed(load("dev"), account)
    destroy(deployed, StackRemoval(account, deployed.settings.regions, poll_seconds=1, say=lambda _: None), confirmed)


def test_stacks_are_deleted_in_reverse_order_in_their_regions(capsys: pytest.CaptureFixture[str]) -> None:
    """Retained buckets keep their objects, and everything retained is listed before the question and at the end."""
    account = Account()
    run(account)
    assert account.done == ["CarmenDev", "CarmenDevData", "empties logs", "CarmenDevStorage", "CarmenDevNetwork", *PARAMETERS]
    output, errors = capsys.readouterr()
    listed = f"Retained, 2 resources; delete them manually:\n  {KEY} key-1 (CarmenDevStorage)\n  {BUCKET} kept (CarmenDevStorage)\n"
    assert output == listed
    assert errors.startswith(listed)
    run(account)  # nothing is left, and nothing fails
    assert len(account.done) == 7


@pytest.mark.parametrize(
    ("on", "setting"),
    [
        (
            "termination",
            "termination protection of CarmenDevNetwork, CarmenDevStorage, CarmenDevData, CarmenDev: set `termination_protection = false`",
        ),
        ("balancer", "load balancer arn:balancer: set `termination_protection = false`"),
        ("database", "the database db-1: set `deletion_protection = false` in [database]"),
        ("retained database", "the database db-1: set `deletion_protection = false` in [database]"),
        ("retained", "the database db-1 is retained and uses the network: set `keep_data = false`"),
        ("retained", "aws elasticache delete-replication-group --replication-group-id cache-1"),
    ],
)
def test_protection_refuses_before_any_change(on: str, setting: str) -> None:
    account = Account(*on.split())
    with pytest.raises(RefusedError) as refusal:
        run(account)
    assert setting in str(refusal.value)
    assert "Change the settings in environments/dev.toml; then `./carmen deploy --env dev`, then `./carmen destroy" in str(refusal.value)
    assert account.done == []


def test_retained_database_that_was_deleted_manually_is_no_obstacle() -> None:
    account = Account("retained", "gone")
    run(account)
    assert account.done[-1] == "/carmen/dev/image"


@pytest.mark.parametrize("typed", ["", "prod", "Dev", "yes"])
def test_another_name_changes_nothing(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account()
    with pytest.raises(RefusedError, match=f"Nothing was changed: '{typed}' is not dev"):
        run(account, typed)
    with pytest.raises(RefusedError, match="with the option --confirm dev"):
        run(account, None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.prompt", lambda *_, **__: typed)
    with pytest.raises(RefusedError, match="is not dev"):
        run(account, None)
    assert account.done == []


def test_name_typed_on_a_terminal_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.prompt", lambda *_, **__: "dev")
    account = Account()
    run(account, None)
    assert account.done


def test_preview_is_removed_by_its_own_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tools.cli.options.connect", lambda name: Deployed(load(name), Account()))
    assert main(["destroy", "--env", "preview-pr-1", "--confirm", "preview-pr-1"]) == 2
    assert "a preview is removed with `./carmen preview remove pr-1`" in capsys.readouterr().err
