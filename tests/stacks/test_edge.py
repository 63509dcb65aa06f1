"""The edge's stacks together: certificates and DNS records of a domain, and references across regions."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import aws_cdk as cdk

from settings.model import Settings
from stacks.edge import EdgeStack
from stacks.edge_global import EdgeGlobalStack
from stacks.network import NetworkStack
from stacks.storage import StorageStack
from tests.conftest import CONTEXT, DOMAIN, only

ZONES = ("euc1-az1", "euc1-az2", "euc1-az3")


@cache
def _templates(region: str = "us-east-1", *, domain: bool = True) -> dict[str, dict[str, Any]]:
    app = cdk.App(context=CONTEXT)
    given = {"name": "prod", "region": region, **({"domain": DOMAIN} if domain else {})}
    settings = Settings.model_validate(given if region == "us-east-1" else {**given, "network": {"zones": ZONES}})
    network, storage, edge_global = NetworkStack(app, settings), StorageStack(app, settings), EdgeGlobalStack(app, settings)
    EdgeStack(app, settings, network=network, storage=storage, edge_global=edge_global)
    return {stack.stack_name: stack.template for stack in app.synth().stacks}


def _resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] == kind}


def test_cloudfront_and_load_balancer_share_a_certificate() -> None:
    templates = _templates()
    certificate = only(_resources(templates["CarmenProdEdgeGlobal"], "AWS::CertificateManager::Certificate"))
    assert (certificate["DomainName"], certificate["ValidationMethod"]) == ("carmen.example.com", "DNS")
    assert _resources(templates["CarmenProdEdge"], "AWS::CertificateManager::Certificate") == {}


def test_domain_points_to_the_distribution() -> None:
    records = _resources(_templates()["CarmenProdEdge"], "AWS::Route53::RecordSet").values()
    assert {record["Properties"]["Type"] for record in records} == {"A", "AAAA"}
    assert {record["Properties"]["Name"] for record in records} == {"carmen.example.com."}


def test_without_a_domain_there_is_no_certificate() -> None:
    templates = _templates(domain=False)
    assert not [name for name, one in templates.items() if _resources(one, "AWS::CertificateManager::Certificate")]
    assert _resources(templates["CarmenProdEdge"], "AWS::Route53::RecordSet") == {}


def test_other_region_has_own_certificate_and_weak_references() -> None:
    templates = _templates("eu-central-1")
    certificates = [name for name, one in templates.items() if _resources(one, "AWS::CertificateManager::Certificate")]
    assert sorted(certificates) == ["CarmenProdEdge", "CarmenProdEdgeGlobal"]
    config = only(_resources(templates["CarmenProdEdge"], "AWS::CloudFront::Distribution"))["DistributionConfig"]
    assert "Fn::GetStackOutput" in json.dumps(config["WebACLId"])
    assert "Fn::GetStackOutput" in json.dumps(config["ViewerCertificate"]["AcmCertificateArn"])
