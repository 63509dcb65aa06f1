from __future__ import annotations

import json

import pytest

from constructs_lib.storage.image_repository import ImageRepository
from tests.conftest import only
from tests.constructs.conftest import Synthesized, settings, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    ImageRepository(one, "Images", settings=settings().storage, parameter_name="/carmen/prod/image")
    return template(one)


def test_images_are_immutable_scanned_and_expire(built: Synthesized) -> None:
    repository = only(built.resources("AWS::ECR::Repository"))
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["countNumber"] for rule in rules] == [7, 30]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged", "tagged"]


def test_repository_is_retained(built: Synthesized) -> None:
    (repository,) = built.resources("AWS::ECR::Repository").values()
    assert (repository["DeletionPolicy"], repository["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_image_parameter_is_created_once_and_never_managed(built: Synthesized) -> None:
    """CloudFormation would restore its value with every change of a tag, and the placeholder with it."""
    assert not built.resources("AWS::SSM::Parameter")
    custom_resource = only(built.resources("Custom::AWS"))
    assert not {"Update", "Delete"} & custom_resource.keys()
    call = json.loads(custom_resource["Create"])
    assert call["parameters"] | {"Description": ""} == {
        "Name": "/carmen/prod/image",
        "Value": "placeholder",
        "Type": "String",
        "Overwrite": False,
        "Description": "",
    }
    assert call["ignoreErrorCodesMatching"] == "ParameterAlreadyExists"
