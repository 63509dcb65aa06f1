"""The web service in a small stack: container, deployment, scaling, rollback alarms and image; and the placeholder, run with Node."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from constructs_lib.foundation.inline_code import inline_code
from constructs_lib.service.web_service import allow_uploads
from settings.sections import WorkingHours
from tests.conftest import by_id, only
from tests.constructs.conftest import TOPIC, Synthesized, stack, template
from tests.constructs.service.conftest import MIRROR, PARAMETER, Service
from tools.processes import free_port, node

NIGHT = {"schedule": "cron(0 20 ? * MON-FRI *)", "time_zone": "Europe/Berlin", "min_tasks": 0, "max_tasks": 0}


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return template(Service().stack)


@pytest.fixture(scope="module")
def changed() -> Synthesized:
    """With other settings, independent of each other."""
    settings = {
        "scheduled_scaling": [NIGHT],
        "spot": True,
        "placeholder_image": MIRROR,
        "health_grace_seconds": 300,
        "cpu_target_percent": 40,
    }
    return template(Service(working_hours=WorkingHours(time_zone="Europe/Berlin"), **settings).stack)


def _container(built: Synthesized) -> dict[str, Any]:
    return dict(only(built.resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"][0])


def test_container_is_confined_and_listens_on_its_port(built: Synthesized) -> None:
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    container = _container(built)
    assert (container["User"], container["ReadonlyRootFilesystem"]) == ("1001", True)
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert [(one["ContainerPath"], one["ReadOnly"]) for one in container["MountPoints"]] == [("/tmp", False), ("/app/.next/cache", False)]
    assert [(one["ContainerPort"], one["Protocol"]) for one in container["PortMappings"]] == [(3006, "tcp")]
    assert container["StopTimeout"] == 30


def test_target_group_gets_the_containers_port(built: Synthesized) -> None:
    (target,) = only(built.resources("AWS::ECS::Service"))["LoadBalancers"]
    assert (target["ContainerName"], target["ContainerPort"]) == ("carmen", 3006)


def test_failed_deployment_is_rolled_back(built: Synthesized) -> None:
    service = only(built.resources("AWS::ECS::Service"))
    deployment = service["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"]["Enable"] is deployment["Alarms"]["Rollback"] is True
    assert len(deployment["Alarms"]["AlarmNames"]) == 3
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert service["HealthCheckGracePeriodSeconds"] == 120
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert "DesiredCount" not in service  # autoscaling owns it (aws/aws-cdk#3919)
    assert "EnableExecuteCommand" not in service


def test_rollback_alarms_have_these_thresholds(built: Synthesized) -> None:
    """Alarm → metric, statistic, threshold, minutes, what missing data means."""
    keys = ("MetricName", "Statistic", "Threshold", "EvaluationPeriods", "Period", "ComparisonOperator", "TreatMissingData")
    watched = only(built.resources("AWS::ECS::Service"))["DeploymentConfiguration"]["Alarms"]["AlarmNames"]
    alarms = built.resources("AWS::CloudWatch::Alarm")
    found = {name["Ref"][:-8]: tuple(alarms[f"/{name['Ref']}"]["Properties"][key] for key in keys) for name in watched}
    rest = (60, "GreaterThanOrEqualToThreshold", "notBreaching")
    assert found == {
        "WebServerErrors": ("HTTPCode_Target_5XX_Count", "Sum", 25, 2, *rest),
        "WebUnreachableTasks": ("HTTPCode_ELB_5XX_Count", "Sum", 25, 2, *rest),
        "WebUnhealthyTasks": ("UnHealthyHostCount", "Maximum", 1, 5, *rest),
    }
    assert TOPIC not in json.dumps(list(alarms.values()))  # ServiceAlarms notifies


def test_scaling_follows_cpu_memory_and_requests(built: Synthesized, changed: Synthesized) -> None:
    def targets(one: Synthesized) -> dict[str, int]:
        policies = [
            policy["Properties"]["TargetTrackingScalingPolicyConfiguration"]
            for policy in one.resources("AWS::ApplicationAutoScaling::ScalingPolicy").values()
        ]
        return {policy["PredefinedMetricSpecification"]["PredefinedMetricType"]: policy["TargetValue"] for policy in policies}

    expected = {"ECSServiceAverageCPUUtilization": 60, "ECSServiceAverageMemoryUtilization": 75, "ALBRequestCountPerTarget": 500}
    assert targets(built) == expected
    assert targets(changed) == {**expected, "ECSServiceAverageCPUUtilization": 40}


def test_scheduled_scaling_and_working_hours(changed: Synthesized) -> None:
    actions = only(changed.resources("AWS::ApplicationAutoScaling::ScalableTarget"))["ScheduledActions"]
    found = {action["ScheduledActionName"]: (action["Schedule"], action["Timezone"], action["ScalableTargetAction"]) for action in actions}
    assert found == {
        "Scheduled1": ("cron(0 20 ? * MON-FRI *)", "Europe/Berlin", {"MinCapacity": 0, "MaxCapacity": 0}),
        "WorkingHoursBegin": ("cron(15 7 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin", {"MinCapacity": 2, "MaxCapacity": 6}),
        "WorkingHoursEnd": ("cron(0 19 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin", {"MinCapacity": 0, "MaxCapacity": 0}),
    }


def test_settings_reach_the_service(built: Synthesized, changed: Synthesized) -> None:
    for one, provider, grace in ((built, "FARGATE", 120), (changed, "FARGATE_SPOT", 300)):
        service = only(one.resources("AWS::ECS::Service"))
        assert [strategy["CapacityProvider"] for strategy in service["CapacityProviderStrategy"]] == [provider]
        assert service["HealthCheckGracePeriodSeconds"] == grace


def test_image_is_read_at_deployment(built: Synthesized) -> None:
    parameters = built.body["Parameters"].values()
    (image,) = [one for one in parameters if one["Type"] == "AWS::SSM::Parameter::Value<String>" and one["Default"].startswith("/carmen/")]
    assert image["Default"] == PARAMETER
    condition, placeholder, released = _container(built)["Image"]["Fn::If"]
    assert placeholder.startswith("public.ecr.aws/")
    assert "Ref" in released
    assert _container(built)["Command"]["Fn::If"][0::2] == [condition, {"Ref": "AWS::NoValue"}]


def test_private_images_can_be_pulled(changed: Synthesized) -> None:
    policy = json.dumps(by_id(changed.resources("AWS::IAM::Policy"), "/WebTaskExecutionRole"))
    assert "ecr:us-east-1:123456789012:repository/mirror/node" in policy


def test_service_waits_for_providers_permissions_and_values(built: Synthesized) -> None:
    (service,) = built.resources("AWS::ECS::Service").values()
    needed = ("ExecutionRoleDefaultPolicy", "Cluster", "SmtpPasswordInitialValue", "SentryDsnInitialValue")
    assert [part for part in needed if not any(part in name for name in service["DependsOn"])] == []


def test_application_reaches_its_files_but_no_bucket_settings() -> None:
    small = stack()
    role = iam.Role(small, "Role", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))
    allow_uploads(role, s3.Bucket(small, "Uploads"), kms.Key(small, "Key"))
    policy = only(template(small).resources("AWS::IAM::Policy"))["PolicyDocument"]["Statement"]
    actions = {
        action
        for statement in policy
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert not [action for action in actions if re.search(r"\*|Bucket(?!$)|Version|Acl|Policy", action.removesuffix("ListBucket"))]
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"} <= actions


def test_placeholder_answers_200_on_health_and_503_elsewhere() -> None:
    port = free_port()
    environment = {"PORT": str(port), "HOSTNAME": "127.0.0.1"}
    code = inline_code("placeholder.js", HEALTH_PATH="/api/health/live")
    with subprocess.Popen([str(node()), "-e", code], env=environment) as process:
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
