"""Deployment events in a small stack: which events go to which queue."""

from __future__ import annotations

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs

from constructs_lib.service.deployment_events import DeploymentEvents
from tests.conftest import only
from tests.constructs.conftest import network, stack, template


def test_deployment_events_of_the_service_go_to_the_queue() -> None:
    small = stack()
    task = ecs.FargateTaskDefinition(small, "Task")
    task.add_container("Container", image=ecs.ContainerImage.from_registry("node"))
    service = ecs.FargateService(
        small, "Service", cluster=ecs.Cluster(small, "Cluster", vpc=network(small).vpc), task_definition=task, min_healthy_percent=100
    )
    queue = sqs.Queue(small, "Queue")
    DeploymentEvents(small, "Events", service=service, queue=queue)
    built = template(small)
    rule = only(built.resources("AWS::Events::Rule"))
    (service_id,) = built.resources("AWS::ECS::Service")
    (queue_id,) = built.resources("AWS::SQS::Queue")
    assert rule["EventPattern"] == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Deployment State Change"],
        "resources": [{"Ref": service_id.removeprefix("/")}],
    }
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert rule["Targets"] == [{"Arn": {"Fn::GetAtt": [queue_id.removeprefix("/"), "Arn"]}, "Id": "Notifier"}]
