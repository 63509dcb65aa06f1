"""`./carmen bootstrap` creates the service-linked roles that the stacks need, and tolerates those that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import cfnlint
import pytest
from botocore.exceptions import ClientError

from tests.cli.conftest import main
from tests.conftest import ROOT, Built
from tools.account.service_linked_roles import ROLES, create

# CloudFormation service → principal. Elastic Load Balancing's resource type names no permission, but its guide the role.
PRINCIPALS = {
    "ApplicationAutoScaling": "ecs.application-autoscaling.amazonaws.com",
    "Backup": "backup.amazonaws.com",
    "CloudFront": "vpcorigin.cloudfront.amazonaws.com",
    "ECS": "ecs.amazonaws.com",
    "ElastiCache": "elasticache.amazonaws.com",
    "ElasticLoadBalancingV2": "elasticloadbalancing.amazonaws.com",
    "RDS": "rds.amazonaws.com",
    "WAFv2": "wafv2.amazonaws.com",
}
# Types whose handler may create a role for a feature that we do not use.
UNUSED = {
    "AWS::DynamoDB::Table": "for replicas and provisioned capacity with auto scaling",
    "AWS::EC2::FlowLog": "for delivery to Firehose; ours go to CloudWatch Logs with a role of their own",
}


class Iam:
    """IAM with some roles; answers as IAM does for one that exists."""

    def __init__(self, *existing: str, refuses: str = "") -> None:
        self.existing, self.refuses, self.created = existing, refuses, list[str]()

    def create_service_linked_role(self, AWSServiceName: str) -> dict[str, Any]:
        if AWSServiceName == self.refuses:
            raise self._error("AccessDenied", "is not authorized to perform: iam:CreateServiceLinkedRole")
        if AWSServiceName in self.existing:
            name = ROLES[AWSServiceName]
            raise self._error("InvalidInput", f"Service role name {name} has been taken in this account, please try a different suffix.")
        self.created.append(AWSServiceName)
        return {}

    def _error(self, code: str, message: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": message}}, "CreateServiceLinkedRole")


class Session:
    def __init__(self, iam: Iam, account: str) -> None:
        self._iam, self._account = iam, account

    def client(self, service: str) -> Any:
        return self._iam if service == "iam" else self

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": self._account}


def test_existing_roles_are_tolerated() -> None:
    iam = Iam("rds.amazonaws.com")
    assert dict(create(iam)) == {name: principal != "rds.amazonaws.com" for principal, name in ROLES.items()}
    assert set(iam.created) == ROLES.keys() - {"rds.amazonaws.com"}


def test_other_refusals_are_errors() -> None:
    with pytest.raises(ClientError, match="not authorized"):
        list(create(Iam(refuses="rds.amazonaws.com")))
    wrong = Iam()
    wrong.create_service_linked_role = lambda AWSServiceName: (_ for _ in ()).throw(  # type: ignore[method-assign]
        wrong._error("InvalidInput", "Invalid service name")
    )
    with pytest.raises(ClientError, match="Invalid service name"):
        list(create(wrong))


def test_every_type_that_may_create_a_role_is_covered(built: Built) -> None:
    """Source: the permissions of the resource types' handlers in AWS's schemas (cfn-lint's copy)."""
    used = {resource["Type"] for template in built.templates.values() for resource in template["Resources"].values()}
    schemas = [json.loads(path.read_text()) for path in (Path(cfnlint.__file__).parent / "data/schemas/resources").glob("*.json")]
    creating = {
        schema["typeName"]
        for schema in schemas
        for handler in schema.get("handlers", {}).values()
        if "iam:CreateServiceLinkedRole" in handler.get("permissions", [])
    }
    assert len(creating & used) > 5
    assert {kind.split("::")[1] for kind in (creating & used) - UNUSED.keys()} <= PRINCIPALS.keys()
    assert {service for service in PRINCIPALS if any(kind.split("::")[1] == service for kind in used | creating)} == PRINCIPALS.keys()
    assert set(PRINCIPALS.values()) == ROLES.keys()


def test_roles_are_listed_in_the_guide() -> None:
    guide = (ROOT / "docs" / "first-pipeline.md").read_text(encoding="utf-8")
    assert [name for name in ROLES.values() if f"`{name}`" not in guide] == []


@pytest.mark.parametrize(
    ("account", "lines"),
    [
        ("000000000000", [f"Created the service-linked role {name}." for name in list(ROLES.values())[1:]]),
        ("111111111111", ["The service-linked roles were not created: these credentials belong to account 111111111111."]),
    ],
)
def test_bootstrap_creates_roles_in_the_account_it_prepared(
    account: str, lines: list[str], fake_cdk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    iam = Iam("ecs.amazonaws.com")
    monkeypatch.setattr(boto3, "Session", lambda **_: Session(iam, account))
    fake_cdk.write_text("exit 0", encoding="utf-8")
    assert main(["bootstrap", "aws://000000000000/us-east-1"]) == 0
    output = capfd.readouterr().out
    assert all(line in output for line in lines)
    assert bool(iam.created) == (account == "000000000000")


def test_failed_bootstrap_creates_no_role(fake_cdk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = Iam()
    monkeypatch.setattr(boto3, "Session", lambda **_: Session(iam, "000000000000"))
    monkeypatch.setattr("tools.cli.cdk.missing_credentials", lambda: None)
    monkeypatch.setattr("tools.cli.cdk.refused_credentials", lambda: None)
    fake_cdk.write_text("exit 7", encoding="utf-8")
    assert main(["bootstrap", "aws://000000000000/us-east-1"]) == 7
    assert iam.created == []
