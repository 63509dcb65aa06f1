from __future__ import annotations

import pytest

from tests.conftest import Built, by_id

STACK = "CarmenProdOperations"
# Variable of a function → security group of the server that it names, and its port.
SERVERS = {
    "DATABASE_HOST": ("DatabaseSecurityGroup", 5432),
    "PROXY_HOST": ("DatabaseProxySecurityGroup", 5432),
    "REDIS_HOST": ("CacheSecurityGroup", 6379),
}


def test_functions_may_connect_to_the_servers_in_their_variables(built: Built) -> None:
    allowed = {
        (kind, name.split("/")[1].split("SecurityGroup")[0], variable)
        for kind in ("Egress", "Ingress")
        for name, rule in built.resources(f"AWS::EC2::SecurityGroup{kind}", STACK).items()
        for variable, (group, port) in SERVERS.items()
        if f"CarmenProdData{group}" in name.split("/")[1] and rule["Properties"]["ToPort"] == rule["Properties"]["FromPort"] == port
    }
    needed = {
        (kind, name.split("/")[1][:-8], variable)
        for name, function in built.resources("AWS::Lambda::Function", STACK).items()
        for variable in SERVERS
        if variable in function["Properties"].get("Environment", {}).get("Variables", {})
        for kind in ("Egress", "Ingress")
    }
    assert allowed == needed


@pytest.mark.parametrize(("package", "layers"), [("backup", 2), ("drill", 3)])
def test_tasks_have_the_code_and_layers_of_their_functions(built: Built, package: str, layers: int) -> None:
    name = package.capitalize()
    function = by_id(built.resources("AWS::Lambda::Function", STACK), f"/{name}Function")["Properties"]
    task = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), f"/{name}Fargate")["Properties"]
    (container,) = task["ContainerDefinitions"]
    in_task = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    assert f"/{function['Code']['S3Key']}" in str(in_task["TASK_CODE"])
    assert str(in_task["TASK_LAYERS"]).count(".zip") == len(function["Layers"]) == layers
    in_function = function["Environment"]["Variables"]
    both = in_function.keys() & in_task.keys()
    assert {"ENVIRONMENT", "BACKUP_BUCKET", "BACKUP_KEY_ARN"} <= both
    assert {variable: in_function[variable] for variable in both} == {variable: in_task[variable] for variable in both}


def test_backup_knows_the_database_and_its_bucket(built: Built) -> None:
    variables = by_id(built.resources("AWS::Lambda::Function", STACK), "/BackupFunction")["Properties"]["Environment"]["Variables"]
    assert {"DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "BACKUP_BUCKET", "BACKUP_KEY_ARN"} <= variables.keys()


def test_rotation_rotates_the_applications_users_only(built: Built) -> None:
    variables = by_id(built.resources("AWS::Lambda::Function", STACK), "/RotationFunction")["Properties"]["Environment"]["Variables"]
    assert "carmen_app_a" in str(variables["APPLICATION_SECRETS"])
    assert "carmen_monitor_proxy" not in str(variables["APPLICATION_SECRETS"])
