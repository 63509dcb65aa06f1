"""Minimal neighbours of a construct under test, and readers of templates for its tests."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.cache.redis import Cache
from constructs_lib.compute.python_function import PythonFunction
from constructs_lib.database.instance import Database
from constructs_lib.network.vpc import Network
from tests.constructs.conftest import Synthesized, alerting, libraries, settings

REASON = "A reason that is long enough for a test."


class ExistingNetwork(Network):
    """Three subnets of each tier outside the stack: faster than a new VPC."""

    def __init__(self, scope: Construct) -> None:
        Construct.__init__(self, scope, "Network")
        ids = {tier: [f"subnet-{tier}{n}" for n in range(3)] for tier in ("public", "private", "isolated")}
        self.vpc = ec2.Vpc.from_vpc_attributes(  # type: ignore[assignment]
            self,
            "Vpc",
            vpc_id="vpc-1",
            availability_zones=list(settings().network.zones),
            public_subnet_ids=ids["public"],
            public_subnet_names=["Public"],
            private_subnet_ids=ids["private"],
            private_subnet_names=["Private"],
            isolated_subnet_ids=ids["isolated"],
            isolated_subnet_names=["Isolated"],
        )


def key(stack: cdk.Stack) -> kms.IKey:
    """A key outside the stack."""
    return kms.Key.from_key_arn(stack, f"Key{len(stack.node.children)}", "arn:aws:kms:us-east-1:123456789012:key/one")


def bucket(stack: cdk.Stack, name: str = "backups") -> s3.IBucket:
    """A bucket outside the stack."""
    return s3.Bucket.from_bucket_name(stack, f"Existing{name.capitalize()}", name)


def secret(stack: cdk.Stack, name: str) -> secretsmanager.ISecret:
    """A secret outside the stack."""
    arn = f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"
    return secretsmanager.Secret.from_secret_complete_arn(stack, f"{name}Secret", arn)


def cluster(stack: cdk.Stack, network: Network) -> ecs.Cluster:
    """An ECS cluster."""
    return ecs.Cluster(stack, "Cluster", vpc=network.vpc)


def database(stack: cdk.Stack, network: Network, **changes: Any) -> Database:
    """Production's instance, or with `changes` of its settings."""
    return Database(stack, "Database", settings=settings(database=changes).database, network=network, key=key(stack))


def cache(stack: cdk.Stack, network: Network, **changes: Any) -> Cache:
    """Production's cache, or with `changes` of its settings."""
    return Cache(stack, "Cache", settings=settings(cache=changes).cache, network=network, key=key(stack))


def function(stack: cdk.Stack, network: Network | None = None, **changes: Any) -> PythonFunction:
    """The maintenance function's code, outside a VPC unless a `network` is given."""
    given: dict[str, Any] = {
        "package": "maintenance",
        "description": "Does something for a test",
        "timeout": cdk.Duration.minutes(5),
        "layers": [libraries(stack)],
        "environment": {"ENVIRONMENT": "prod"},
        "alerting": alerting(),
        "network": network,
    }
    return PythonFunction(stack, "Function", **{**given, **changes})


def statements(template: Synthesized, role: str) -> list[dict[str, Any]]:
    """Statements of the policy of the role whose logical id starts with `role`."""
    (policy,) = [
        resource["Properties"]["PolicyDocument"]
        for name, resource in template.resources("AWS::IAM::Policy").items()
        if name.startswith(f"/{role}DefaultPolicy")
    ]
    return list(policy["Statement"])


def allowed(template: Synthesized, role: str, action: str) -> dict[str, Any]:
    """The one statement of a role with `action`."""
    (statement,) = [one for one in statements(template, role) if action in _list(one["Action"])]
    return statement


def schedules(template: Synthesized) -> dict[str, tuple[str, str]]:
    """Expression and input of every schedule, by its logical id without the hash."""
    return {
        name[1:-8]: (one["Properties"]["ScheduleExpression"], one["Properties"]["Target"].get("Input", ""))
        for name, one in template.resources("AWS::Scheduler::Schedule").items()
    }


def variables(template: Synthesized, function: str) -> dict[str, Any]:
    """Environment variables of the function whose logical id starts with `function`."""
    (found,) = [one for name, one in template.resources("AWS::Lambda::Function").items() if name.startswith(f"/{function}")]
    return dict(found["Properties"]["Environment"]["Variables"])


def task_variables(template: Synthesized) -> dict[str, Any]:
    """Environment variables of the only task definition's container."""
    (task,) = template.resources("AWS::ECS::TaskDefinition").values()
    (container,) = task["Properties"]["ContainerDefinitions"]
    return {one["Name"]: one["Value"] for one in container["Environment"]}


def connections(template: Synthesized) -> set[tuple[str, str, int]]:
    """Client, server and port of each pair of an egress and an ingress rule between security groups."""
    pairs = []
    for kind, own, other in (("Egress", "GroupId", "DestinationSecurityGroupId"), ("Ingress", "SourceSecurityGroupId", "GroupId")):
        rules = [one["Properties"] for one in template.resources(f"AWS::EC2::SecurityGroup{kind}").values()]
        pairs.append({(_group(rule[own]), _group(rule[other]), _port(rule)) for rule in rules})
    egress, ingress = pairs
    assert egress == ingress
    return egress


def _group(reference: dict[str, Any]) -> str:
    return str(reference["Fn::GetAtt"][0]).split("SecurityGroup")[0]


def _port(rule: dict[str, Any]) -> int:
    assert rule["FromPort"] == rule["ToPort"] or isinstance(rule["ToPort"], dict)
    return int(rule["ToPort"]) if isinstance(rule["ToPort"], int) else 0


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
