"""Small stacks for tests of single constructs: a bare app with the context of cdk.json, one stack, the construct and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_lambda as lambda_

from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.foundation.alarm import Alerting
from constructs_lib.network.vpc import Network
from constructs_lib.storage.buckets import AccessLogBucket
from settings.model import Settings
from tools.reports.synthesis import CONTEXT

TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"


class SmallStack(cdk.Stack):
    """A stack with production's availability zones."""

    @property
    @jsii.member(jsii_name="availabilityZones")
    def availability_zones(self) -> list[str]:
        """The zones of the default settings; the CDK would look them up in AWS."""
        return list(settings().network.zones)


@dataclass(frozen=True)
class Synthesized:
    """The template of one stack."""

    body: dict[str, Any]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """All resources of a type, by `/LogicalId`: `tests.conftest.by_id` and `only` take them."""
        return {f"/{name}": resource for name, resource in self.body["Resources"].items() if resource["Type"] == kind}


def stack(name: str = "Test", *, app: cdk.App | None = None, region: str = "us-east-1") -> cdk.Stack:
    """A stack in a new app, or in `app`. Build all stacks of an app before calling `template`."""
    return SmallStack(app or cdk.App(context=CONTEXT), name, env=cdk.Environment(region=region))


def template(stack: cdk.Stack) -> Synthesized:
    """Synthesize the stack's app once; return the template of this stack."""
    app = stack.node.root
    assert isinstance(app, cdk.App)
    return Synthesized(app.synth().get_stack_artifact(stack.artifact_id).template)


def settings(**sections: Any) -> Settings:
    """Production's settings: the defaults, with `sections` on top."""
    return Settings.model_validate({"name": "prod", **sections})


def network(stack: cdk.Stack) -> Network:
    """A VPC with production's defaults."""
    return Network(stack, "Network", settings=settings().network)


def alerting(**alarms: Any) -> Alerting:
    """Makes alarms that publish to TOPIC, with production's thresholds or `alarms`."""
    return Alerting("prod", settings(alarms=alarms).alarms, TOPIC)


def libraries(stack: cdk.Stack) -> lambda_.ILayerVersion:
    """A stand-in for the layer with third-party Python: no asset to stage."""
    return lambda_.LayerVersion.from_layer_version_arn(stack, "Libraries", "arn:aws:lambda:us-east-1:123456789012:layer:libraries:1")


def access_logs(stack: cdk.Stack) -> AccessLogBucket:
    """The stack's bucket of access logs, with production's defaults."""
    if isinstance(bucket := stack.node.try_find_child("AccessLogs"), AccessLogBucket):
        return bucket
    return AccessLogBucket(stack, "AccessLogs", settings=settings().storage)


def balancer(
    stack: cdk.Stack, network: Network, *, certificate: acm.ICertificate | None = None, deletion_protection: bool = True, **service: Any
) -> LoadBalancer:
    """A load balancer with production's defaults, or with the settings `service`; no distribution uses it."""
    return LoadBalancer(
        stack,
        "Balancer",
        settings=settings(service=service).service,
        origin_timeout_seconds=30,
        network=network,
        access_logs=access_logs(stack),
        certificate=certificate,
        deletion_protection=deletion_protection,
    )
