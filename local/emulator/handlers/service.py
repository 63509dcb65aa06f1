"""ECS, Lambda with its roles, and EventBridge Scheduler."""

from __future__ import annotations

from ministack.services import ecs as ministack_ecs

from local.emulator.handlers.base import (
    Attributes,
    Create,
    Created,
    Delete,
    Properties,
    Update,
    call,
    client,
    define,
    name_for,
    refine,
)


def register() -> None:
    define("AWS::ECS::TaskDefinition", register_task, deregister_task)
    define("AWS::ECS::Service", create_service, delete_service, update_service)
    define("AWS::ECS::ClusterCapacityProviderAssociations", *provider_handlers())
    refine("AWS::Lambda::Function", complete_function)
    refine("AWS::IAM::Role", complete_role)
    define("AWS::Scheduler::Schedule", create_schedule, delete_schedule, update_schedule)


# ECS


def register_task(logical_id: str, properties: Properties, stack: str) -> Created:
    """Register through the API: ministack's handler keeps the template's spelling and drops the platform."""
    family = properties.get("Family") or f"{stack}-{logical_id}"
    result = call("ecs", "register_task_definition", properties, family=family)
    arn = result["taskDefinition"]["taskDefinitionArn"]
    return arn, {"TaskDefinitionArn": arn}


def deregister_task(arn: str, properties: Properties) -> None:
    client("ecs").deregister_task_definition(taskDefinition=arn)


def record_exit(arn: str, code: int) -> None:
    """Record the exit code of a task's container, for which the ECS API has no call."""
    for task in ministack_ecs._tasks._data.values():
        if task["taskArn"] == arn:
            for container in task["containers"]:
                container["exitCode"] = code


def create_service(logical_id: str, properties: Properties, stack: str) -> Created:
    name = properties.get("ServiceName") or f"{stack}-{logical_id}"
    service = call(
        "ecs",
        "create_service",
        {"DesiredCount": 1, **properties},
        serviceName=name,
        tags=[{"key": tag["Key"], "value": tag["Value"]} for tag in properties.get("Tags") or []],
    )["service"]
    return service["serviceArn"], {"ServiceArn": service["serviceArn"], "Name": service["serviceName"]}


def update_service(arn: str, old: Properties, new: Properties) -> Attributes:
    call("ecs", "update_service", new, service=arn)
    return {"ServiceArn": arn, "Name": arn.rsplit("/", 1)[1]}


def delete_service(arn: str, properties: Properties) -> None:
    client("ecs").delete_service(cluster=properties.get("Cluster", "default"), service=arn, force=True)


def provider_handlers() -> tuple[Create, Delete, Update]:
    """Create, delete and update of a cluster's capacity providers."""

    def put(properties: Properties) -> Attributes:
        call("ecs", "put_cluster_capacity_providers", properties)
        return {"Id": properties["Cluster"]}

    def delete(cluster: str, properties: Properties) -> None:
        put({"Cluster": cluster, "CapacityProviders": [], "DefaultCapacityProviderStrategy": []})

    return (
        lambda logical_id, properties, stack: (properties["Cluster"], put(properties)),
        delete,
        lambda cluster, old, new: put(new),
    )


# Lambda


def complete_function(function: str, properties: Properties, old: Properties) -> None:
    emptied = {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "DeadLetterConfig": {"TargetArn": ""}}
    settings = {name: properties.get(name, empty) for name, empty in emptied.items() if properties.get(name) != old.get(name)}
    if settings:
        call("lambda", "update_function_configuration", settings, FunctionName=function)
    reserved = properties.get("ReservedConcurrentExecutions")
    if reserved is not None:
        call("lambda", "put_function_concurrency", {}, FunctionName=function, ReservedConcurrentExecutions=reserved)
    elif "ReservedConcurrentExecutions" in old:
        client("lambda").delete_function_concurrency(FunctionName=function)


def complete_role(role: str, properties: Properties, old: Properties) -> None:
    if properties.get("PermissionsBoundary"):
        client("iam").put_role_permissions_boundary(RoleName=role, PermissionsBoundary=properties["PermissionsBoundary"])
    elif old.get("PermissionsBoundary"):
        client("iam").delete_role_permissions_boundary(RoleName=role)


# EventBridge Scheduler


def create_schedule(logical_id: str, properties: Properties, stack: str) -> Created:
    name = properties.get("Name") or name_for(logical_id, stack, 64)
    result = call("scheduler", "create_schedule", properties, Name=name)
    return name, {"Arn": result["ScheduleArn"]}


def update_schedule(name: str, old: Properties, new: Properties) -> Attributes:
    return {"Arn": call("scheduler", "update_schedule", new, Name=name)["ScheduleArn"]}


def delete_schedule(name: str, properties: Properties) -> None:
    call("scheduler", "delete_schedule", {"GroupName": properties.get("GroupName")}, Name=name)
