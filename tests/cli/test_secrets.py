"""`./carmen secrets`, and errors of AWS."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tests.cli.conftest import main


class Aws:
    """Clients with stubbed answers, without network."""

    def __init__(self) -> None:
        offline = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
        self._clients = {name: offline.client(name) for name in ("cloudformation", "secretsmanager")}
        self.stubs = {name: Stubber(client) for name, client in self._clients.items()}
        for stubber in self.stubs.values():
            stubber.activate()

    def client(self, name: str) -> Any:
        return self._clients[name]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    account = Aws()
    monkeypatch.setattr(boto3, "Session", lambda region_name: account)
    return account


def _stack(**outputs: str) -> dict[str, Any]:
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return {"Stacks": [{"StackName": "CarmenProd", "CreationTime": "2026-11-24", "StackStatus": "CREATE_COMPLETE", "Outputs": listed}]}


def test_empty_secret_is_listed_with_the_command_that_fills_it(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.stubs["cloudformation"].add_response("describe_stacks", _stack(SecretsToFill="SMTP_PASSWORD: smtp-1, SENTRY_DSN: sentry-1"))
    for value in ("given", ""):
        aws.stubs["secretsmanager"].add_response("get_secret_value", {"SecretString": json.dumps({"value": value})})
    assert main(["secrets"]) == 0
    output = capsys.readouterr().out
    assert "SMTP_PASSWORD: filled\nSENTRY_DSN: still empty\n  aws secretsmanager put-secret-value --secret-id 'sentry-1'" in output


def test_stack_that_is_not_deployed(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.stubs["cloudformation"].add_client_error("describe_stacks", "ValidationError", "Stack with id CarmenProd does not exist")
    assert main(["secrets"]) == 1
    assert capsys.readouterr().err == (
        "CarmenProd is not deployed in us-east-1, in the account of these credentials. Create it with `./carmen deploy --env prod`.\n"
    )


def test_stack_whose_deployment_is_incomplete(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.stubs["cloudformation"].add_response("describe_stacks", _stack())
    assert main(["secrets"]) == 1
    assert "CarmenProd has no output SecretsToFill yet in us-east-1" in capsys.readouterr().err


def test_aws_error_is_quoted(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.stubs["cloudformation"].add_client_error("describe_stacks", "ExpiredToken", "The security token is expired")
    assert main(["secrets"]) == 1
    assert capsys.readouterr().err.startswith("AWS refused DescribeStacks: The security token is expired. Sign in with `aws sso login`")
