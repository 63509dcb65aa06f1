"""Drift of an environment's stacks: detection, report and the lookup role."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import DefaultStackSynthesizer
from botocore.exceptions import ClientError

from settings.loader import load
from tests.cli.fakes import Account
from tools.environment import Deployed
from tools.reports import drift


class CloudFormation:
    """Stack drift detection. `stacks`: name → result of its detection."""

    def __init__(self, **stacks: dict[str, Any]) -> None:
        self.stacks = stacks
        self.polls = 0

    def detect_stack_drift(self, StackName: str) -> dict[str, str]:
        if StackName not in self.stacks:
            answer = {"Error": {"Code": "ValidationError", "Message": f"Stack [{StackName}] does not exist"}}
            raise ClientError(answer, "DetectStackDrift")
        if refused := self.stacks[StackName].get("refused"):
            raise ClientError({"Error": {"Code": refused[0], "Message": refused[1]}}, "DetectStackDrift")
        return {"StackDriftDetectionId": StackName}

    def describe_stack_drift_detection_status(self, StackDriftDetectionId: str) -> dict[str, str]:
        self.polls += 1
        if self.polls == 1:
            return {"DetectionStatus": "DETECTION_IN_PROGRESS"}
        return {
            "DetectionStatus": "DETECTION_COMPLETE",
            **self.stacks[StackDriftDetectionId].get("status", {"StackDriftStatus": "IN_SYNC"}),
        }

    def describe_stack_resource_drifts(self, StackName: str, NextToken: str = "", **_: Any) -> dict[str, Any]:
        pages: list[list[dict[str, Any]]] = self.stacks[StackName].get("pages", [[]])
        number = int(NextToken or 0)
        return {"StackResourceDrifts": pages[number]} | ({"NextToken": str(number + 1)} if number + 1 < len(pages) else {})


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


OPENED = {
    "LogicalResourceId": "Group",
    "ResourceType": "AWS::EC2::SecurityGroup",
    "StackResourceDriftStatus": "MODIFIED",
    "PropertyDifferences": [{"PropertyPath": "/SecurityGroupIngress/0/CidrIp", "ExpectedValue": "10.0.0.0/16", "ActualValue": "any | one"}],
}
GONE = {"LogicalResourceId": "Alarm", "ResourceType": "AWS::CloudWatch::Alarm", "StackResourceDriftStatus": "DELETED"}
DRIFTED = {"status": {"StackDriftStatus": "DRIFTED"}, "pages": [[OPENED], [GONE]]}


def test_drift_lists_resource_property_and_both_values() -> None:
    client = CloudFormation(CarmenProdNetwork=DRIFTED, CarmenProdData={})
    found = drift.detect({"us-east-1": client}, [("CarmenProdNetwork", "us-east-1"), ("CarmenProdData", "us-east-1")])
    report = drift.markdown("prod", found)
    assert "1 of 2 stacks match their templates." in report
    assert "| Group (AWS::EC2::SecurityGroup) | SecurityGroupIngress.0.CidrIp | 10.0.0.0/16 | any \\| one |" in report
    assert "| Alarm (AWS::CloudWatch::Alarm) |  | exists | deleted |" in report
    assert "CarmenProdData" not in report


def test_unreadable_stack_is_not_in_sync() -> None:
    failed = {"status": {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": "not allowed: s3:GetBucketPolicy"}}
    client = CloudFormation(CarmenProdStorage=failed)
    found = drift.detect({"us-east-1": client}, [("CarmenProdStorage", "us-east-1"), ("CarmenProdEdge", "us-east-1")])
    assert [stack.in_sync for stack in found] == [False, False]
    report = drift.markdown("prod", found)
    assert "Drift unknown (UNKNOWN): not allowed: s3:GetBucketPolicy" in report
    assert "Not deployed" in report


def test_report_without_drift_is_one_line() -> None:
    found = drift.detect({"us-east-1": CloudFormation(CarmenProd={})}, [("CarmenProd", "us-east-1")])
    assert drift.markdown("prod", found) == "# Drift of prod\n\nAll stacks match their templates.\n"


def test_detection_timeout_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    client = CloudFormation(CarmenProd={"status": {"DetectionStatus": "DETECTION_IN_PROGRESS"}})
    monkeypatch.setattr(drift, "PATIENCE_SECONDS", 0)
    (found,) = drift.detect({"us-east-1": client}, [("CarmenProd", "us-east-1")])
    assert (found.in_sync, found.reason) == (False, "drift detection did not end within 0 minutes")


@pytest.mark.parametrize("code", ["AccessDenied", "ValidationError"])
def test_unauthorized_stack_is_listed_as_unknown(code: str) -> None:
    client = CloudFormation(
        CarmenProdData={"refused": (code, "is not authorized to perform: cloudformation:DetectStackDrift")}, CarmenProd={}
    )
    found = drift.detect({"us-east-1": client}, [("CarmenProdData", "us-east-1"), ("CarmenProd", "us-east-1")])
    assert [stack.state for stack in found] == ["UNKNOWN", "IN_SYNC"]
    assert "Drift unknown (UNKNOWN): is not authorized to perform: cloudformation:DetectStackDrift" in drift.markdown("prod", found)


def test_other_aws_errors_are_raised() -> None:
    client = CloudFormation(CarmenProd={"refused": ("ExpiredToken", "The security token is expired")})
    with pytest.raises(ClientError):
        drift.detect({"us-east-1": client}, [("CarmenProd", "us-east-1")])


def test_stacks_have_their_regions() -> None:
    stacks = dict(drift.stacks_of(load("prod").model_copy(update={"region": "eu-central-1"})))
    assert len(stacks) == 11
    assert {name for name, region in stacks.items() if region == "us-east-1"} == {
        *("CarmenProdEdgeGlobal", "CarmenProdEdgeAlarms", "CarmenProdBudget"),
    }
    assert list(stacks)[-2:] == ["CarmenProd", "CarmenProdBudget"]


class Sts:
    """Returns credentials of the lookup role, or fails with `error`."""

    def __init__(self, error: str | None, operation: str = "AssumeRole") -> None:
        self.error, self.operation = error, operation

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012"}

    def assume_role(self, RoleArn: str, RoleSessionName: str) -> dict[str, Any]:
        assert RoleArn == "arn:aws:iam::123456789012:role/cdk-hnb659fds-lookup-role-123456789012-eu-central-1"
        if self.error:
            raise ClientError({"Error": {"Code": self.error, "Message": "not authorized to perform: sts:…"}}, self.operation)
        return {"Credentials": {"AccessKeyId": "lookup-key", "SecretAccessKey": "x", "SessionToken": "y"}}


class Session:
    """A session with own credentials."""

    def __init__(self, error: str | None, operation: str = "AssumeRole") -> None:
        self.sts = Sts(error, operation)

    def client(self, service: str, region_name: str | None = None) -> Any:
        return self.sts if service == "sts" else f"own in {region_name}"


def test_drift_uses_the_lookup_role_or_own_credentials() -> None:
    client = drift.lookup_client(Session(None), load("prod"), "eu-central-1")
    assert client._request_signer._credentials.access_key == "lookup-key"
    assert client.meta.region_name == "eu-central-1"
    assert drift.lookup_client(Session("AccessDenied"), load("prod"), "eu-central-1") == "own in eu-central-1"
    with pytest.raises(ClientError):
        drift.lookup_client(Session("ExpiredToken"), load("prod"), "eu-central-1")


def test_refusal_of_sts_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The refused lookup role, before the own credentials fail with less; a refused token of the pipeline ends the command."""
    drift.lookup_client(Session("AccessDenied"), load("prod"), "eu-central-1")
    assert "AWS refused AssumeRole: not authorized to perform: sts:…" in capsys.readouterr().err
    with pytest.raises(ClientError, match=r"AssumeRoleWithWebIdentity operation: not authorized"):
        drift.lookup_client(Session("AccessDenied", "AssumeRoleWithWebIdentity"), load("prod"), "eu-central-1")


def test_lookup_role_has_the_cdks_qualifier() -> None:
    assert drift.QUALIFIER == DefaultStackSynthesizer.DEFAULT_QUALIFIER


def test_image_parameter_that_differs_from_what_runs_is_drift() -> None:
    """No stack drift shows it: CloudFormation reads the parameter at updates only."""
    account = Account("one")
    assert drift.image_drift(Deployed(load("prod"), account)).in_sync
    found = drift.image_drift(Deployed(load("prod"), account.name_by_hand("two")))
    assert not found.in_sync
    assert "The image parameter names two, but one runs. `./carmen release list`" in drift.markdown("prod", [found])
