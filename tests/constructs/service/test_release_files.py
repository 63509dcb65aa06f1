"""The release files task in a small stack: the image copies its files, our code uploads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import aws_s3 as s3

from constructs_lib.service.release_files import ReleaseFilesTask
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, network, settings, stack, template
from tests.constructs.service.conftest import MIRROR, image, repository


def _built(**service: Any) -> Synthesized:
    small = stack()
    ReleaseFilesTask(
        small,
        "ReleaseFiles",
        settings=settings(service=service).service,
        network=network(small),
        image=image(small, **service),
        repository=repository(small),
        bucket=s3.Bucket(small, "Bucket"),
    )
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built()


def test_image_copies_its_files_and_our_code_uploads_them(built: Synthesized) -> None:
    task = only(built.resources("AWS::ECS::TaskDefinition"))
    copy, publish = task["ContainerDefinitions"]
    assert task["Volumes"] == [{"Name": "files"}]
    assert (copy["EntryPoint"], copy["Command"]) == (["cp"], ["-RP", "/app/.next/static", "/tmp/static"])
    assert copy["Image"]["Fn::If"][1].startswith("public.ecr.aws/")  # the application's, or the placeholder
    assert (copy["Essential"], copy["ReadonlyRootFilesystem"], publish["Essential"]) == (False, True, True)
    assert copy["MountPoints"] == [{"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "files"}]
    assert publish["DependsOn"] == [{"ContainerName": "copy", "Condition": "SUCCESS"}]
    assert publish["Image"] == "public.ecr.aws/lambda/python:3.14"
    assert publish["MountPoints"] == [{"ContainerPath": "/files", "ReadOnly": True, "SourceVolume": "files"}]
    variables = {one["Name"]: one["Value"] for one in publish["Environment"]}
    assert (variables["TASK_PACKAGE"], variables["FILES_FOLDER"], variables["TASK_LAYERS"]) == ("release_files", "/files/static", "")
    assert variables["FILES_BUCKET"]["Ref"].startswith("Bucket")
    assert copy["LinuxParameters"]["Capabilities"] == publish["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert copy["User"] == publish["User"] == "1001"  # the second must read the first's files


def test_task_reaches_only_https(built: Synthesized) -> None:
    group = by_id(built.resources("AWS::EC2::SecurityGroup"), "/ReleaseFilesSecurityGroup")["Properties"]
    assert [(rule["CidrIp"], rule.get("ToPort")) for rule in group["SecurityGroupEgress"]] == [("127.0.0.1/32", None), ("0.0.0.0/0", 443)]


def test_task_uploads_static_files_and_reads_only_its_code(built: Synthesized) -> None:
    policy = by_id(built.resources("AWS::IAM::Policy"), "/ReleaseFilesTaskRole")["Properties"]["PolicyDocument"]["Statement"]
    assert {statement["Action"] for statement in policy} == {"s3:GetObject", "s3:PutObject", "kms:Decrypt"}
    (upload,) = [statement for statement in policy if statement["Action"] == "s3:PutObject"]
    assert "/_next/static/*" in json.dumps(upload["Resource"])


def test_static_folder_and_private_images_are_settings() -> None:
    built = _built(static_folder="/srv/static", placeholder_image=MIRROR, python_image=MIRROR)
    assert only(built.resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"][0]["Command"][1] == "/srv/static"
    policy = json.dumps(by_id(built.resources("AWS::IAM::Policy"), "/ReleaseFilesTaskExecutionRole"))
    assert "ecr:us-east-1:123456789012:repository/mirror/node" in policy
