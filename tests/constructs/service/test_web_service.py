from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

from constructs_lib.foundation.inline_code import inline_code
from local.emulator.launcher import NODE
from settings.validation import RESERVED_PREFIXES, RESERVED_VARIABLES
from tests.conftest import Built, Variant, by_id, only
from tools.processes import free_port

STACK = "CarmenProdService"
# The manual's contract; AWS keys are replaced by the task role.
CONTRACT = {
    "NODE_ENV",
    "NEXT_PUBLIC_APP_URL",
    "DATABASE_URL",
    "DIRECT_URL",
    "NEXTAUTH_URL",
    "NEXTAUTH_SECRET",
    "JWT_SECRET",
    "EMAIL_FROM",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "SMTP_SECURE",
    "UPLOAD_STORAGE",
    "AWS_S3_BUCKET",
    "AWS_REGION",
    "WEBHOOK_SECRET",
    "API_RATE_LIMIT",
    "SENTRY_DSN",
    "ENABLE_ANALYTICS",
    "LOG_LEVEL",
    "ENABLE_ADVANCED_ANALYTICS",
    "ENABLE_EXPERIMENTAL_FEATURES",
    "REDIS_URL",
    "PORT",
    "HOSTNAME",
}
SECRET = {"DATABASE_URL", "DIRECT_URL", "REDIS_URL", "NEXTAUTH_SECRET", "JWT_SECRET", "WEBHOOK_SECRET", "SMTP_PASSWORD", "SENTRY_DSN"}


def _container(built: Built, task: str = "WebTask") -> dict[str, Any]:
    definition = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), f"/{task}")["Properties"]
    return dict(definition["ContainerDefinitions"][0])


def _plain(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["Name"]: entry["Value"] for entry in container["Environment"]}


def test_the_container_gets_the_manuals_contract_name_by_name(built: Built) -> None:
    container = _container(built)
    secrets = {entry["Name"] for entry in container["Secrets"]}
    assert (set(_plain(container)) | secrets) - {"NEXT_TELEMETRY_DISABLED", "KEEP_ALIVE_TIMEOUT"} == CONTRACT
    assert secrets == SECRET
    plain = _plain(container)
    assert (plain["NODE_ENV"], plain["API_RATE_LIMIT"], plain["LOG_LEVEL"], plain["SMTP_PORT"]) == ("production", "100", "info", "587")
    assert (plain["ENABLE_ADVANCED_ANALYTICS"], plain["ENABLE_EXPERIMENTAL_FEATURES"], plain["HOSTNAME"]) == ("true", "false", "0.0.0.0")


def test_no_variable_that_the_container_gets_can_be_overridden(built: Built) -> None:
    container = _container(built)
    names = set(_plain(container)) | {entry["Name"] for entry in container["Secrets"]}
    assert {name for name in names if not name.startswith(RESERVED_PREFIXES)} == RESERVED_VARIABLES


def test_generated_secrets_are_long_enough(built: Built) -> None:
    secrets = built.resources("AWS::SecretsManager::Secret", STACK)
    for name in ("NextauthSecret", "JwtSecret", "WebhookSecret"):
        assert by_id(secrets, name)["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32


def test_given_secrets_get_an_empty_value_once_and_never_from_the_template(built: Built) -> None:
    for name in ("SmtpPassword", "SentryDsn"):
        assert "SecretString" not in by_id(built.resources("AWS::SecretsManager::Secret", STACK), name)["Properties"]
        call = by_id(built.resources("Custom::AWS", STACK), f"{name}InitialValue")["Properties"]
        assert "Update" not in call
        assert '\\"value\\": \\"\\"' in "".join(part for part in call["Create"]["Fn::Join"][1] if isinstance(part, str))


def test_further_variables_and_secrets_come_from_toml_alone(variant: Variant) -> None:
    extra = {"STRIPE_KEY": {"generated": False}, "SIGNING_KEY": {"length": 64, "alphabet": "printable"}}
    built = variant(application={"extra_variables": {"THEME": "dark"}, "extra_secrets": extra})
    container = _container(built)
    assert _plain(container)["THEME"] == "dark"
    assert {"STRIPE_KEY", "SIGNING_KEY"} <= {entry["Name"] for entry in container["Secrets"]}
    signing = by_id(built.resources("AWS::SecretsManager::Secret", STACK), "SigningKey")["Properties"]["GenerateSecretString"]
    assert (signing["PasswordLength"], "!" in signing["ExcludeCharacters"]) == (64, False)
    assert "StripeKeyInitialValue" in str(list(built.resources("Custom::AWS", STACK)))


def test_the_task_is_confined(built: Built) -> None:
    task = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), "/WebTask")["Properties"]
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    container = _container(built)
    assert (container["User"], container["ReadonlyRootFilesystem"]) == ("1001", True)
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert [(m["ContainerPath"], m["ReadOnly"]) for m in container["MountPoints"]] == [("/tmp", False), ("/app/.next/cache", False)]


def test_a_failed_roll_out_is_rolled_back(built: Built) -> None:
    service = only(built.resources("AWS::ECS::Service", STACK))
    deployment = service["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"]["Enable"] is deployment["Alarms"]["Rollback"] is True
    assert len(deployment["Alarms"]["AlarmNames"]) == 3
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert service["HealthCheckGracePeriodSeconds"] == 120
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert "DesiredCount" not in service  # autoscaling owns it (aws/aws-cdk#3919)


def test_it_scales_on_cpu_memory_and_requests(built: Built, variant: Variant) -> None:
    policies = [r["Properties"] for r in built.resources("AWS::ApplicationAutoScaling::ScalingPolicy", STACK).values()]
    targets = {
        p["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]: p[
            "TargetTrackingScalingPolicyConfiguration"
        ]["TargetValue"]
        for p in policies
    }
    assert targets == {"ECSServiceAverageCPUUtilization": 60, "ECSServiceAverageMemoryUtilization": 75, "ALBRequestCountPerTarget": 500}
    night = {"schedule": "cron(0 20 ? * MON-FRI *)", "time_zone": "Europe/Berlin", "min_tasks": 0, "max_tasks": 0}
    target = only(variant(service={"scheduled_scaling": [night]}).resources("AWS::ApplicationAutoScaling::ScalableTarget"))
    (action,) = target["ScheduledActions"]
    assert (action["Schedule"], action["Timezone"]) == ("cron(0 20 ? * MON-FRI *)", "Europe/Berlin")
    assert action["ScalableTargetAction"] == {"MinCapacity": 0, "MaxCapacity": 0}


def test_the_image_is_read_at_deployment(built: Built) -> None:
    parameters = built.templates[STACK]["Parameters"].values()
    (image,) = [p for p in parameters if p["Type"] == "AWS::SSM::Parameter::Value<String>" and p["Default"].startswith("/carmen/")]
    assert image["Default"] == "/carmen/prod/image"
    condition, placeholder, released = _container(built)["Image"]["Fn::If"]
    assert placeholder.startswith("public.ecr.aws/")
    assert "Ref" in released
    assert _container(built)["Command"]["Fn::If"][0::2] == [condition, {"Ref": "AWS::NoValue"}]


def test_the_placeholder_answers_200_on_health_and_503_elsewhere() -> None:
    port = free_port()
    environment = {"PORT": str(port), "HOSTNAME": "127.0.0.1"}
    code = inline_code("placeholder.js", HEALTH_PATH="/api/health/live")
    with subprocess.Popen([str(NODE / "node"), "-e", code], env=environment) as process:
        try:
            assert _get(port, "/api/health/live") == (200, b"ok")
            assert _get(port, "/api/health/live?x=1") == (200, b"ok")
            assert _get(port, "/dashboard") == (503, b"awaiting first image")
        finally:
            process.terminate()
    assert process.returncode == 0


def _get(port: int, path: str) -> tuple[int, bytes]:
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_idle_connections_end_at_the_balancer_first(built: Built) -> None:
    """Otherwise a request meets a connection the application has just closed, and the user sees 502."""
    balancer = only(built.resources("AWS::ElasticLoadBalancingV2::LoadBalancer", "CarmenProdEdge"))["LoadBalancerAttributes"]
    (idle,) = [int(a["Value"]) for a in balancer if a["Key"] == "idle_timeout.timeout_seconds"]
    assert (idle, int(_plain(_container(built))["KEEP_ALIVE_TIMEOUT"])) == (40, 45_000)


def test_the_service_waits_for_providers_permissions_and_values(built: Built) -> None:
    (service,) = built.resources("AWS::ECS::Service", STACK).values()
    needed = ("ExecutionRoleDefaultPolicy", "Cluster", "SmtpPasswordInitialValue", "SentryDsnInitialValue")
    assert [part for part in needed if not any(part in name for name in service["DependsOn"])] == []


def test_private_images_can_be_pulled(variant: Variant) -> None:
    mirror = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mirror/node:1"
    images = dict.fromkeys(("placeholder_image", "psql_image", "redis_cli_image", "python_image"), mirror)
    built = variant(service=images)
    for task in ("WebTask", "MigrationTask", "OperationsTask", "ReleaseFilesTask"):
        policy = json.dumps(by_id(built.resources("AWS::IAM::Policy", STACK), f"/{task}ExecutionRole"))
        assert "ecr:us-east-1:123456789012:repository/mirror/node" in policy


def test_only_the_operations_task_takes_exec(built: Built) -> None:
    assert "EnableExecuteCommand" not in only(built.resources("AWS::ECS::Service", STACK))
    policies = built.resources("AWS::IAM::Policy", STACK)
    with_exec = [name for name, policy in policies.items() if "ssmmessages" in json.dumps(policy)]
    assert [name.split("/")[1][:10] for name in with_exec] == ["Operations"]
    operations = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), "/OperationsTask")["Properties"]["ContainerDefinitions"]
    assert {c["Name"]: (c["EntryPoint"], c["Command"]) for c in operations} == {n: (["sleep"], ["3600"]) for n in ("psql", "redis")}


def test_the_migration_task_alone_reads_the_owners_connection(built: Built) -> None:
    readers = [name for name, r in built.resources("AWS::ECS::TaskDefinition").items() if "MigrationConnection" in json.dumps(r)]
    assert sorted(readers) == sorted(n for n in built.resources("AWS::ECS::TaskDefinition") if "/MigrationTask" in n)
    assert _container(built, "MigrationTask")["Command"] == ["npx", "prisma", "migrate", "deploy"]


def test_static_files_are_copied_by_the_image_and_put_into_the_bucket_by_our_code(built: Built, variant: Variant) -> None:
    task = by_id(built.resources("AWS::ECS::TaskDefinition", STACK), "/ReleaseFilesTask")["Properties"]
    copy, publish = task["ContainerDefinitions"]
    assert task["Volumes"] == [{"Name": "files"}]
    assert (copy["EntryPoint"], copy["Command"]) == (["cp"], ["-RP", "/app/.next/static", "/tmp/static"])
    assert copy["Image"] == _container(built, "MigrationTask")["Image"]
    assert (copy["Essential"], copy["ReadonlyRootFilesystem"], publish["Essential"]) == (False, True, True)
    assert copy["MountPoints"] == [{"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "files"}]
    assert publish["DependsOn"] == [{"ContainerName": "copy", "Condition": "SUCCESS"}]
    assert publish["Image"] == "public.ecr.aws/lambda/python:3.14"
    assert publish["MountPoints"] == [{"ContainerPath": "/files", "ReadOnly": True, "SourceVolume": "files"}]
    told = {one["Name"]: one["Value"] for one in publish["Environment"]}
    assert (told["TASK_PACKAGE"], told["FILES_FOLDER"], told["TASK_LAYERS"]) == ("release_files", "/files/static", "")
    assert "ReleaseFiles96BE8944" in told["FILES_BUCKET"]["Fn::ImportValue"]
    assert copy["User"] == publish["User"] == "1001"  # who copied them may read them
    group = by_id(built.resources("AWS::EC2::SecurityGroup", STACK), "/ReleaseFilesSecurityGroup")["Properties"]
    assert [(rule["CidrIp"], rule.get("ToPort")) for rule in group["SecurityGroupEgress"]] == [("127.0.0.1/32", None), ("0.0.0.0/0", 443)]
    elsewhere = variant(service={"static_folder": "/srv/static"}).resources("AWS::ECS::TaskDefinition", STACK)
    assert by_id(elsewhere, "/ReleaseFilesTask")["Properties"]["ContainerDefinitions"][0]["Command"][1] == "/srv/static"


def test_the_application_reaches_its_files_and_no_settings_of_the_bucket(built: Built) -> None:
    policy = by_id(built.resources("AWS::IAM::Policy", STACK), "/WebTaskRole")["Properties"]["PolicyDocument"]["Statement"]
    actions = {
        action
        for statement in policy
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert not [action for action in actions if re.search(r"\*|Bucket(?!$)|Version|Acl|Policy", action.removesuffix("ListBucket"))]
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"} <= actions


def test_a_roll_out_that_makes_errors_is_rolled_back(built: Built) -> None:
    """Alarm → metric, statistic, threshold, minutes, what missing data means."""
    keys = ("MetricName", "Statistic", "Threshold", "EvaluationPeriods", "Period", "ComparisonOperator", "TreatMissingData")
    watched = only(built.resources("AWS::ECS::Service", STACK))["DeploymentConfiguration"]["Alarms"]["AlarmNames"]
    alarms = built.resources("AWS::CloudWatch::Alarm", STACK)
    found = {name["Ref"][:-8]: tuple(alarms[f"{STACK}/{name['Ref']}"]["Properties"][key] for key in keys) for name in watched}
    rest = (60, "GreaterThanOrEqualToThreshold", "notBreaching")
    assert found == {
        "WebServerErrors": ("HTTPCode_Target_5XX_Count", "Sum", 25, 2, *rest),
        "WebUnreachableTasks": ("HTTPCode_ELB_5XX_Count", "Sum", 25, 2, *rest),
        "WebUnhealthyTasks": ("UnHealthyHostCount", "Maximum", 1, 5, *rest),
    }
