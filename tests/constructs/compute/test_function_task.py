from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from constructs_lib.compute.function_task import FunctionTask
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, settings, stack, template
from tests.constructs.neighbours import ExistingNetwork, allowed, cluster, function, statements, variables

# Amazon Linux 2023 comes from Fedora 34 and later, whose /etc/passwd has `nobody:x:65534:65534` and no user from 1000 on
# (https://fedoraproject.org/wiki/Changes/RenameNobodyUser). initdb needs an entry: tests/lambdas/drill/test_server.py.
AMAZON_LINUX_NOBODY = "65534"


def build(layer: Path, *, in_vpc: bool) -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    FunctionTask(
        one,
        "Fargate",
        settings=settings(service={"architecture": "X86_64"}).service,
        function=function(one, network if in_vpc else None),
        shared_packages=["backup"],
        layers=[layer],
        environment={"ENVIRONMENT": "prod"},
        cluster=cluster(one, network),
        network=network,
        cpu=2048,
        memory_mib=4096,
        ephemeral_storage_gib=200,
    )
    return template(one)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layer") / "layer.zip"
    path.write_bytes(b"PK\x05\x06" + bytes(18))
    return path


@pytest.fixture(scope="module")
def built(layer: Path) -> Synthesized:
    return build(layer, in_vpc=True)


def container(built: Synthesized) -> dict[str, Any]:
    (one,) = only(built.resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"]
    return dict(one)


def test_task_runs_the_package_on_arm_without_root(built: Synthesized) -> None:
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}  # like the layers
    assert (task["Cpu"], task["Memory"], task["EphemeralStorage"]) == ("2048", "4096", {"SizeInGiB": 200})
    one = container(built)
    assert (one["Name"], one["User"], one["StopTimeout"]) == ("maintenance", AMAZON_LINUX_NOBODY, 120)
    assert one["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert one["Image"] == settings().service.python_image
    assert by_id(built.resources("AWS::Logs::LogGroup"), "/FargateLogGroup")["Properties"]["RetentionInDays"] == 30


def test_task_downloads_its_code_and_layers_and_nothing_else(built: Synthesized) -> None:
    given = {one["Name"]: one["Value"] for one in container(built)["Environment"]}
    assert (given["TASK_PACKAGE"], given["ENVIRONMENT"], given["POWERTOOLS_SERVICE_NAME"]) == ("maintenance", "prod", "maintenance")
    assert str(given["TASK_LAYERS"]).count(".zip") == 1
    read, _ = statements(built, "FargateTaskRole")
    keys = sorted(_key(str(given[name])) for name in ("TASK_CODE", "TASK_LAYERS"))
    assert (read["Action"], sorted(_key(str(resource)) for resource in read["Resource"])) == ("s3:GetObject", keys)


def test_task_decrypts_its_downloads_with_any_key_of_the_bucket(built: Synthesized) -> None:
    """`cdk bootstrap` may encrypt the bucket with a customer key, with or without an S3 bucket key; other objects stay closed."""
    read, decrypt = statements(built, "FargateTaskRole")
    assert (decrypt["Action"], str(decrypt["Resource"]).count(":key/*")) == ("kms:Decrypt", 1)
    condition = decrypt["Condition"].pop("StringEquals")
    bucket, *objects = condition.pop("kms:EncryptionContext:aws:s3:arn")
    assert sorted(map(str, objects)) == sorted(map(str, read["Resource"]))
    assert "assets-" in str(bucket)
    assert "/" not in str(bucket)
    assert list(condition) == ["kms:ViaService"]
    assert condition["kms:ViaService"]["Fn::Join"][1][0] == "s3."
    assert decrypt["Condition"] == {}


def test_function_may_start_the_task_in_its_cluster_only(built: Synthesized) -> None:
    start = allowed(built, "FunctionRole", "ecs:RunTask")
    (task,) = built.resources("AWS::ECS::TaskDefinition")
    assert start["Resource"] == {"Ref": task[1:]}
    assert "Cluster" in str(start["Condition"]["ArnEquals"]["ecs:cluster"])
    hand_over = allowed(built, "FunctionRole", "iam:PassRole")
    assert {one["Fn::GetAtt"][0][:-8] for one in hand_over["Resource"]} == {"FargateTaskRole", "FargateTaskExecutionRole"}
    assert hand_over["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


def test_function_knows_where_to_start_the_task(built: Synthesized) -> None:
    given = variables(built, "Function")
    (task,) = built.resources("AWS::ECS::TaskDefinition")
    assert given["MAINTENANCE_TASK_DEFINITION"] == {"Ref": task[1:]}
    assert given["MAINTENANCE_TASK_SUBNETS"] == "subnet-private0,subnet-private1,subnet-private2"
    assert given["MAINTENANCE_TASK_SECURITY_GROUPS"]["Fn::GetAtt"][0].startswith("FunctionSecurityGroup")
    assert given["MAINTENANCE_TASK_CLUSTER"]["Ref"].startswith("Cluster")


def test_task_has_a_security_group_when_function_is_outside_vpc(layer: Path) -> None:
    outside = build(layer, in_vpc=False)
    assert variables(outside, "Function")["MAINTENANCE_TASK_SECURITY_GROUPS"]["Fn::GetAtt"][0].startswith("FargateSecurityGroup")
    rules = only(outside.resources("AWS::EC2::SecurityGroup"))["SecurityGroupEgress"]
    assert [rule.get("ToPort") for rule in rules] == [None, 443]


def _key(reference: str) -> str:
    return reference.rpartition("/")[2].split("'")[0]
