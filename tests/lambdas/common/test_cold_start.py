"""Optimizations of the cold start change nothing else: clients send boto3's requests and trust the same authorities."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import boto3
import pytest
from common import aws as aws_clients
from common import service_models, tls

from tests.conftest import ROOT
from tools.benchmarks import functions

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "cloudwatch": ("describe_alarms", {"AlarmNamePrefix": "carmen"}),
    "dynamodb": ("get_item", {"TableName": "ledger", "Key": {"id": {"S": "1"}}}),
    "ec2": ("describe_security_groups", {}),
    "ecs": ("list_tasks", {"cluster": "c"}),
    "elasticache": ("describe_replication_groups", {}),
    "kms": ("encrypt", {"KeyId": "k", "Plaintext": b"m"}),
    "s3": ("list_objects_v2", {"Bucket": "backups"}),
    "sns": ("publish", {"TopicArn": "arn:aws:sns:us-east-1:000000000000:people", "Message": "m"}),
    "sqs": ("send_message", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/alerts", "MessageBody": "m"}),
    "secretsmanager": ("get_secret_value", {"SecretId": "s"}),
}


class NotSent(Exception):
    """Raised instead of sending the request."""


def request_of(client: Any, operation: str, arguments: dict[str, Any]) -> tuple[str, str, str, Any]:
    """The request's address and signature scope, without its time."""
    seen: list[Any] = []

    def look(request: Any, **_: Any) -> None:
        seen.append(request)
        raise NotSent

    client.meta.events.register("before-send", look)
    with pytest.raises(NotSent):
        getattr(client, operation)(**arguments)
    (request,) = seen
    signed = re.sub(rb"Signature=.*", b"", request.headers["Authorization"]).decode()
    return request.method, request.url, signed, request.body


def common_name(certificate: Any) -> str:
    return next(str(value) for ((name, value),) in certificate["subject"] if name == "commonName")


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "me-central-1"])
@pytest.mark.parametrize("service", CALLS)
def test_client_sends_the_requests_of_boto3(aws: str, monkeypatch: pytest.MonkeyPatch, service: str, region: str) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    operation, arguments = CALLS[service]
    ours, theirs = aws_clients.client(service, region), boto3.client(service, region_name=region)
    assert request_of(ours, operation, arguments) == request_of(theirs, operation, arguments)


def test_service_models_cover_all_services() -> None:
    sources = [path.read_text() for path in (ROOT / "lambda_src").rglob("*.py")]
    asked = {name for text in sources for name in re.findall(r'aws\.client\(\s*"([a-z0-9-]+)"', text)}
    assert set(CALLS) == asked <= set(service_models.SERVICES)


def test_one_client_per_service_and_process(aws: str) -> None:
    assert aws_clients.client("s3") is aws_clients.client("s3")
    assert aws_clients.client("s3") is not aws_clients.client("s3", "eu-central-1")


def test_instance_context_trusts_only_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(host: str = "localhost") -> set[str]:
        return {common_name(found) for found in tls.instance_context(host).get_ca_certs()}

    monkeypatch.delenv("RDS_CA_FILE", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert names() == {
        f"Amazon RDS eu-west-2 {name}" for name in ("2019 CA", *(f"Root CA {key} G1" for key in ("RSA2048", "RSA4096", "ECC384")))
    }
    assert {name.split()[2] for name in names("carmen.abc123.ap-southeast-1.rds.amazonaws.com")} == {"ap-southeast-1"}
    monkeypatch.delenv("AWS_REGION")  # on a laptop, any region's
    assert len(names()) == Path(tls.RDS_CA_BUNDLE).read_text().count("BEGIN CERTIFICATE")
    assert tls.instance_context("localhost").verify_mode == ssl.CERT_REQUIRED
    assert tls.instance_context("localhost").check_hostname


def test_authorities_have_their_own_names() -> None:
    bundle = tls.RDS_CA_BUNDLE.read_text()
    named = re.findall(r"^# (Amazon RDS .*)\n(-----BEGIN CERTIFICATE-----\n[^-]+\n-----END CERTIFICATE-----)$", bundle, re.MULTILINE)
    assert len(named) == bundle.count("BEGIN CERTIFICATE")
    for name, certificate in named:
        (found,) = ssl.create_default_context(cadata=certificate).get_ca_certs()
        assert common_name(found) == name


def test_benchmark_invokes_every_function(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(functions, "RUNS", 1)
    monkeypatch.setattr(functions, "MUST", 0.01)
    assert functions.main() == 1
    shown = capsys.readouterr()
    packages = {path.parent.name for path in (ROOT / "lambda_src").glob("*/handler.py")} - {"account_proof"}
    assert set(re.findall(r"^Missed: (\w+) takes", shown.out, re.MULTILINE)) == packages
    assert shown.out.splitlines()[-1].startswith('{"boto3_ms": ')
    assert shown.err == ""
