from __future__ import annotations

import pytest

from tests.conftest import Built, Variant, by_id

STACK = "CarmenProdOperations"


def test_backup_and_maintenance_run_by_the_clock_with_what_they_need(built: Built) -> None:
    schedules = built.resources("AWS::Scheduler::Schedule", STACK)
    when = {name.split("/")[1][:-8]: schedule["Properties"]["ScheduleExpression"] for name, schedule in schedules.items()}
    assert when == {
        "BackupNightly": "cron(0 3 * * ? *)",
        "DrillMonthly": "cron(0 4 2 * ? *)",
        "MaintenanceWeekly": "cron(0,20,40 6-7 ? * SUN *)",
        "MaintenanceMonthly": "cron(0,20,40 8 1 * ? *)",
        "RotationDaily": "cron(0 10 * * ? *)",
        "ProbeMinutely": "cron(* * * * ? *)",
        "ProbeAges": "cron(5/15 * * * ? *)",
        "RotationAges": "cron(5/15 * * * ? *)",
    }
    inputs = {name.split("/")[1][:-8]: schedule["Properties"]["Target"]["Input"] for name, schedule in schedules.items()}
    assert all('"time":"<aws.scheduler.scheduled-time>"' in given for given in inputs.values())
    assert '"kind":"weekly"' in inputs["MaintenanceWeekly"]
    assert '"kind":"monthly"' in inputs["MaintenanceMonthly"]
    assert '"action":"ages"' in inputs["ProbeAges"]


def test_the_backup_has_the_time_two_processors_and_the_client_tools(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/BackupFunction")["Properties"]
    assert (function["Timeout"], function["MemorySize"], function["Architectures"]) == (900, 3008, ["arm64"])
    assert len(function["Layers"]) == 2
    variables = function["Environment"]["Variables"]
    assert (variables["ENVIRONMENT"], variables["BACKUP_WEEKLY_DAY"], variables["BACKUP_MONTHLY_DAY"]) == ("prod", "SUN", "1")
    assert variables["BACKUP_FORMATS"] == "archive,sql_gz"
    assert {"DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "BACKUP_BUCKET", "BACKUP_KEY_ARN"} <= variables.keys()


def test_the_backup_and_its_task_know_where_copies_go(built: Built, variant: Variant) -> None:
    with_copies = variant(storage={"backup_copy_region": "eu-west-1"})
    function = by_id(with_copies.resources("AWS::Lambda::Function", STACK), "/BackupFunction")["Properties"]
    task = by_id(with_copies.resources("AWS::ECS::TaskDefinition", STACK), "/BackupFargate")["Properties"]
    in_task = {one["Name"]: one["Value"] for one in task["ContainerDefinitions"][0]["Environment"]}
    for variables in (function["Environment"]["Variables"], in_task):
        assert variables["BACKUP_COPY_REGION"] == "eu-west-1"
        for name, output in (("BACKUP_COPY_BUCKET", "BucketName"), ("BACKUP_COPY_KEY_ARN", "KeyArn")):
            there = {"StackName": "CarmenProdBackupCopies", "OutputName": output, "Region": "eu-west-1"}
            assert variables[name] == {"Fn::GetStackOutput": there}
    alone = by_id(built.resources("AWS::Lambda::Function", STACK), "/BackupFunction")["Properties"]["Environment"]["Variables"]
    assert not [name for name in alone if name.startswith("BACKUP_COPY_")]


def test_formats_are_settings(variant: Variant) -> None:
    functions = variant(operations={"backup_formats": ["archive"]}).resources("AWS::Lambda::Function", STACK)
    assert by_id(functions, "/BackupFunction")["Properties"]["Environment"]["Variables"]["BACKUP_FORMATS"] == "archive"


def test_schedules_are_settings(variant: Variant) -> None:
    built = variant(operations={"backup_schedule": "cron(15 22 * * ? *)"})
    nightly = by_id(built.resources("AWS::Scheduler::Schedule", STACK), "/BackupNightly")["Properties"]
    assert nightly["ScheduleExpression"] == "cron(15 22 * * ? *)"


def test_rotation_knows_whose_turn_it_is_and_what_to_roll(built: Built) -> None:
    variables = by_id(built.resources("AWS::Lambda::Function", STACK), "/RotationFunction")["Properties"]["Environment"]["Variables"]
    assert variables["ROTATE_AFTER_DAYS"] == '{"application": 30, "owner": 90, "redis": 90}'
    assert "carmen_app_a" in str(variables["APPLICATION_SECRETS"])
    assert "carmen_monitor_proxy" not in str(variables["APPLICATION_SECRETS"])
    assert {"CLUSTER", "SERVICE", "MIGRATION_FAMILY", "REPLICATION_GROUP", "CONNECTION_SECRET", "MIGRATION_SECRET"} <= variables.keys()


def test_the_probe_ends_before_it_begins_again(built: Built) -> None:
    assert by_id(built.resources("AWS::Lambda::Function", STACK), "/ProbeFunction")["Properties"]["Timeout"] == 50


def test_the_drill_knows_no_way_to_a_database(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", STACK), "/DrillFunction")["Properties"]
    assert "VpcConfig" not in function
    assert (function["Timeout"], function["MemorySize"], function["EphemeralStorage"]) == (900, 3008, {"Size": 10_240})
    assert len(function["Layers"]) == 3
    assert function["Environment"]["Variables"].keys() == {
        "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "ENVIRONMENT", "BACKUP_BUCKET", "BACKUP_KEY_ARN",
        "DRILL_TASK_CLUSTER", "DRILL_TASK_DEFINITION", "DRILL_TASK_SUBNETS", "DRILL_TASK_SECURITY_GROUPS",
    }  # fmt: skip


@pytest.mark.parametrize(("package", "layers"), [("backup", 2), ("drill", 3)])
def test_what_does_not_fit_a_function_is_a_task_with_its_code_and_layers(built: Built, package: str, layers: int) -> None:
    name = package.capitalize()
    function = by_id(built.resources("AWS::Lambda::Function", STACK), f"/{name}Function")["Properties"]
    task = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), f"/{name}Fargate")["Properties"]
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    (container,) = task["ContainerDefinitions"]
    variables = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    assert (variables["TASK_PACKAGE"], container["Name"], container["User"]) == (package, package, "1000")
    assert f"/{function['Code']['S3Key']}" in str(variables["TASK_CODE"])
    assert str(variables["TASK_LAYERS"]).count(".zip") == len(function["Layers"]) == layers
    told = function["Environment"]["Variables"]
    both = [variable for variable in told if variable in variables]
    assert {"ENVIRONMENT", "BACKUP_BUCKET", "BACKUP_KEY_ARN"} <= set(both)
    assert [told[variable] for variable in both] == [variables[variable] for variable in both]
    assert told[f"{name.upper()}_TASK_DEFINITION"]["Ref"] in built.templates[STACK]["Resources"]


# Variable of a function → the security group that it needs a way to, and the port.
PLACES = {
    "DATABASE_HOST": ("DatabaseSecurityGroup", 5432),
    "PROXY_HOST": ("DatabaseProxySecurityGroup", 5432),
    "REDIS_HOST": ("CacheSecurityGroup", 6379),
}


def test_whoever_is_told_of_a_store_has_a_way_to_it_and_is_let_in(built: Built) -> None:
    doors = {
        (kind, name.split("/")[1].split("SecurityGroup")[0], place)
        for kind in ("Egress", "Ingress")
        for name, rule in built.resources(f"AWS::EC2::SecurityGroup{kind}", STACK).items()
        for place, (group, port) in PLACES.items()
        if f"CarmenProdData{group}" in name.split("/")[1] and rule["Properties"]["ToPort"] == rule["Properties"]["FromPort"] == port
    }
    needed = {
        (kind, name.split("/")[1][:-8], place)
        for name, function in built.resources("AWS::Lambda::Function", STACK).items()
        for place in PLACES
        if place in function["Properties"].get("Environment", {}).get("Variables", {})
        for kind in ("Egress", "Ingress")
    }
    assert doors == needed
