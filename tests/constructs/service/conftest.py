"""Neighbours of the service's constructs in a small stack."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager

from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.network.vpc import Network
from constructs_lib.service.container_environment import ContainerEnvironment
from constructs_lib.service.web_service import ApplicationImage, WebService
from settings.sections import WorkingHours
from tests.constructs.conftest import alerting, balancer, network, settings, stack

PARAMETER = "/carmen/prod/image"
MIRROR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror/node:1"
DOMAIN_URL = "https://carmen.example.com"


def connection(small: cdk.Stack, name: str = "Connection") -> secretsmanager.ISecret:
    """A connection secret."""
    return secretsmanager.Secret.from_secret_complete_arn(
        small, name, f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"
    )


def image(small: cdk.Stack, **service: Any) -> ApplicationImage:
    """The image that the parameter names."""
    return ApplicationImage(small, "Image", settings=settings(service=service).service, parameter_name=PARAMETER)


def repository(small: cdk.Stack) -> ecr.IRepository:
    """The repository of the application's images."""
    return ecr.Repository(small, "Repository")


def environment(small: cdk.Stack, *, origin_timeout_seconds: int = 30, **application: Any) -> ContainerEnvironment:
    """The container's environment, with production's defaults or the settings `application`."""
    return ContainerEnvironment(
        small,
        "Environment",
        settings=settings(application=application).application,
        region="us-east-1",
        url=DOMAIN_URL,
        origin_timeout_seconds=origin_timeout_seconds,
        domain=None,
        uploads=s3.Bucket(small, "Uploads"),
        connection=connection(small),
    )


class Service:
    """A web service with all its neighbours in one stack."""

    def __init__(self, *, working_hours: WorkingHours | None = None, **service: Any) -> None:
        self.stack = stack()
        self.network: Network = network(self.stack)
        self.balancer: LoadBalancer = balancer(self.stack, self.network)
        self.cluster = ecs.Cluster(self.stack, "Cluster", vpc=self.network.vpc, enable_fargate_capacity_providers=True)
        self.web = WebService(
            self.stack,
            "Web",
            settings=settings(service=service).service,
            network=self.network,
            cluster=self.cluster,
            image=image(self.stack, **service),
            repository=repository(self.stack),
            environment=environment(self.stack),
            balancer=self.balancer,
            alerting=alerting(),
            working_hours=working_hours,
        )
