from __future__ import annotations

import json

import pytest

from tests.conftest import Built, Variant, by_id, only


@pytest.fixture(scope="module")
def with_copies(variant: Variant) -> Built:
    return variant(storage={"backup_copy_region": "eu-west-1"})


def test_copies_need_a_setting(built: Built) -> None:
    assert "CarmenProdBackupCopies" not in built.templates


def test_second_region_has_the_same_bucket_under_its_own_key(with_copies: Built) -> None:
    first, second = (
        by_id(with_copies.resources("AWS::S3::Bucket", stack), "/Backups") for stack in ("CarmenProdStorage", "CarmenProdBackupCopies")
    )
    assert second == first
    assert only(with_copies.resources("AWS::KMS::Key", "CarmenProdBackupCopies"))["EnableKeyRotation"] is True


def test_copies_stack_is_protected_and_deployed_before_its_users(with_copies: Built) -> None:
    artifacts = json.loads((with_copies.assembly / "manifest.json").read_text())["artifacts"]
    stack = artifacts["CarmenProdBackupCopies"]
    assert stack["environment"].endswith("/eu-west-1")
    assert stack["properties"]["terminationProtection"] is True
    assert "CarmenProdBackupCopies" in artifacts["CarmenProdOperations"]["dependencies"]
    assert "CarmenProdBackupCopies" in artifacts["CarmenProd"]["dependencies"]


def test_backup_reads_the_copies_bucket_from_outputs(with_copies: Built) -> None:
    function = by_id(with_copies.resources("AWS::Lambda::Function", "CarmenProdOperations"), "/BackupFunction")["Properties"]
    variables = function["Environment"]["Variables"]
    for name, output in (("BACKUP_COPY_BUCKET", "BucketName"), ("BACKUP_COPY_KEY_ARN", "KeyArn")):
        expected = {"StackName": "CarmenProdBackupCopies", "OutputName": output, "Region": "eu-west-1"}
        assert variables[name] == {"Fn::GetStackOutput": expected}
