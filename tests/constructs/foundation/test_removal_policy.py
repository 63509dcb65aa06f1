from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sqs as sqs

from constructs_lib.foundation.removal_policy import destroy_on_removal
from settings.loader import load
from tests.constructs.conftest import stack, template

PREVIEW = load("preview-pr-1")


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    one = stack()
    retained = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    kms.Key(one, "Key", removal_policy=retained)
    ecr.Repository(one, "Repository", removal_policy=retained)
    rds.CfnDBInstance(one, "Instance").apply_removal_policy(RemovalPolicy.SNAPSHOT)
    sqs.CfnQueue(one, "Queue")
    destroy_on_removal([one], PREVIEW)
    return {resource["Type"]: resource for resource in template(one).body["Resources"].values()}


@pytest.mark.parametrize("kind", ["AWS::KMS::Key", "AWS::ECR::Repository", "AWS::RDS::DBInstance"])
def test_retained_resources_are_deleted_with_the_reason(resources: dict[str, Any], kind: str) -> None:
    resource = resources[kind]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Delete", "Delete")
    assert resource["Metadata"]["KeepDataOptOut"] == PREVIEW.opt_outs("keep_data")["keep_data"]


def test_images_automated_backups_and_keys_are_deleted_too(resources: dict[str, Any]) -> None:
    assert resources["AWS::ECR::Repository"]["Properties"]["EmptyOnDelete"] is True
    assert resources["AWS::RDS::DBInstance"]["Properties"]["DeleteAutomatedBackups"] is True
    assert resources["AWS::KMS::Key"]["Properties"]["PendingWindowInDays"] == 7


def test_other_resources_stay_as_they_are(resources: dict[str, Any]) -> None:
    assert resources["AWS::SQS::Queue"] == {"Type": "AWS::SQS::Queue"} | {
        key: value for key, value in resources["AWS::SQS::Queue"].items() if key == "Metadata" and "KeepDataOptOut" not in value
    }
