from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tools.cli.commands import secrets


class Aws:
    """Clients that answer what they were told to, and reach nobody."""

    def __init__(self) -> None:
        offline = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
        self._clients = {name: offline.client(name) for name in ("cloudformation", "secretsmanager")}
        self.told = {name: Stubber(client) for name, client in self._clients.items()}
        for stubber in self.told.values():
            stubber.activate()

    def client(self, name: str) -> Any:
        return self._clients[name]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    stand_in = Aws()
    monkeypatch.setattr(boto3, "Session", lambda region_name: stand_in)
    return stand_in


def _stack(**outputs: str) -> dict[str, Any]:
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return {"Stacks": [{"StackName": "CarmenProd", "CreationTime": "2026-11-24", "StackStatus": "CREATE_COMPLETE", "Outputs": listed}]}


def test_what_is_empty_is_told_with_the_command_that_fills_it(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.told["cloudformation"].add_response("describe_stacks", _stack(SecretsToFill="SMTP_PASSWORD: smtp-1, SENTRY_DSN: sentry-1"))
    for value in ("given", ""):
        aws.told["secretsmanager"].add_response("get_secret_value", {"SecretString": json.dumps({"value": value})})
    assert secrets.main(["prod"]) == 0
    said = capsys.readouterr().out
    assert "SMTP_PASSWORD: given\nSENTRY_DSN: still empty\n  aws secretsmanager put-secret-value --secret-id 'sentry-1'" in said


def test_a_stack_that_is_not_there(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.told["cloudformation"].add_client_error("describe_stacks", "ValidationError", "Stack with id CarmenProd does not exist")
    assert secrets.main(["prod"]) == 1
    assert capsys.readouterr().err == (
        "CarmenProd is not there in us-east-1, in the account of these credentials: `make deploy ENV=prod` makes it.\n"
    )


def test_a_stack_whose_deployment_has_not_ended(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.told["cloudformation"].add_response("describe_stacks", _stack())
    assert secrets.main([]) == 1
    assert "CarmenProd has no output SecretsToFill yet in us-east-1" in capsys.readouterr().err


def test_what_aws_refuses_is_passed_on(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.told["cloudformation"].add_client_error("describe_stacks", "ExpiredToken", "The security token is expired")
    assert secrets.main(["prod"]) == 1
    assert capsys.readouterr().err == (
        "AWS did not answer as hoped: An error occurred (ExpiredToken) when calling the DescribeStacks operation: The security token is expired\n"
    )
