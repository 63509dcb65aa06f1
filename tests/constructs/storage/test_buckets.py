from __future__ import annotations

import json

import pytest

from constructs_lib.storage.buckets import ReleaseFilesBucket
from tests.conftest import DOMAIN, Built, Variant, by_id, only
from tests.constructs.conftest import access_logs, settings, stack, template

STACK = "CarmenProdStorage"
BUCKETS = ["Uploads", "Backups", "Pages", "AccessLogs"]


@pytest.mark.parametrize("name", BUCKETS)
def test_every_bucket_is_private_tls_only_encrypted_and_kept(built: Built, name: str) -> None:
    bucket = by_id(built.resources("AWS::S3::Bucket", STACK), f"/{name}")
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    algorithm = "aws:kms" if name in ("Uploads", "Backups") else "AES256"
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == algorithm
    statements = by_id(built.resources("AWS::S3::BucketPolicy", STACK), f"/{name}Policy")["Properties"]["PolicyDocument"]["Statement"]
    denials = [s["Condition"] for s in statements if s["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in denials
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in denials
    assert name == "AccessLogs" or bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
    assert name == "AccessLogs" or "DestinationBucketName" in bucket["Properties"]["LoggingConfiguration"]


def test_the_key_rotates(built: Built) -> None:
    assert only(built.resources("AWS::KMS::Key", STACK))["EnableKeyRotation"] is True


def test_uploads_admit_the_own_domain_only(built: Built, variant: Variant) -> None:
    assert "CorsConfiguration" not in by_id(built.resources("AWS::S3::Bucket", STACK), "/Uploads")["Properties"]
    bucket = by_id(variant(domain=DOMAIN).resources("AWS::S3::Bucket"), "/Uploads")["Properties"]
    (rule,) = bucket["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == ["https://carmen.example.com"]


def test_uploads_are_tidied_up(built: Built) -> None:
    (rule,) = by_id(built.resources("AWS::S3::Bucket", STACK), "/Uploads")["Properties"]["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_backups_are_locked_and_kept_by_tier(built: Built, variant: Variant) -> None:
    bucket = by_id(built.resources("AWS::S3::Bucket", STACK), "/Backups")["Properties"]
    assert bucket["ObjectLockConfiguration"]["Rule"] == {"DefaultRetention": {"Days": 7, "Mode": "GOVERNANCE"}}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule} == {
        "daily/": 7, "weekly/": 35, "monthly/": 400, "reports/": 400
    }  # fmt: skip
    assert {rule["Prefix"] for rule in rules if rule.get("TagFilters") == [{"Key": "superseded", "Value": "true"}]} == {
        "daily/", "weekly/", "monthly/"
    }  # fmt: skip
    assert [rule["AbortIncompleteMultipartUpload"] for rule in rules if "Prefix" not in rule] == [{"DaysAfterInitiation": 1}]
    storage = {"object_lock": False, "object_lock_opt_out_reason": "These dumps are made anew every day."}
    unlocked = by_id(variant(storage=storage).resources("AWS::S3::Bucket"), "/Backups")["Properties"]
    assert "ObjectLockConfiguration" not in unlocked


def test_a_second_region_has_a_bucket_with_the_same_rules_under_a_key_of_its_own(built: Built, variant: Variant) -> None:
    assert "CarmenProdBackupCopies" not in built.templates
    with_copies = variant(storage={"backup_copy_region": "eu-west-1"})
    (here, there) = (
        by_id(with_copies.resources("AWS::S3::Bucket", stack), "/Backups") for stack in ("CarmenProdStorage", "CarmenProdBackupCopies")
    )
    assert there == here
    key = only(with_copies.resources("AWS::KMS::Key", "CarmenProdBackupCopies"))
    assert key["EnableKeyRotation"] is True
    artifacts = json.loads((with_copies.assembly / "manifest.json").read_text())["artifacts"]
    stack = artifacts["CarmenProdBackupCopies"]
    assert stack["environment"].endswith("/eu-west-1")
    assert stack["properties"]["terminationProtection"] is True
    assert "CarmenProdBackupCopies" in artifacts["CarmenProdOperations"]["dependencies"]
    assert "CarmenProdBackupCopies" in artifacts["CarmenProd"]["dependencies"]


def test_pages_are_read_by_this_accounts_distributions_alone(built: Built) -> None:
    policy = by_id(built.resources("AWS::S3::BucketPolicy", STACK), "/PagesPolicy")["Properties"]["PolicyDocument"]
    (allowed,) = [s for s in policy["Statement"] if s["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allowed["Action"] == "s3:GetObject"
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_images_are_immutable_scanned_and_bounded(built: Built) -> None:
    repository = only(built.resources("AWS::ECR::Repository", STACK))
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["countNumber"] for rule in rules] == [7, 30]


def test_the_image_parameter_is_made_once_and_never_managed(built: Built) -> None:
    """CloudFormation would put its value back with any change of a tag, and the placeholder with it."""
    assert not built.resources("AWS::SSM::Parameter")
    call = json.loads(_text(by_id(built.resources("Custom::AWS", STACK), "CreateImageParameter")["Properties"]["Create"]))
    assert call["parameters"] | {"Description": ""} == {
        "Name": "/carmen/prod/image",
        "Value": "placeholder",
        "Type": "String",
        "Overwrite": False,
        "Description": "",
    }
    assert call["ignoreErrorCodesMatching"] == "ParameterAlreadyExists"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "".join(p if isinstance(p, str) else "…" for p in value["Fn::Join"][1])  # type: ignore[index]


def test_release_files_expire_after_the_days_of_the_settings() -> None:
    for days, storage in ((30, {}), (90, {"release_file_days": 90})):
        small = stack()
        ReleaseFilesBucket(small, "ReleaseFiles", settings=settings(storage=storage).storage, access_logs=access_logs(small))
        bucket = by_id(template(small).resources("AWS::S3::Bucket"), "/ReleaseFiles")
        expire, tidy_up = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        assert (expire["ExpirationInDays"], expire["NoncurrentVersionExpiration"], "Prefix" in expire) == (
            days,
            {"NoncurrentDays": 1},
            False,
        )
        assert tidy_up["ExpiredObjectDeleteMarker"] is True
        assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
